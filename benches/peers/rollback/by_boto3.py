#!/usr/bin/env python3
"""The straightforward script: rolls the newest server group of each cluster of an application back to the one before it.

What a careful person writes with boto3 in an afternoon. It knows no hold, no journal, no singleton, no frozen processes, and cannot be resumed; what it
shares with `bellrock rollback` is the order: restore, see it healthy behind its target groups, only then retire.

    AWS_ENDPOINT_URL=… AWS_REGION=… by_boto3.py APPLICATION
"""

import collections
import re
import sys
import time

import boto3

POLL_S = 5
LIMIT_S = 1800
DISABLING = ["Launch", "Terminate", "AddToLoadBalancer"]


def main(application):
    scaling, balancing = boto3.client("autoscaling"), boto3.client("elbv2")
    clusters = collections.defaultdict(list)
    for page in scaling.get_paginator("describe_auto_scaling_groups").paginate():
        for group in page["AutoScalingGroups"]:
            match = re.fullmatch(rf"({application}-.*)-v\d+", group["AutoScalingGroupName"])
            if match:
                clusters[match[1]].append(group)
    pairs = []
    for versions in clusters.values():
        versions.sort(key=lambda group: group["CreatedTime"])
        if len(versions) > 1:
            pairs.append(versions[-2:])

    for old, new in pairs:
        name, count = old["AutoScalingGroupName"], max(new["DesiredCapacity"], old["DesiredCapacity"])
        scaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=count, DesiredCapacity=count, MaxSize=max(count, old["MaxSize"]))
        scaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=DISABLING)

    waiting, ends = list(pairs), time.monotonic() + LIMIT_S
    while waiting:
        if time.monotonic() > ends:
            sys.exit("not healthy in time: " + ", ".join(old["AutoScalingGroupName"] for old, _ in waiting))
        waiting = [(old, new) for old, new in waiting if not is_healthy(scaling, balancing, old, new)]
        if waiting:
            time.sleep(POLL_S)

    for _, new in pairs:
        name = new["AutoScalingGroupName"]
        scaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0, MaxSize=0)
    for old, new in pairs:
        scaling.update_auto_scaling_group(AutoScalingGroupName=old["AutoScalingGroupName"], MinSize=new["MinSize"])
    print(f"rolled back {len(pairs)} clusters")


def is_healthy(scaling, balancing, old, new):
    """As many as the new group had, healthy behind each target group. Registers those that were launched while nothing was registered."""
    count = max(new["DesiredCapacity"], old["DesiredCapacity"])
    [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[old["AutoScalingGroupName"]])["AutoScalingGroups"]
    ids = {i["InstanceId"] for i in group["Instances"] if i["LifecycleState"] == "InService"}
    if len(ids) < count:
        return False
    for arn in group["TargetGroupARNs"]:
        health = balancing.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        states = {h["Target"]["Id"]: h["TargetHealth"]["State"] for h in health}
        missing = ids - states.keys()
        if missing:
            balancing.register_targets(TargetGroupArn=arn, Targets=[{"Id": i} for i in sorted(missing)])
        if sum(states.get(i) == "healthy" for i in ids) < count:
            return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
