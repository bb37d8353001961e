#!/usr/bin/env python3
"""Commands that pages show are ones: their names and options exist, and what only reads is run against `bellrock sim`.

Commands of `aws` are looked at by the AWS CLI itself, which knows all services; those of `bellrock` are held to its own `--help`, and what asks AWS
alone, `bellrock doctor` and with `--dry-run` each `bellrock rollback`, is run. Words in capitals (GROUP, ID, ARN) stand for something of the simulated
region. Of a line the first command is looked at; lines of scripts, with variables or going on in the next line, are left out: those of rollback.md are
run by tests/rollback_fleet.rs, where everything is allowed; that docs/iam/rollback.json allows them is looked at here.

    python tests/runbooks/commands.py --bellrock target/debug/bellrock        (in a venv with awscli)
"""

import argparse
import contextlib
import functools
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request

from awscli.clidriver import create_clidriver

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = [*sorted((ROOT / "runbooks").glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "packer/README.md"]
START_LIMIT_S = 60
OLD = "spinnaker-main-v023"
RUN = []

# Services of which the simulated region knows what runbooks read; `iam` has no policies there.
SERVED = {"autoscaling", "elbv2", "ec2", "sts"}
# Reads that the simulated region does not play, because nothing in Bellrock makes them; and the region has no key pair.
UNPLAYED = {
    "describe-warm-pool", "describe-traffic-sources", "describe-load-balancer-target-groups", "describe-network-interfaces",
    "describe-instance-status", "describe-key-pairs", "get-console-output", "get-launch-template-data", "list-images-in-recycle-bin",
}  # fmt: skip

# Named by rollback.md for a role of one's own; docs/iam/README.md says so.
NOT_OF_THE_ROLE = {"autoscaling:CancelInstanceRefresh"}

# The application of the region; pages call it otherwise where they show how to fill something in.
APPLICATION = "spinnaker"
APPLICATIONS = {"APPLICATION", "NAME", "shop", APPLICATION}
# Done, failed, refused: all that a command that changes nothing may end with (README.md has the table).
ENDS = {0, 1, 2}

# Commands of the CLI's second version; the one here is the first, which pip has.
ONLY_IN_V2 = {("sso", "login")}


def shown(page):
    """Commands on a page: in backticks, indented (by two: an example of help), or in a block of shell, one line each."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^(?:    (?=\S)|  (?=bellrock ))(.*)$", text, re.M)
    spans = re.findall(r"`((?:aws|bellrock) [^`\n]+)`", text)
    for line in [*lines, *spans]:
        line = line.strip()
        if re.match(r"(aws [a-z0-9-]+ [a-z]|bellrock [a-z])", line) and "$" not in line and not line.endswith("\\"):
            yield line


def words(command):
    """The words of the first command of a line, without what a shell would do with them."""
    try:
        lexer = shlex.shlex(command.replace("…", ""), posix=True, punctuation_chars="|&;><")
        lexer.whitespace_split = True
        found = list(lexer)
    except ValueError as e:
        raise ValueError(f"no shell takes it: {e}") from e
    ends = [n for n, word in enumerate(found) if word and set(word) <= set("|&;><")]
    return found[: ends[0]] if ends else found


@functools.cache
def help_of(bellrock, path):
    ended = subprocess.run([bellrock, *path, "--help"], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout if ended.returncode == 0 else None


def wrong_with_bellrock(bellrock, command, cut):
    """`cut`: the page leaves something out, so there is nothing to run."""
    path, rest = [], command[1:]
    # What has no commands below it takes a word for its argument: an application.
    while rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]) and "\nCommands:\n" in help_of(bellrock, tuple(path)):
        if help_of(bellrock, (*path, rest[0])) is None:
            break
        path.append(rest.pop(0))
    # What keeps processes for the agent has no help: it is no command for people, and pages only name it.
    if not path:
        return None if command[1] in ("job-supervisor", "orchestrator-keeper") else f"no command {command[1]}"
    text = help_of(bellrock, tuple(path))
    if rest and "\nCommands:\n" in text and not rest[0].startswith("-"):
        return f"`bellrock {' '.join(path)}` has no command {rest[0]}"
    flags = [word.split("=")[0] for word in rest if word.startswith("--")]
    missing = [flag for flag in flags if not re.search(rf"(?m)^\s+(-\w, )?{re.escape(flag)}(?![\w-])", text)]
    if missing:
        return f"`bellrock {' '.join(path)} --help` knows no {', '.join(missing)}"
    runs = path in (["rollback"], ["doctor"]) and rest and rest[0] in APPLICATIONS
    return wrong_when_run(bellrock, path[0], rest[1:]) if runs and not cut else None


def wrong_when_run(bellrock, name, options):
    """Runs a command that asks AWS alone, for the region's application; what it shows of services and roles is filled in."""
    values = {"ROLE-ARN": "arn:aws:iam::123456789012:role/shop", "OWNER": "ann@laptop", "SERVICE_URL": os.environ["AWS_ENDPOINT_URL"]}
    options = [values.get("SERVICE_URL" if word.startswith("https://gate.") else word, word) for word in options]
    if name == "rollback" and "--dry-run" not in options:
        options.append("--dry-run")
    command = [bellrock, name, APPLICATION, *options]
    # A report is a file of the place where it runs.
    with tempfile.TemporaryDirectory() as here:
        ended = subprocess.run(command, cwd=here, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    # Wrong usage is refused as a plan may be, with the same code; the parser of options alone points at its help.
    if ended.returncode not in ENDS or "panicked at" in ended.stderr or "try '--help'" in ended.stderr:
        return f"exit {ended.returncode} of {' '.join(command[1:])}: {' '.join(ended.stderr.split())}"
    RUN.append(command)
    return None


def not_allowed(page, policy):
    """Calls of a page that this policy does not allow."""
    granted = [one["Action"] for one in json.loads(policy.read_text())["Statement"]]
    allowed = {action for actions in granted for action in ([actions] if isinstance(actions, str) else actions)}
    services = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}
    calls = re.findall(r"\baws (autoscaling|ec2|elb|elbv2) ([a-z][a-z-]+)", page.read_text())
    actions = {f"{services.get(service, service)}:{''.join(word.capitalize() for word in name.split('-'))}" for service, name in calls}
    assert len(actions) > 10, f"only {len(actions)} calls were seen"
    return sorted(actions - allowed - NOT_OF_THE_ROLE)


def aws(driver, arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = driver.main(arguments)
        except SystemExit as e:
            code = e.code
    return code, said.getvalue()


def wrong_with_aws(driver, command, world):
    service, action = command[1:3]
    if (service, action) in ONLY_IN_V2:
        return None
    # Checks names of service, action and options, and asks nobody.
    options = [re.sub(r"fileb?://\S+", "x", word) for word in command[3:]]
    code, said = aws(driver, [service, action, *options, "--generate-cli-skeleton"])
    if code != 0 and re.search(rf"argument {re.escape(command[-1])}: expected (one|at least one) argument", said):
        return None  # An option that is named without its value.
    if code != 0:
        return said.strip().splitlines()[-1] if said.strip() else f"exit {code}"
    reads = action.startswith(("describe-", "get-")) and action not in UNPLAYED
    if not (reads and service in SERVED) or len(command) == 3 and action != "get-caller-identity" and "groups" not in action:
        return None
    code, said = aws(driver, [fill(word, action, world) for word in command[1:]])
    return None if code == 0 else f"exit {code}: {' '.join(said.split())}"


def fill(word, action, world):
    """What a word in capitals stands for."""
    if re.fullmatch(r"ID", word):
        return {"describe-security-groups": world["security_group"], "describe-subnets": world["subnet"]}.get(action, world["instance"])
    values = {"GROUP": OLD, "ARN": world["target_group"], "AMI": world["image"], "TYPE": "m5.large",
              "TEMPLATE": world["template"], "VERSION": "1", "CLUSTER": "spinnaker-main", "APPLICATION": "spinnaker"}  # fmt: skip
    return re.sub(r"\b[A-Z]{2,}\b", lambda m: values.get(m[0], m[0]), word)


@contextlib.contextmanager
def region(bellrock):
    """A served region; its address."""
    with tempfile.TemporaryDirectory() as work, open(os.path.join(work, "log"), "w+") as log:
        sim = subprocess.Popen([bellrock, "sim", "--listen", "127.0.0.1:0", "--scenario", "broken"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", pathlib.Path(log.name).read_text())):
                if sim.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"bellrock sim did not start:\n{pathlib.Path(log.name).read_text()}")
                time.sleep(0.05)
            yield found[0]
        finally:
            sim.terminate()
            sim.wait(timeout=30)


def look(driver):
    """Names of what there is in the region."""
    def ask(*command):
        code, said = aws(driver, [*command, "--output", "json"])
        assert code == 0, said
        return json.loads(said)

    groups = ask("autoscaling", "describe-auto-scaling-groups")["AutoScalingGroups"]
    group = next(group for group in groups if group["AutoScalingGroupName"] == OLD)
    template = next(group for group in groups if group.get("LaunchTemplate"))["LaunchTemplate"]["LaunchTemplateName"]
    versions = ask("ec2", "describe-launch-template-versions", "--launch-template-name", template, "--versions", "1")
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return {
        "instance": next(g for g in groups if g["Instances"])["Instances"][0]["InstanceId"],
        "target_group": group["TargetGroupARNs"][0],
        "subnet": group["VPCZoneIdentifier"].split(",")[0],
        "template": template,
        "image": data["ImageId"],
        "security_group": data.get("SecurityGroupIds", [""])[0],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bellrock", required=True)
    bellrock = os.path.abspath(parser.parse_args().bellrock)
    # The CLI itself sets where its data is.
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_DATA_PATH"]:
        del os.environ[name]
    wrong, seen = [], set()
    with region(bellrock) as endpoint:
        os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="sim", AWS_SECRET_ACCESS_KEY="sim", AWS_DEFAULT_REGION="us-east-1",
                          AWS_PAGER="", AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1")  # fmt: skip
        driver = create_clidriver()
        world = look(driver)
        for page in PAGES:
            for line in shown(page):
                if (line not in seen) and not seen.add(line):
                    try:
                        command = words(line)
                        if command[0] == "bellrock":
                            said = wrong_with_bellrock(bellrock, command, "…" in line)
                        else:
                            said = wrong_with_aws(driver, command, world)
                    except ValueError as e:
                        said = str(e)
                    if said:
                        wrong.append(f"{page.relative_to(ROOT)}: {line}\n    {said}")
    lacking = not_allowed(ROOT / "runbooks/rollback.md", ROOT / "docs/iam/rollback.json")
    wrong += [f"runbooks/rollback.md: docs/iam/rollback.json does not allow {action}" for action in lacking]
    if len(RUN) < 12:
        wrong.append(f"only {len(RUN)} commands of bellrock were run")
    print("\n".join(wrong))
    print(f"test result: {len(seen) - len(wrong)} passed; {len(wrong)} failed (commands that pages show)")
    sys.exit(1 if wrong or len(seen) < 100 else 0)


if __name__ == "__main__":
    main()
