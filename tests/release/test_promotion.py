"""The whole promotion, rehearsed: the very steps of the workflows, on one local AWS with a stack for each stage.

release.yml says the order, deploy.yml the steps of a stage. Two releases go the whole way, each built once; prod shifts
gradually, ten minutes in 20 seconds. Then what else the pipeline does: a pull request, a rollback, the nightly job.

The stages have the parameters of samconfig.toml but these, which the local AWS cannot carry: `AuditTrail` and
`GuardDuty` (it has no CloudTrail), and `ManageApiGatewayLogRole` (it has no account settings of API Gateway).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.deploy import _environment as local_environment
from local.deployed import INPUTS
from local.engine import Engine
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.workflows import Step, carry_out, steps, workflows

ATTENTION = 3  # petdetect's exit code
STACK = "serverlessapp-pet-detector-"
MINUTE = "2"  # seconds of a minute of shifts and alarms
# What a pipeline's account knows: of the machine, what the rules of the template ask for, and what is said above.
PARAMETERS = (
    "AlarmEmail=operators@example.org AllowedOrigin=http://localhost:8080 ManageApiGatewayLogRole=false "
    "AuditTrail=none GuardDuty=none NotificationEmail=reviewers@example.org ConcurrentExecutions=8 "
    "ApiReservedConcurrency=0"
)
# What `petdetect check` finds wrong with a stage, and the local AWS is the reason. No other line may be wrong.
LIMITS = {
    # It has no GetDeploymentGroup.
    "alarms of shifts": r".*",
    # A minute lasts two seconds here, so that what is due every quarter of an hour is late. No other alarm may ring.
    "alarms ringing": r"\S+-reconciler-silent: .*",
}
# Installed already, by whoever runs the tests.
INSTALLING = "make .venv/.installed"


@dataclass
class Pipeline:
    """A checkout, a local AWS, and what GitHub would hand from job to job."""

    engine: Engine
    checkout: Path
    parameters: str
    bin: Path  # before the PATH of the steps
    outputs: dict[str, str] = field(default_factory=dict)
    table: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, step: Step, **values: str) -> tuple[int, str, float]:
        """Carry a step out -> its exit code, all that it said, and its seconds."""
        expressions = {
            "vars.DEPLOYER_ROLE_ARN": "",  # the local AWS takes the root's key: who a job is, test_credentials.py asks
            "vars.ARTIFACTS_BUCKET": "artifacts",
            "vars.STACK_PARAMETERS": self.parameters,
            "github.token": "",
            **values,
        }
        given = step.variables(expressions)
        given.pop("AWS_CONFIG_FILE", None)
        output, page = self.engine.home / "output", self.engine.home / "page"
        for file in (output, page):
            file.write_text("")
        environment = local_environment(self.engine) | given
        environment |= {
            "STACK_PARAMETERS": self.parameters,
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(page),
        }
        environment["PATH"] = os.pathsep.join([str(self.bin), environment["PATH"]])
        start = time.monotonic()
        done = carry_out(step, self.checkout, environment)
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.outputs[name] = value
        return done.returncode, done.stdout + done.stderr + page.read_text(), time.monotonic() - start

    def all_of(self, workflow: str, job: str, **values: str) -> dict[str, tuple[int, str, float]]:
        """Carry out every step of a job that can run here, one after the other, until one fails."""
        found = {}
        for step in steps(workflow, job):
            if step.run and step.run != INSTALLING:
                code, said, seconds = self.run(step, **values)
                if "petdetect check" in step.run and code == ATTENTION:
                    wrong = re.findall(r"^Not ok: (.+?)\. (.*)", said, re.MULTILINE)
                    code = 0 if wrong and all(is_limit(title, says) for title, says in wrong) else code
                found[step.run] = (code, said, seconds)
                if code:
                    break
        return found

    def version(self, stack: str) -> str:
        """Number of the workflow's version that is live, and the digest of the code of the functions that it names."""
        outputs = self.stack(stack)
        alias = self.engine.client("stepfunctions").describe_state_machine_alias(
            stateMachineAliasArn=outputs["LiveAliasArn"]
        )
        (route,) = alias["routingConfiguration"]
        return str(route["stateMachineVersionArn"]).rpartition(":")[2]

    def stack(self, name: str) -> dict[str, str]:
        """The outputs of a stack."""
        (found,) = self.engine.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def code(self, stack: str) -> set[str]:
        """CodeSha256 of every function of a stack, as its alias has it."""
        functions = self.engine.client("lambda")
        pages = self.engine.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        return {
            functions.get_function(FunctionName=resource["PhysicalResourceId"], Qualifier="live")["Configuration"][
                "CodeSha256"
            ]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
        }


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A checkout of what is built and run, beside the installed tools."""
    place = tmp_path_factory.mktemp("pipeline")
    checkout = place / "checkout"
    checkout.mkdir()
    for name in (*INPUTS, "delivery", "ops", "local", "photos"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, checkout / name)
    (checkout / ".venv").symlink_to(REPOSITORY / ".venv")
    engine = Engine(free_port(), free_port(), home=place / "engine")
    aws, rekognition = engine.processes
    clock = {"SFN_WAIT_SCALE": "0.1", "CLOCK_MINUTE_SECONDS": MINUTE}
    # Only the stage `local` knows where the stand-in for Rekognition is: the others' functions are told by the machine.
    clock["AWS_ENDPOINT_URL_REKOGNITION"] = engine.rekognition_url
    engine.processes = (dataclasses.replace(aws, environment={**aws.environment, **clock}), rekognition)
    programs = place / "bin"
    programs.mkdir()
    try:
        engine.up()
        engine.client("s3").create_bucket(Bucket="artifacts")
        from local.deploy import machine_parameters

        of_machine = [p for p in machine_parameters(engine) if p.startswith(("PythonRuntime=", "Architecture="))]
        yield Pipeline(engine, checkout, " ".join([*of_machine, PARAMETERS]), programs)
    finally:
        engine.down()


def is_limit(title: str, says: str) -> bool:
    """Whether a line of `petdetect check` is wrong because of the local AWS."""
    return title in LIMITS and re.fullmatch(LIMITS[title], says) is not None


def test_no_other_alarm_than_that_of_the_reconciler_may_ring() -> None:
    late, failed = "serverlessapp-pet-detector-dev-reconciler-silent", "serverlessapp-pet-detector-dev-images-failed"
    assert is_limit("alarms ringing", f"{late}: docs/operations.md has a section for each.")
    for ringing in (failed, f"{failed}, {late}", f"{late}, {failed}"):
        assert not is_limit("alarms ringing", f"{ringing}: docs/operations.md has a section for each.")
    assert not is_limit("role", "may not")


def stages() -> list[str]:
    """The environments of release.yml, in the order in which its jobs need each other."""
    jobs = {
        name: job for name, job in workflows()["release"]["jobs"].items() if job.get("uses", "").endswith("deploy.yml")
    }
    order: list[str] = []
    while jobs:
        (name,) = (name for name, job in jobs.items() if not set(job["needs"]) & jobs.keys())
        order.append(jobs.pop(name)["with"]["environment"])
    return order


def promote(pipeline: Pipeline, release: str) -> None:
    """Build once, then the steps of deploy.yml for one stage after the other."""
    for code, said, _ in pipeline.all_of("release", "build").values():
        assert code == 0, said
    artifact = pipeline.checkout / ".aws-sam" / "release.tar"
    built = pipeline.outputs["sha256"]
    for stage in stages():
        assert hashlib.sha256(artifact.read_bytes()).hexdigest() == built, "the artifact is promoted unchanged"
        done = pipeline.all_of("deploy", "deploy", **{"inputs.environment": stage, "inputs.sha256": built})
        for text, (code, said, _) in done.items():
            assert code == 0, f"{stage}: {text}\n{said[-6000:]}"
        stack = STACK + stage
        seconds = sum(seconds for _, _, seconds in done.values())
        pipeline.table.append((release, stage, stack, built[:12], pipeline.version(stack), f"{seconds:.0f}"))


class Weights(threading.Thread):
    """Watches how an alias shares its traffic, until it is told to end."""

    def __init__(self, pipeline: Pipeline, alias: str) -> None:
        super().__init__()
        self._client, self._alias = pipeline.engine.client("stepfunctions"), alias
        self.over = threading.Event()
        self.seen: list[tuple[int, ...]] = []

    def run(self) -> None:
        while not self.over.wait(0.2):
            found = self._client.describe_state_machine_alias(stateMachineAliasArn=self._alias)["routingConfiguration"]
            weights = tuple(sorted(route["weight"] for route in found))
            if weights not in self.seen[-1:]:
                self.seen.append(weights)


def test_two_releases_go_the_whole_way_and_prod_shifts_gradually(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stages() == ["dev", "staging", "prod"]
    promote(pipeline, "first")
    first = {stage: pipeline.code(STACK + stage) for stage in stages()}
    assert len(first["dev"]) == 3, "one zip each of functions/, converter/ and web/"
    assert first["dev"] == first["staging"] == first["prod"], "what runs is one artifact"
    handler = pipeline.checkout / "functions" / "images_api" / "app.py"
    handler.write_text(handler.read_text() + "\n# The second release.\n")
    watch = Weights(pipeline, pipeline.stack(f"{STACK}prod")["LiveAliasArn"])
    watch.start()
    try:
        promote(pipeline, "second")
    finally:
        watch.over.set()
        watch.join()
    second = {stage: pipeline.code(STACK + stage) for stage in stages()}
    assert second["dev"] == second["staging"] == second["prod"] != first["dev"]
    assert watch.seen == [(100,), (10, 90), (100,)], "a tenth of it for ten minutes, then all"
    with capsys.disabled():
        print("\nrelease  stage    stack                               artifact      version  seconds")
        for release, stage, stack, artifact, version, seconds in pipeline.table:
            print(f"{release:<8} {stage:<8} {stack:<35} {artifact:<13} {version:>7}  {seconds:>7}")
    assert [row[1] for row in pipeline.table] == stages() * 2


def test_an_artifact_that_is_not_what_was_built_is_not_deployed(pipeline: Pipeline) -> None:
    before = pipeline.code(f"{STACK}dev")
    artifact = pipeline.checkout / ".aws-sam" / "release.tar"
    good = artifact.read_bytes()
    artifact.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    values = {"inputs.environment": "dev", "inputs.sha256": pipeline.outputs["sha256"]}
    try:
        ((code, said, _),) = pipeline.all_of("deploy", "deploy", **values).values()
    finally:
        artifact.write_bytes(good)
    assert code == 1
    assert "is not what was built" in said
    assert pipeline.code(f"{STACK}dev") == before


def test_rollback_points_prod_back(pipeline: Pipeline) -> None:
    before = int(pipeline.version(f"{STACK}prod"))
    for function, version in {"": "", "ImagesApi": ""}.items():
        done = pipeline.all_of(
            "rollback",
            "rollback",
            **{"inputs.environment": "prod", "inputs.version": version, "inputs.function": function},
        )
        for text, (code, said, _) in done.items():
            assert code == 0, f"{text}\n{said[-3000:]}"
    assert int(pipeline.version(f"{STACK}prod")) == before - 1


def test_pull_request_has_a_stack_until_it_is_closed(pipeline: Pipeline) -> None:
    number = {"github.event.pull_request.number": "7", "needs.build.outputs.sha256": pipeline.outputs["sha256"]}
    done = pipeline.all_of("pull_request", "up", **number)
    for text, (code, said, _) in done.items():
        assert code == 0, f"{text}\n{said[-3000:]}"
    shown = done[next(text for text in done if "changes" in text)][1]
    assert f"### What would change in {STACK}dev" in shown
    # The artifact is the one that dev has: only the API is deployed anew each time.
    named = re.findall(r"^\| (?:Add|Remove|Modify) \| (PetDetectorApi(?:Deployment|Stage)|\w+)", shown, re.MULTILINE)
    assert set(named) <= {"PetDetectorApiDeployment", "PetDetectorApiStage"}
    tags = {"Environment": "pr-7", "PullRequest": "7", "Project": "pet-detector"}
    (stack,) = pipeline.engine.client("cloudformation").describe_stacks(StackName=f"{STACK}pr-7")["Stacks"]
    assert tags.items() <= {tag["Key"]: tag["Value"] for tag in stack["Tags"]}.items()
    ((code, said, _),) = pipeline.all_of("pull_request", "down", **number).values()
    assert code == 0, said[-3000:]
    assert f"0 leftovers of {STACK}pr-7" in said
    assert not tagged(pipeline, "PullRequest", "7")
    # The other stages are as they were.
    assert pipeline.code(f"{STACK}dev")


def test_nightly_job_sweeps_what_a_missed_close_left(pipeline: Pipeline) -> None:
    """Nobody told the pipeline that 8 was closed; 9 is open."""
    for number in ("8", "9"):
        values = {"github.event.pull_request.number": number, "needs.build.outputs.sha256": pipeline.outputs["sha256"]}
        (deploy,) = (step for step in steps("pull_request", "up") if "delivery deploy" in step.run)
        code, said, _ = pipeline.run(deploy, **values)
        assert code == 0, said[-3000:]
    (sweep,) = (step for step in steps("scheduled", "sweep") if "sweep" in step.run)
    answer_of_gh(pipeline, "9")
    code, said, _ = pipeline.run(sweep)
    assert code == 0, said[-3000:]
    assert "0 leftovers of pull requests that are closed" in said
    assert not tagged(pipeline, "PullRequest", "8")
    assert tagged(pipeline, "PullRequest", "9")
    assert pipeline.code(f"{STACK}dev"), "no other stack"


def test_nightly_job_sweeps_nothing_when_github_does_not_answer(pipeline: Pipeline) -> None:
    (sweep,) = (step for step in steps("scheduled", "sweep") if "sweep" in step.run)
    answer_of_gh(pipeline, "", code=1)
    code, _, _ = pipeline.run(sweep)
    assert code == 1
    assert tagged(pipeline, "PullRequest", "9")


def answer_of_gh(pipeline: Pipeline, text: str, code: int = 0) -> None:
    """Let the command `gh` say this."""
    program = pipeline.bin / "gh"
    program.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    program.chmod(0o755)


def tagged(pipeline: Pipeline, key: str, value: str) -> list[str]:
    """What the account says has a tag."""
    pages: Any = pipeline.engine.client("resourcegroupstaggingapi").get_paginator("get_resources")
    found = pages.paginate(TagFilters=[{"Key": key, "Values": [value]}])
    arns = [mapping["ResourceARN"] for page in found for mapping in page["ResourceTagMappingList"]]
    # As on AWS, a table is listed for a while after it is gone.
    tables = pipeline.engine.client("dynamodb").list_tables()["TableNames"]
    return [arn for arn in arns if ":table/" not in arn or arn.rpartition("/")[2] in tables]


def test_nightly_job_looks_for_drift(pipeline: Pipeline) -> None:
    (drift,) = (step for step in steps("scheduled", "drift") if "petdetect" in step.run)
    code, said, _ = pipeline.run(drift, **{"matrix.environment": "dev", "matrix.role": ""})
    assert code in (0, 3), said[-3000:]
    assert re.search("drift", said)
