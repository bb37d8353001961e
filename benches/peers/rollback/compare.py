#!/usr/bin/env python3
"""Runs `bellrock rollback` and by_boto3.py on the same simulated region, each on a fresh one, and prints calls and seconds.

    compare.py --bellrock target/release/bellrock [--clusters 20] [--instances 20]        (in a venv with boto3)

Time is real: the region boots instances and checks their health at its own pace, speed 1. What is left behind has to be the same, or it fails.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
LIMIT_S = 1800


def scenario(clusters, instances):
    disabled = ["Launch", "Terminate", "AddToLoadBalancer"]
    names = [f"shop-c{n:03}" for n in range(clusters)]
    group = {"max": 2 * instances, "template": "shop", "settled": True}
    return {
        "templates": [{"name": "shop", "versions": [{}, {"orchestrator": {"works": "never_healthy"}}]}],
        "target_groups": [{"name": name} for name in names],
        "load_balancers": [{"name": "shop", "listeners": [[8000 + n, name] for n, name in enumerate(names)]}],
        "groups": [
            {**group, "name": f"{name}-v{version:03}", "min": least, "desired": least, "version": str(which),
             "target_groups": [name], "suspended": suspended}
            for name in names
            for version, which, least, suspended in ((23, 1, 0, disabled), (24, 2, instances, []))
        ],
    }  # fmt: skip


def measure(bellrock, spec, who, command):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "scenario.json")
        file.write_text(json.dumps(spec))
        sim = subprocess.Popen([bellrock, "sim", "--scenario", file, "--seed", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            endpoint = json.loads(sim.stdout.readline())["endpoint"]
            env = {
                "PATH": os.environ["PATH"], "HOME": folder, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": who, "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_EC2_METADATA_DISABLED": "true",
            }  # fmt: skip
            begun = time.monotonic()
            subprocess.run(command, env=env, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            took = time.monotonic() - begun
            with urllib.request.urlopen(endpoint + "/control") as answer:
                groups = json.load(answer)["groups"]
            with urllib.request.urlopen(endpoint + "/control/truth") as answer:
                calls = json.load(answer)["counts"][who]
        finally:
            sim.terminate()
            sim.wait(timeout=30)
    left = {g["name"]: (g["min"], g["desired"], g["max"], g["suspended"]) for g in groups}
    return took, collections.Counter(calls), left


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bellrock", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--instances", type=int, default=20)
    args = parser.parse_args()
    spec = scenario(args.clusters, args.instances)
    # The script restores all at once; so both do.
    rows = {
        "bellrock rollback": [args.bellrock, "rollback", "shop", "--yes", "--no-canary"],
        "boto3 script": [sys.executable, HERE / "by_boto3.py", "shop"],
    }
    print(f"{args.clusters} clusters of {args.instances}\n\n| | seconds | AWS calls | reads | changes |\n|---|---|---|---|---|")
    states = []
    for name, command in rows.items():
        took, calls, left = measure(args.bellrock, spec, name.split()[0], command)
        reads = sum(n for call, n in calls.items() if call.startswith("Describe"))
        total = sum(calls.values())
        print(f"| {name} | {took:.1f} | {total} | {reads} | {total - reads} |", flush=True)
        print(f"  {dict(calls.most_common())}", file=sys.stderr)
        states.append(left)
    if states[0] != states[1]:
        sys.exit(f"they leave different regions behind: {[s for s in zip(*(sorted(s.items()) for s in states)) if s[0] != s[1]][:3]}")


if __name__ == "__main__":
    main()
