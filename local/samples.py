"""Make what events/ names come true in the local AWS, for `sam local`: `python -m local.samples`, after `make up`.

It puts the pictures that the events name under samples/ of the bucket (no rule watches that folder, so that they stay
until an execution or a function that is started by hand takes them), runs events/console_execution.json, and writes

- `.engine/sam-local.toml`: options for `sam local`: what `make up` built, and the way to the local AWS,
- `.engine/sam-local.json`: the environment variables of the deployed functions,
- `.engine/events/`: the events that need the version id that S3 gave their picture.

Then it lets Docker's containers reach the local AWS until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from local.deploy import machine_parameters, stack_outputs, stack_resources
from local.engine import HOST, REGION, REPOSITORY, Engine, UserError, engine_from_environment
from local.relay import Bridge, docker_bridge, relay
from local.terminal import run_command

EVENTS = REPOSITORY / "events"
PHOTOS = REPOSITORY / "photos"

# Keys that the events name, and what lies there. FileManager takes its pictures away: they are no other event's.
_DOG = (PHOTOS / "dog_gcompris_german_shepherd.jpg").read_bytes()
_TEXT = b"This is a text, and no picture."
SAMPLES = {
    "samples/cat.heic": (REPOSITORY / "tests" / "pictures" / "samples" / "cat.heic").read_bytes(),
    "samples/cat.jpg": (PHOTOS / "cat_chelsea.jpg").read_bytes(),
    "samples/dog.jpg": _DOG,
    "samples/dog_to_file.jpg": _DOG,
    "samples/not_an_image.jpg": _TEXT,
    "samples/not_an_image_to_file.jpg": _TEXT,
}

EXECUTION_SECONDS = 60.0


def prepare(engine: Engine, bridge: Bridge) -> None:
    """Store the samples, run the console's execution, and write the files for SAM. Raises UserError."""
    outputs = stack_outputs(engine)
    s3 = engine.client("s3")

    def store(key: str) -> dict[str, Any]:
        return dict(s3.put_object(Bucket=outputs["ImageBucketName"], Key=key, Body=SAMPLES[key]))

    stored = {key: store(key) for key in SAMPLES}
    moved = json.loads((EVENTS / "console_execution.json").read_text())
    _execute(engine, outputs["LiveAliasArn"], moved)
    key = moved["detail"]["object"]["key"]
    stored[key] = store(key)  # the execution has filed the other one
    _write_events(engine.home / "events", stored)
    variables = engine.home / "sam-local.json"
    variables.write_text(json.dumps(_variables(engine, bridge), indent=2) + "\n")
    _write_options(engine, variables)


def _execute(engine: Engine, live: str, event: dict[str, Any]) -> None:
    """Run an execution to its end. A second run of the same event finds the image claimed, which is an end too."""
    client = engine.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=live, input=json.dumps(event))["executionArn"]
    deadline = time.monotonic() + EXECUTION_SECONDS
    while (status := client.describe_execution(executionArn=execution)["status"]) == "RUNNING":
        if time.monotonic() > deadline:
            raise UserError(f"The execution {execution} does not end: look at {engine.logs}.")
        time.sleep(0.1)
    if status != "SUCCEEDED":
        raise UserError(f"The execution {execution} ended as {status}: look at {engine.logs}.")


def _write_events(directory: Path, stored: dict[str, dict[str, Any]]) -> None:
    """Copy the events whose version id only S3 could know."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in EVENTS.glob("*.json"):
        event = json.loads(file.read_text())
        if event.get("versionId") and event.get("key") in stored:
            answer = stored[event["key"]]
            event |= {"versionId": answer["VersionId"], "etag": answer["ETag"]}
            (directory / file.name).write_text(json.dumps(event, indent=2) + "\n")


def _variables(engine: Engine, bridge: Bridge) -> dict[str, dict[str, str]]:
    """Logical id of each deployed function -> its environment variables, with addresses as a container sees them."""
    client = engine.client("lambda")
    found = {}
    for logical_id, name in stack_resources(engine, "AWS::Lambda::Function").items():
        configuration = client.get_function_configuration(FunctionName=name)
        variables = configuration.get("Environment", {}).get("Variables", {}) | {"AWS_ENDPOINT_URL": engine.url}
        found[logical_id] = {
            key: value.replace(f"http://{HOST}:", f"http://{bridge.address}:") for key, value in variables.items()
        }
    return found


def _write_options(engine: Engine, variables: Path) -> None:
    """A configuration file for SAM: what to run, with this machine's parameters, and how it reaches the engine."""
    options = [
        f"template_file = {json.dumps(str(engine.home / 'build' / 'template.yaml'))}",
        f"parameter_overrides = {json.dumps(machine_parameters(engine))}",
        f"env_vars = {json.dumps(str(variables))}",
        f'region = "{REGION}"',
    ]
    lines = ["version = 0.1"]
    for command in ("invoke", "start_api", "start_lambda"):
        lines += ["", f"[default.local_{command}.parameters]", *options]
    (engine.home / "sam-local.toml").write_text("\n".join(lines) + "\n")


def main() -> int:
    """Prepare the local AWS that runs at PORT for `sam local`; returns the exit code."""

    def command() -> None:
        engine = engine_from_environment()
        if not engine.is_up():
            raise UserError("The local AWS is not running: start it with `make up`.")
        bridge = docker_bridge()
        prepare(engine, bridge)
        config = engine.home / "sam-local.toml"
        shown = config.relative_to(REPOSITORY) if config.is_relative_to(REPOSITORY) else config
        print("The pictures that events/ names are in the bucket. Run a function alone, in another terminal:")
        function = "ImageProcessorFunction -e events/image_processor_cat.json"
        print(f"  .venv/bin/sam local invoke {function} --config-file {shown}")
        print("Containers reach the local AWS until you press Ctrl-C.", flush=True)
        asyncio.run(relay(bridge, [process.port for process in engine.processes]))

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
