#!/usr/bin/env python3
"""Ask moto and `bellrock sim` the same questions and compare the fields of the answers.

The simulated region is ours, so a field that we misspell would be misspelt on both sides of our own tests. moto was written by
others from AWS's model: where both know a call, the same world must show the same fields with the same types, through boto3 and
through the AWS CLI. Values are not compared; what moto is known to get wrong, or what one side leaves out on purpose, is listed
in EXPLAINED with the reason.

    python tests/wire/compare.py --bellrock target/debug/bellrock        (in a venv with moto[server], boto3 and awscli)
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

BIN = pathlib.Path(sys.executable).parent
ENV = {
    **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_PAGER": "",
    "AWS_MAX_ATTEMPTS": "1",
}
START_LIMIT_S = 60
OLD, NEW = "orca-main-v023", "orca-main-v024"

# The same small world as build_in_moto makes.
SCENARIO = {
    "templates": [{"name": "orca", "versions": [{"key_pair": "ops"}]}],
    "target_groups": [{"name": "orca-main"}],
    "load_balancers": [{"name": "orca", "internal": True, "listeners": [[80, "orca-main"]]}],
    "classic_load_balancers": [{"name": "orca-classic"}],
    "groups": [
        {
            "name": name, "min": least, "max": 4, "desired": 2, "template": "orca", "version": "1", "tags": {"owner": "delivery"},
            "target_groups": ["orca-main"], "classic_load_balancers": ["orca-classic"], "settled": True,
            "suspended": ["AddToLoadBalancer"] if name == OLD else [],
        }
        for name, least in ((OLD, 1), (NEW, 2))
    ],
}  # fmt: skip

# Why only one side shows a path, by call and path. One that no longer explains anything fails the run, so that the list stays true.
INSTANCE = "Reservations[].Instances[]"
EXPLAINED = {
    ("ec2.describe_instances", f"{INSTANCE}.BlockDeviceMappings[]"): "the simulated region has no disks",
    ("ec2.describe_instances", f"{INSTANCE}.NetworkInterfaces[]"): "nor network interfaces",
    ("ec2.describe_instances", f"{INSTANCE}.PublicIpAddress"): "its subnets are private",
    ("ec2.describe_instances", f"{INSTANCE}.SriovNetSupport"): "set for instance types of long ago",
    ("ec2.describe_instances", f"{INSTANCE}.StateReason"): "AWS gives one to instances that stop, not to running ones",
    ("ec2.describe_instances", f"{INSTANCE}.KeyName"): "of what launched an instance the simulated region shows image, type and template",
    ("ec2.describe_instances", f"{INSTANCE}.SecurityGroups[]"): "of what launched an instance the simulated region shows image, type and template",
    ("ec2.describe_key_pairs", "KeyPairs[].KeyType"): "moto leaves it out",
    ("ec2.describe_security_groups", "SecurityGroups[].IpPermissionsEgress[]"): "the simulated region has no rules of traffic",
    ("ec2.describe_subnets", "Subnets[].AvailabilityZoneId"): "zones of the simulated region have names alone",
    ("ec2.describe_subnets", "Subnets[].Ipv6Native"): "the simulated region has no IPv6",
    ("ec2.describe_subnets", "Subnets[].PrivateDnsNameOptionsOnLaunch"): "the simulated region has no names of hosts",
    ("autoscaling.describe_auto_scaling_groups", "AutoScalingGroups[].VPCZoneIdentifier"): "moto leaves it out where zones were given",
    ("ec2.describe_images", "Images[].BlockDeviceMappings[]"): "the simulated region has no disks",
    ("ec2.describe_images", "Images[].BootMode"): "moto's image is one of Amazon's own",
    ("ec2.describe_images", "Images[].Description"): "moto's image is one of Amazon's own",
    ("ec2.describe_images", "Images[].ImageOwnerAlias"): "moto's image is one of Amazon's own",
    ("elbv2.describe_listeners", "Listeners[].SslPolicy"): "AWS gives it to listeners with TLS",
    ("elbv2.describe_listeners", "Listeners[].AlpnPolicy"): "AWS gives it to listeners with TLS",
    ("elb.describe_load_balancers", "LoadBalancerDescriptions[].CanonicalHostedZoneNameID"): "moto leaves it out",
    ("elb.describe_load_balancers", "LoadBalancerDescriptions[].HealthCheck"): "AWS always has one; moto only when it is configured",
    ("elb.deregister_instances_from_load_balancer", "Instances[]"): "in moto groups evict each other from a classic load balancer",
    ("elb.register_instances_with_load_balancer", "Instances[]"): "in moto groups evict each other from a classic load balancer",
    ("autoscaling.terminate_instance_in_auto_scaling_group", "Activity.Details"): "moto leaves it out",
    ("autoscaling.terminate_instance_in_auto_scaling_group", "Activity.EndTime"): "moto's instance is gone before the answer",
}
used = set()


@contextlib.contextmanager
def process(*command, **kwargs):
    child = subprocess.Popen([str(c) for c in command], env=ENV, **kwargs)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def moto():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with process(BIN / "moto_server", "-H", "127.0.0.1", "-p", port, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        end = time.monotonic() + START_LIMIT_S
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if child.poll() is not None or time.monotonic() > end:
                raise SystemExit("moto_server did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def bellrock(binary, scenario):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(scenario, f)
        f.flush()
        command = (binary, "sim", "--listen", "127.0.0.1:0", "--scenario", f.name, "--seed", "1")
        with process(*command, stdout=subprocess.PIPE, text=True) as child:
            line = child.stdout.readline()
            if not line:
                raise SystemExit("bellrock sim did not start")
            yield json.loads(line)["endpoint"]


def post(endpoint, path, body):
    request = urllib.request.Request(f"{endpoint}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Region:
    """One of the two, with the names that its answers gave it."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": ENV["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": ENV["AWS_SECRET_ACCESS_KEY"]}
        self.clients = {
            name: boto3.client(name, endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)
            for name in ("autoscaling", "elbv2", "elb", "ec2", "sts")
        }

    def learn(self):
        """Ids that differ between the two, under names that the calls can use."""
        instance = self.group(OLD)["Instances"][0]["InstanceId"]
        target_group = self.clients["elbv2"].describe_target_groups(Names=["orca-main"])["TargetGroups"][0]
        self.names = {
            "$tg": target_group["TargetGroupArn"],
            "$alb": target_group["LoadBalancerArns"][0],
            "$instance": instance,
            "$serving": self.group(NEW)["Instances"][0]["InstanceId"],
            "$subnet": self.clients["ec2"].describe_subnets()["Subnets"][0]["SubnetId"],
            "$security": self.clients["ec2"].describe_security_groups()["SecurityGroups"][0]["GroupId"],
            "$image": self.clients["ec2"].describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["ImageId"],
        }

    def group(self, name):
        return self.clients["autoscaling"].describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def fill(self, value):
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return self.names.get(value, value) if isinstance(value, str) else value

    def boto(self, service, method, kwargs):
        try:
            answer = getattr(self.clients[service], method)(**self.fill(kwargs))
        except botocore.exceptions.ClientError as e:
            return {"!": f"{e.response['ResponseMetadata']['HTTPStatusCode']} {e.response['Error']['Code']}"}
        answer.pop("ResponseMetadata")
        return answer

    def cli(self, service, method, kwargs):
        command = [BIN / "aws", service, method.replace("_", "-"), "--endpoint-url", self.endpoint, "--output", "json"]
        command += ["--cli-input-json", json.dumps(self.fill(kwargs))]
        done = subprocess.run([str(c) for c in command], env=ENV, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            code = done.stderr.split("(", 1)[-1].split(")", 1)[0] if "An error occurred" in done.stderr else done.stderr.strip()
            return {"!": code}
        return json.loads(done.stdout or "{}")


def build_in_moto(clients):
    asg, elbv2, elb, ec2 = (clients[n] for n in ("autoscaling", "elbv2", "elb", "ec2"))
    image = next(i for i in ec2.describe_images(Owners=["amazon"])["Images"] if i.get("Platform") != "windows")["ImageId"]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"][:2]]
    target = elbv2.create_target_group(
        Name="orca-main", Protocol="HTTP", Port=8083, VpcId=vpc, TargetType="instance", HealthCheckPath="/health"
    )["TargetGroups"][0]["TargetGroupArn"]
    security = [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]]
    balancer = elbv2.create_load_balancer(Name="orca", Subnets=subnets, SecurityGroups=security, Scheme="internal")
    balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    forward = [{"Type": "forward", "TargetGroupArn": target}]
    elbv2.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
    listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 8083}
    elb.create_load_balancer(LoadBalancerName="orca-classic", Listeners=[listener], AvailabilityZones=["us-east-1a"])
    ec2.create_key_pair(KeyName="ops")
    data = {"ImageId": image, "InstanceType": "m5.large", "KeyName": "ops", "SecurityGroupIds": security}
    ec2.create_launch_template(LaunchTemplateName="orca", LaunchTemplateData=data)
    for name, least in ((OLD, 1), (NEW, 2)):
        asg.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=least, MaxSize=4, DesiredCapacity=2,
            LaunchTemplate={"LaunchTemplateName": "orca", "Version": "1"}, AvailabilityZones=["us-east-1a", "us-east-1b"],
            TargetGroupARNs=[target], LoadBalancerNames=["orca-classic"],
            Tags=[{"Key": "owner", "Value": "delivery", "PropagateAtLaunch": True}],
        )  # fmt: skip
    asg.suspend_processes(AutoScalingGroupName=OLD, ScalingProcesses=["AddToLoadBalancer"])


def fields(value, path="", out=None):
    """Every path of an answer with its type; the members of a list are laid over one another."""
    out = {} if out is None else out
    if isinstance(value, dict):
        for key, inner in value.items():
            fields(inner, f"{path}.{key}" if path else key, out)
    elif isinstance(value, list):
        out[path] = "list"
        for inner in value:
            fields(inner, f"{path}[]", out)
    else:
        kind = "time" if isinstance(value, datetime.datetime) else type(value).__name__
        # An error is compared by its code, everything else by its type.
        out[path] = value if path == "!" else kind
    return out


def differences(call, ours, theirs):
    def explained(path):
        reasons = [k for k in EXPLAINED if k[0] == call and (path == k[1] or path.startswith((k[1] + ".", k[1] + "[")))]
        used.update(reasons)
        return bool(reasons)

    a, b = fields(ours), fields(theirs)
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) != b.get(path) and not explained(path):
            yield f"{path}: bellrock {a.get(path, 'absent')}, moto {b.get(path, 'absent')}"


GROUP = {"AutoScalingGroupName": OLD}
CLASSIC = {"LoadBalancerName": "orca-classic"}
OFFERED = [{"Name": "instance-type", "Values": ["m5.large"]}, {"Name": "location", "Values": ["us-east-1a"]}]
TAGGED = [{"Name": "tag:owner", "Values": ["delivery"]}]
TAG = {"ResourceId": OLD, "ResourceType": "auto-scaling-group", "Key": "held", "Value": "yes", "PropagateAtLaunch": False}
STRANGER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/stranger/0123456789abcdef"
# Reads first, through both clients; then writes, which change both worlds alike.
CALLS = [
    ("sts", "get_caller_identity", {}),
    ("autoscaling", "describe_auto_scaling_groups", {}),
    ("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroupNames": [OLD]}),
    ("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroupNames": ["nobody"]}),
    ("autoscaling", "describe_auto_scaling_groups", {"Filters": TAGGED}),
    ("autoscaling", "describe_auto_scaling_instances", {}),
    ("autoscaling", "describe_auto_scaling_instances", {"InstanceIds": ["$instance"]}),
    ("autoscaling", "describe_tags", {}),
    ("autoscaling", "describe_lifecycle_hooks", GROUP),
    ("autoscaling", "describe_scheduled_actions", GROUP),
    ("autoscaling", "describe_load_balancers", GROUP),
    ("autoscaling", "describe_load_balancer_target_groups", GROUP),
    ("elbv2", "describe_target_groups", {}),
    ("elbv2", "describe_target_groups", {"TargetGroupArns": ["$tg"]}),
    ("elbv2", "describe_target_groups", {"TargetGroupArns": [STRANGER]}),
    ("elbv2", "describe_target_health", {"TargetGroupArn": "$tg"}),
    ("elbv2", "describe_target_health", {"TargetGroupArn": STRANGER}),
    ("elbv2", "describe_target_group_attributes", {"TargetGroupArn": "$tg"}),
    ("elbv2", "describe_load_balancers", {}),
    ("elbv2", "describe_listeners", {"LoadBalancerArn": "$alb"}),
    ("elb", "describe_load_balancers", {}),
    ("elb", "describe_load_balancers", {"LoadBalancerNames": ["nobody"]}),
    ("elb", "describe_instance_health", CLASSIC),
    ("elb", "describe_instance_health", {"LoadBalancerName": "nobody"}),
    ("ec2", "describe_instances", {}),
    ("ec2", "describe_instances", {"InstanceIds": ["$instance"]}),
    ("ec2", "describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
    ("ec2", "describe_instance_status", {"InstanceIds": ["$instance"]}),
    ("ec2", "describe_images", {"ImageIds": ["$image"]}),
    ("ec2", "describe_images", {"ImageIds": ["ami-00000000000000000"]}),
    ("ec2", "describe_key_pairs", {"KeyNames": ["ops"]}),
    ("ec2", "describe_key_pairs", {"KeyNames": ["nobody"]}),
    ("ec2", "describe_security_groups", {"GroupIds": ["$security"]}),
    ("ec2", "describe_security_groups", {"GroupIds": ["sg-00000000000000000"]}),
    ("ec2", "describe_subnets", {"SubnetIds": ["$subnet"]}),
    ("ec2", "describe_subnets", {"SubnetIds": ["subnet-00000000000000000"]}),
    ("ec2", "describe_instance_type_offerings", {"LocationType": "availability-zone", "Filters": OFFERED}),
    ("ec2", "describe_instance_types", {"InstanceTypes": ["m5.novel"]}),
    ("ec2", "describe_launch_templates", {}),
    ("ec2", "describe_launch_template_versions", {"LaunchTemplateName": "orca"}),
    ("ec2", "describe_launch_template_versions", {"LaunchTemplateName": "orca", "Versions": ["1"]}),
    ("ec2", "describe_launch_template_versions", {"LaunchTemplateName": "nobody", "Versions": ["1"]}),
    ("autoscaling", "create_or_update_tags", {"Tags": [TAG]}),
    ("autoscaling", "delete_tags", {"Tags": [TAG]}),
    ("autoscaling", "suspend_processes", {**GROUP, "ScalingProcesses": ["AZRebalance"]}),
    ("autoscaling", "resume_processes", {**GROUP, "ScalingProcesses": ["AZRebalance"]}),
    ("autoscaling", "update_auto_scaling_group", {**GROUP, "MinSize": 0}),
    ("autoscaling", "update_auto_scaling_group", {"AutoScalingGroupName": "nobody", "MinSize": 0}),
    ("autoscaling", "set_desired_capacity", {**GROUP, "DesiredCapacity": 2}),
    ("autoscaling", "set_instance_protection", {**GROUP, "InstanceIds": ["$instance"], "ProtectedFromScaleIn": True}),
    ("elbv2", "deregister_targets", {"TargetGroupArn": "$tg", "Targets": [{"Id": "$serving"}]}),
    ("elbv2", "register_targets", {"TargetGroupArn": "$tg", "Targets": [{"Id": "$serving"}]}),
    ("elb", "deregister_instances_from_load_balancer", {**CLASSIC, "Instances": [{"InstanceId": "$serving"}]}),
    ("elb", "register_instances_with_load_balancer", {**CLASSIC, "Instances": [{"InstanceId": "$serving"}]}),
    ("autoscaling", "terminate_instance_in_auto_scaling_group", {"InstanceId": "$instance", "ShouldDecrementDesiredCapacity": True}),
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bellrock", required=True, help="the binary under test")
    args = parser.parse_args()
    with moto() as theirs, bellrock(args.bellrock, SCENARIO) as ours:
        post(ours, "/control/advance", {"seconds": 900})
        ours, theirs = Region(ours), Region(theirs)
        build_in_moto(theirs.clients)
        ours.learn()
        theirs.learn()
        passed, failed = run(ours, theirs)
    for call, path in EXPLAINED.keys() - used:
        print(f"FAIL stale explanation: {call} {path}")
        failed += 1
    print(f"wire: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


def run(ours, theirs):
    passed = failed = 0

    def report(how, service, method, pair):
        nonlocal passed, failed
        found = list(differences(f"{service}.{method}", *pair))
        print(f"{'FAIL' if found else 'ok  '} {how:5} {service} {method}")
        for line in found:
            print(f"       {line}")
        passed, failed = (passed, failed + 1) if found else (passed + 1, failed)

    reads = [c for c in CALLS if c[1].startswith(("describe", "get"))]
    # The CLI takes a second to start; four at once fit two cores while others wait on the network.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [(s, m, [pool.submit(r.cli, s, m, kwargs) for r in (ours, theirs)]) for s, m, kwargs in reads]
        for service, method, kwargs in reads:
            report("boto3", service, method, [r.boto(service, method, kwargs) for r in (ours, theirs)])
        for service, method, pair in asked:
            report("cli", service, method, [p.result() for p in pair])
    for service, method, kwargs in (c for c in CALLS if c not in reads):
        report("boto3", service, method, [r.boto(service, method, kwargs) for r in (ours, theirs)])
    return passed, failed


if __name__ == "__main__":
    sys.exit(main())
