"""Deploy template.yaml to the local AWS, with the user's own commands: `python -m local.deploy`.

It runs `sam build` and `sam deploy --config-env local`, pointed at the local AWS, unless that holds the very same
application already. What only this machine can say (its Python, its processor, the address of its Rekognition) is added
to the parameters that samconfig.toml holds. A local AWS that does not run is started before, and stopped again if the
deployment fails or is interrupted.

The build goes to `.engine/build` and not to SAM's own `.aws-sam/build`: code built for this laptop must never be what
a later `sam deploy --config-env prod` finds lying there.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local import deployed
from local.engine import (
    CREDENTIALS,
    HOST,
    REGION,
    REPOSITORY,
    Engine,
    UserError,
    engine_from_environment,
    home_from_environment,
    stopped_unless_finished,
)
from local.engine_command import start_engine
from local.lock import locked
from local.next_steps import next_steps
from local.people import add_made_up_people
from local.terminal import run_command, say

CONFIG_ENVIRONMENT = "local"
SAM = REPOSITORY / ".venv" / "bin" / "sam"

# How many of a failed command's last lines are shown.
SHOWN_LINES = 20

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_NOISE = re.compile(r"\s*$|\t|[-=]{5,}|Initiating deployment|(CREATE|UPDATE|REVIEW)_(COMPLETE|IN_PROGRESS)\s")
_AWS_HOST = re.compile(r"^https://([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com/(\w+)")


class _SamFailedError(Exception):
    """A SAM command ended with an error."""

    def __init__(self, title: str, lines: list[str], log: Path) -> None:
        super().__init__(title)
        self.title = title
        self.lines = lines
        self.log = log

    def explained_by(self, failed_resources: list[str]) -> str:
        """The message for a person: the resources that failed if any are known, else the end of SAM's output."""
        return "\n".join(
            [
                f"`{self.title}` failed.",
                *(failed_resources or self.lines),
                "",
                f"All that it said: {self.log}",
                "Fix what it names in template.yaml, statemachine/ or functions/, and run the command again.",
                "If it names none of these files: `make down` empties the local AWS; then run the command again.",
            ]
        )


def deploy(engine: Engine, directory: Path = REPOSITORY) -> dict[str, str]:
    """Build and deploy the application of a directory if it changed, and return the stack's outputs.

    Raises UserError with the last lines of SAM's output when it refuses.
    """
    if not SAM.exists():
        raise UserError("SAM is not installed: run `make install`.")
    if not (directory / "template.yaml").exists():
        raise UserError(f"There is no template.yaml in {directory}: run this in the repository.")
    config = _configuration(directory)
    parameters = _parameters(engine, config)
    build = engine.home / "build"
    application = deployed.fingerprint(directory, parameters)
    stack = _stack(engine, directory)
    if stack and (build / "template.yaml").exists() and deployed.is_current(engine, stack, application):
        say("The application is deployed, and nothing has changed since.")
        return stack_outputs(engine, directory)
    deployed.forget(engine)
    common = ["--config-file", str(directory / "samconfig.toml"), "--config-env", CONFIG_ENVIRONMENT]
    common += ["--parameter-overrides", *parameters]
    places = ["--build-dir", str(build), "--cached", "--cache-dir", str(engine.home / "build-cache")]
    commands = {
        "build": ["build", "--template-file", str(directory / "template.yaml"), *places, *common],
        "deploy": ["deploy", "--template-file", str(build / "template.yaml"), *common],
    }
    environment = _environment(engine)
    start = datetime.now(UTC)
    try:
        for name, command in commands.items():
            # In the local AWS's directory: SAM keeps the installed requirements in `.aws-sam/deps` of where it is run,
            # and removes there what another build kept.
            _run(f"sam {name}", [str(SAM), *command], engine.home, environment, engine.logs / f"sam-{name}.log")
    except _SamFailedError as failure:
        failed = _failed_resources(engine, config["deploy"]["stack_name"], start)
        raise UserError(failure.explained_by(failed)) from None
    outputs = stack_outputs(engine, directory)
    if "PeoplePoolId" in outputs:  # no release before 0.2 has it
        add_made_up_people(engine, outputs["PeoplePoolId"])
    if stack := _stack(engine, directory):
        deployed.remember(engine, stack, application)
    return outputs


def stack_name(directory: Path = REPOSITORY) -> str:
    """The name of the stack in the local AWS."""
    return str(_configuration(directory)["deploy"]["stack_name"])


def _stack(engine: Engine, directory: Path) -> dict[str, Any] | None:
    """What CloudFormation knows of the stack; None when it is not there."""
    cloudformation = engine.client("cloudformation")
    try:
        return dict(cloudformation.describe_stacks(StackName=stack_name(directory))["Stacks"][0])
    except cloudformation.exceptions.ClientError:
        return None


def stack_outputs(engine: Engine, directory: Path = REPOSITORY) -> dict[str, str]:
    """The outputs of the deployed stack; ApiUrl and PageUrl are addresses at which this machine reaches the API.

    Raises UserError when the application is not deployed.
    """
    stack = _stack(engine, directory)
    if stack is None:
        raise UserError(f"The stack {stack_name(directory)} is not deployed: run `make run`.")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    for name in ("ApiUrl", "PageUrl"):
        if name in outputs:
            outputs[name] = _AWS_HOST.sub(rf"{engine.url}/_aws/execute-api/\1/\2", outputs[name])
    return outputs


def _configuration(directory: Path) -> dict[str, dict[str, Any]]:
    """The parameters that samconfig.toml gives each command in the local environment (`global` ones included)."""
    file = directory / "samconfig.toml"
    try:
        environment = tomllib.loads(file.read_text())[CONFIG_ENVIRONMENT]
        shared = environment.get("global", {}).get("parameters", {})
        commands = {
            command: {**shared, **environment.get(command, {}).get("parameters", {})} for command in ("build", "deploy")
        }
        commands["deploy"]["stack_name"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UserError(
            f"{file} has no usable environment `{CONFIG_ENVIRONMENT}` with a stack_name ({error}): restore the file."
        ) from None
    return commands


def _parameters(engine: Engine, config: dict[str, dict[str, Any]]) -> list[str]:
    """The values of --parameter-overrides: the list replaces samconfig.toml's, so that one is repeated first."""
    written = config["deploy"].get("parameter_overrides", [])
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise UserError(f"Lambda has no architecture for a {machine} processor: use an x86_64 or arm64 machine.")
    return [
        *([written] if isinstance(written, str) else written),
        f"PythonRuntime=python{_python_version(engine)}",
        f"Architecture={_ARCHITECTURES[machine]}",
        f"RekognitionEndpoint={engine.rekognition_url}",
    ]


def machine_parameters(engine: Engine, directory: Path = REPOSITORY) -> list[str]:
    """The template's parameters as they are deployed to this local AWS, each `Name=value`."""
    return _parameters(engine, _configuration(directory))


def stack_resources(engine: Engine, kind: str, directory: Path = REPOSITORY) -> dict[str, str]:
    """Physical by logical id of the deployed stack's resources of one type, such as `AWS::Lambda::Function`."""
    pages = engine.client("cloudformation").get_paginator("list_stack_resources")
    found = pages.paginate(StackName=stack_name(directory))
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in found
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == kind
    }


def _python_version(engine: Engine) -> str:
    """The version of the Python that runs Lambda code, such as `3.13`."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [str(engine.python), "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own Python
    return result.stdout.strip()


def _environment(engine: Engine) -> dict[str, str]:
    """The user's environment without their AWS, and with the local one.

    The rest stays: pip needs the user's package index and proxies for the functions' requirements.
    """
    settings = engine.home / "sam"
    settings.mkdir(parents=True, exist_ok=True)
    # SAM asks PyPI for a newer SAM once a week; this one is pinned.
    (settings / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time(), "telemetryEnabled": False}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    bypass = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost"]))
    return {
        **kept,
        **CREDENTIALS,
        # `sam build` looks for the runtime's Python, and it must be the one that will run the code.
        "PATH": os.pathsep.join([str(engine.python.parent), os.environ.get("PATH", os.defpath)]),
        "AWS_ENDPOINT_URL": engine.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": bypass,
        "no_proxy": bypass,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
        "__SAM_CLI_APP_DIR": str(settings),
        "PYTHONUTF8": "1",
    }


def _run(title: str, command: list[str], directory: Path, environment: dict[str, str], log: Path) -> None:
    """Run one SAM command with its output in a log, and print a line with its seconds.

    Raises _SamFailedError with the end of the output.
    """
    start = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        result = subprocess.run(  # noqa: S603 - SAM from our own .venv
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if not _NOISE.match(line)]
        raise _SamFailedError(title, lines[-SHOWN_LINES:], log)
    say(f"{title}: {time.monotonic() - start:.1f} s")


def _failed_resources(engine: Engine, stack: str, since: datetime) -> list[str]:
    """What CloudFormation says about each resource that it could not deploy since then; often nothing."""
    cloudformation = engine.client("cloudformation")
    try:
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    except cloudformation.exceptions.ClientError:
        return []
    return [
        f"{event['LogicalResourceId']} ({event['ResourceType']}): {event['ResourceStatusReason']}"
        for event in reversed(events)
        if event["Timestamp"] >= since
        and event["ResourceStatus"].endswith("_FAILED")
        and event.get("ResourceStatusReason")
    ]


def main() -> int:
    """Start the local AWS of PORT unless it runs, and deploy to it; returns the exit code."""

    def command() -> None:
        with locked(home_from_environment() / "run.lock", "make up"):
            engine = engine_from_environment()
            with stopped_unless_finished(engine):
                start_engine(engine)
                outputs = deploy(engine)
        say("\n".join(next_steps(engine, outputs, stack_name())))

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
