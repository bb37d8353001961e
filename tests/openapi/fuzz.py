#!/usr/bin/env python3
"""Asks an agent's API everything its OpenAPI document allows, and more, and holds the answers against the document.

Starts a simulated region and the agent of one of its instances, with a pipeline that is there and an execution that has ended, and lets schemathesis ask over
loopback with an administrator's token. No answer may be a server's error, and each has to be as the document says. Prints `Summary: N passed, M failed`,
one for each operation of the document; an operation that was not asked about counts as failed.

    python tests/openapi/fuzz.py --bellrock target/debug/bellrock [--seed N]        (in a venv with schemathesis)
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
import xml.etree.ElementTree

BIN = pathlib.Path(sys.executable).parent
READY_LIMIT_S = 60
# Of schemathesis, which then ends its phases; and of the process, should it not.
FUZZ_S, KILL_S = 40, 80
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# The API gives a caller 50 requests a second.
RATE = "45/s"
ENV = {"PATH": "/usr/bin:/bin", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
REGION = {
    "templates": [{"name": "shop", "versions": [{}]}],
    "groups": [{"name": "shop-main-v001", "min": 1, "max": 4, "desired": 1, "template": "shop", "version": "1", "settled": True}],
}
PIPELINE = {"application": "shop", "name": "deploy", "id": "deploy-id", "stages": [{"refId": "1", "type": "wait", "waitTime": 0}]}


def get(url, token=None, body=None):
    """The answer as JSON."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        headers["content-type"], data = "application/json", json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return json.load(answer)


def until(what, look, process, log):
    """What look() sees, within the limit."""
    end = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{what}: the process ended\n{log.read_text()[-3000:]}")
        with contextlib.suppress(OSError, ValueError, KeyError, StopIteration):
            if (seen := look()) is not None:
                return seen
        time.sleep(0.1)
    sys.exit(f"not within {READY_LIMIT_S} s: {what}\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def running(args, env, out, err):
    """A process that does not outlive the block."""
    process = subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def fuzz(base, token, work, seed):
    """Operations that kept the document's promises, and those that did not."""
    document = get(f"{base}/openapi.json")
    methods = {"get", "put", "post", "delete", "patch"}
    wanted = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item if method in methods}
    report = work / "report.xml"
    # fmt: off
    command = [
        BIN / "schemathesis", "run", f"{base}/openapi.json", "--url", base, "--header", f"Authorization:Bearer {token}", "--checks", CHECKS,
        "--rate-limit", RATE, "--max-time", str(FUZZ_S), "--phases", "examples,coverage,fuzzing", "--request-timeout", "20", "--seed", str(seed),
        "--suppress-health-check", "all", "--warnings", "off", "--report", "junit", "--report-junit-path", report, "--continue-on-failure",
        "--generation-database", "none", "--max-examples", "40", "--no-shrink", "--no-color",
    ]
    # fmt: on
    try:
        subprocess.run(command, cwd=work, timeout=KILL_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"schemathesis did not end within {KILL_S} s")
        return set(), wanted
    if not report.exists():
        return set(), wanted
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    bad = {case.get("name") for case in cases if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))}
    good = {case.get("name") for case in cases} - bad
    return good & wanted, (wanted - good) | bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bellrock", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    bellrock = args.bellrock.resolve()
    print(f"seed {args.seed}", flush=True)
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (work / "region.json").write_text(json.dumps(REGION))
        sim_out, sim_log, log = work / "sim.out", work / "sim.log", work / "agent.log"
        sim = stack.enter_context(running([bellrock, "sim", "--scenario", work / "region.json"], ENV, sim_out.open("w"), sim_log.open("w")))
        endpoint = until("the region", lambda: json.loads(sim_out.read_text().splitlines()[0])["endpoint"] if sim_out.read_text() else None, sim, sim_log)
        instance = get(f"{endpoint}/control")["instances"][0]
        made = subprocess.run(
            [bellrock, "token", "new", "--name", "fuzz", "--role", "admin", "--add-to", work / "tokens.toml"],
            env=ENV, check=True, capture_output=True, text=True,
        )  # fmt: skip
        token = made.stdout.strip()
        env = {
            **ENV, "AWS_EC2_METADATA_SERVICE_ENDPOINT": instance["metadata"], "AWS_ENDPOINT_URL": endpoint, "BELLROCK_FLEET_STATE_DIR": str(work / "state"),
            "BELLROCK_HTTP_SOCKET": str(work / "sock"), "BELLROCK_HTTP_LISTEN": "127.0.0.1:0", "BELLROCK_HTTP_TOKENS_FILE": str(work / "tokens.toml"),
            "BELLROCK_LOG_FORMAT": "json",
        }  # fmt: skip
        agent = stack.enter_context(running([bellrock, "agent"], env, subprocess.DEVNULL, log.open("w")))

        def address():
            lines = (json.loads(line) for line in log.read_text().splitlines())
            return next(line["address"] for line in lines if line.get("message") == "answering over HTTP")

        base = "http://" + until("the agent's port", address, agent, log)
        until("the engine", lambda: get(f"{base}/admin/instance/enabled", token), agent, log)
        get(f"{base}/pipelines", token, PIPELINE)
        started = get(f"{base}/pipelines/shop/deploy", token, {})["ref"]
        until("an execution that ended", lambda: get(base + started, token)["status"] == "SUCCEEDED" or None, agent, log)
        good, bad = fuzz(base, token, work, args.seed)
        if agent.poll() is not None:
            bad.add("the agent ended")
            print(log.read_text()[-3000:])
        for name in sorted(bad):
            print(f"FAILED: {name}")
    print(f"Summary: {len(good)} passed, {len(bad)} failed")
    sys.exit(1 if bad or not good else 0)


main()
