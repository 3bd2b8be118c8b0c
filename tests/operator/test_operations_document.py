"""docs/operations.md: its petdetect commands are run, and those of aws compared with AWS's own descriptions."""

from __future__ import annotations

import contextlib
import inspect
import re
import shlex
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel, Shape, StringShape

from ops import next_steps
from ops.cli import main
from pet_detector.rules import errors, image_ids
from tests.operator.application import CAT, Application
from tests.support.deployment import never_seen
from tests.support.paths import REPOSITORY
from tests.support.templates import load

DOCUMENT = (REPOSITORY / "docs" / "operations.md").read_text()
# Of the AWS CLI itself, beside the parameters of the operation.
CLI_OPTIONS = {"query", "output", "region", "profile"}
PAGING_OPTIONS = {"max-items", "page-size", "starting-token"}


@dataclass(frozen=True)
class Section:
    """A heading of the second level, and what is below it."""

    heading: str
    text: str

    def commands(self, program: str) -> list[str]:
        """Its command lines, in order."""
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", self.text, re.DOTALL | re.MULTILINE)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        assert all(line.partition(" ")[0] in ("aws", "petdetect") for line in lines), lines
        return [line for line in lines if line.startswith(program + " ")]


def _sections() -> list[Section]:
    parts = re.split(r"^#{1,2} (.+)\n", DOCUMENT, flags=re.MULTILINE)
    return [Section(heading, text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)]


SECTIONS = _sections()
PETDETECT_COMMANDS = sorted({command for section in SECTIONS for command in section.commands("petdetect")})
AWS_COMMANDS = sorted({command for section in SECTIONS for command in section.commands("aws")})


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# --- The words --------------------------------------------------------------------------------------------------------


def test_every_error_that_a_record_can_hold_has_a_runbook() -> None:
    # The review workflow ends well with the last one.
    no_record = (errors.PetDetectorError, errors.RequestError, errors.ClaimExpiredError)
    domain = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.PetDetectorError) and kind not in no_record
    }
    headings = {section.heading for section in SECTIONS}

    assert domain <= set(next_steps.BY_ERROR)
    assert set(next_steps.BY_ERROR) <= headings


def test_every_runbook_says_symptom_look_act_verify() -> None:
    for section in SECTIONS:
        steps = re.findall(r"^- \*\*(\w+)\*\*:", section.text, re.MULTILINE)
        if section.heading in next_steps.BY_ERROR or steps:
            expected = ["Look", "Act", "Verify"] if section.heading == "Dead letters" else None
            assert steps == (expected or ["Symptom", "Look", "Act", "Verify"]), section.heading


def test_every_error_ends_with_a_redrive() -> None:
    for section in SECTIONS:
        if section.heading in next_steps.BY_ERROR:
            act = section.text.partition("- **Act**")[2].partition("- **Verify**")[0]
            redrives = [line for line in Section("", act).commands("petdetect") if "redrive" in line]
            assert any("--dry-run" not in line for line in redrives), section.heading


def test_every_dead_letter_queue_is_explained() -> None:
    resources = load(REPOSITORY / "template.yaml")["Resources"]
    queues = {name for name, resource in resources.items() if resource["Type"] == "AWS::SQS::Queue"}
    (section,) = (section for section in SECTIONS if section.heading == "Dead letters")

    assert queues
    assert queues <= set(re.findall(r"^\| (\w+Queue) \|", section.text, re.MULTILINE))


def test_every_link_leads_somewhere() -> None:
    anchors = {_anchor(section.heading) for section in SECTIONS}
    links = set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT))
    printed = {next_steps.runbook(error).partition("#")[2] for error in [*next_steps.BY_ERROR, "Unheard.Of"]}
    printed |= {place.partition("#")[2] for place in (next_steps.RUNBOOK_OF_HELD, next_steps.RUNBOOK_OF_UNSAFE)}

    assert links | printed | {"dead-letters"} <= anchors


def test_every_command_is_in_the_document() -> None:
    used = {line.split()[1] for section in SECTIONS for line in section.commands("petdetect")}

    assert used == set(main.commands)


# --- petdetect --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(deployed: Application) -> Iterator[str]:
    """The ARN of an execution that failed; while it is asked for, no upload starts the workflow."""
    deployed.forget_all()
    arn = deployed.item(deployed.missing())["ExecutionArn"]["S"]
    deployed.forget_all()  # its record too: what has no object any more cannot be redriven
    with deployed.uploads_ignored():
        yield str(arn)


def _waiting(application: Application, status: str, reason: str, execution: str) -> str:
    """An image whose record says that it failed for this reason, or is held, and whose object is there."""
    image_id = application.put(CAT, uuid.uuid4().hex)
    version_id = application.newest(image_id)
    if reason == "ImageNotFoundError":  # and it was put back
        application.deleted(image_id)
        application.put(CAT, image_id)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shard = image_ids.shard_of(image_id)
    record = {
        "ImageID": image_id,
        "ProcessingStatus": status,
        "StatusShard": f"{status}#{shard}",
        "Shard": shard,
        "CreatedAt": now,
        "UpdatedAt": now,
        "ListedAt": f"{now}#{image_id}",
        "OriginalFilename": "cat.jpg",
        "ExecutionArn": execution,
        "SourceKey": f"input/{image_id}.jpg",
        "SourceVersion": version_id,
    }
    item = {name: {"S": value} for name, value in record.items()}
    error = {"M": {"Error": {"S": reason}, "Cause": {"S": "a test"}}}
    application.dynamodb.put_item(
        TableName=application.table, Item=item | ({"Error": error} if status == "failed" else {})
    )
    return image_id


def test_a_runbook_of_an_error_is_about_the_images_that_failed_with_it() -> None:
    for section in SECTIONS:
        if section.heading in next_steps.BY_ERROR:
            assert set(re.findall(r"petdetect .*--reason (\S+)", section.text)) <= {section.heading}


@pytest.mark.parametrize("command", PETDETECT_COMMANDS)
def test_commands_do_what_the_runbook_says(deployed: Application, history: str, command: str, tmp_path: Path) -> None:
    status, usual = ("held", "") if " release " in command else ("failed", "ImageNotFoundError")
    (reason,) = re.findall(r"--reason (\S+)", command) or [usual]
    wanted = 1 if "IMAGE_ID" in command else 2 if "--all" in command else 0
    images = [_waiting(deployed, status, reason, history) for _ in range(wanted)]
    if " dismiss " in command:
        deployed.deleted(images[0])
    if " erase " in command and images:  # it failed more than a minute ago
        deployed.change_record(images[0], UpdatedAt="2026-01-01T00:00:00.000Z")

    (tmp_path / "cat.jpg").write_bytes(never_seen(CAT))

    words = command.replace("IMAGE_ID", "".join(images[:1])).replace("SOURCE", str(tmp_path))
    if " key " in command:
        name = f"client-{uuid.uuid4().hex[:8]}"
        made = None if " create " in command else deployed.petdetect("key", "create", name, "--json").json["key"]
        words = words.replace("NAME", name).replace("KEY_ID", made["keyId"] if made else "")
    if " person " in command:
        email = f"ada-{uuid.uuid4().hex[:8]}@pets.example"
        if " remove " in command:
            assert deployed.petdetect("person", "add", email, "--group", "reviewer").code == 0
        words = words.replace("EMAIL", email)
    words = words.replace("FOLDER", str(tmp_path / "folder"))
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    (tmp_path / "pictures" / "cats" / "cat.jpg").write_bytes(CAT.read_bytes())
    words = words.replace("PICTURES", str(tmp_path / "pictures")).replace("REPORT", str(tmp_path / "report"))
    if " rollback" in command:  # there must be something to go back to
        deployed.configure("UploadApiFunction" if "UploadApi" in command else "ImageProcessorFunction")
    with _same_release_after(deployed):
        output = deployed.petdetect(*shlex.split(words)[1:])

    failed_images_are_left = " status" in command and output.code == 3
    if " check" in command:  # no upload starts the workflow here, and it says so
        assert (output.code, "Not ok: rule ImageUploadedRule." in output.out) == (3, True)
        return
    if " adopt " in command:  # before a stack's first deployment; tests/operator/adopt does it
        assert (output.code, " is there (" in output.err) == (1, True)
        return
    if " drill" in command:  # it names what the tests before have left undone: that is no error
        assert output.code in (0, 3), output
        return
    assert output.code == 0 or failed_images_are_left, output
    if re.search(r" (redrive|release) ", command) and "--dry-run" not in command:
        assert images
        assert [deployed.status(image_id) for image_id in images] == ["completed"] * len(images)


@contextlib.contextmanager
def _same_release_after(application: Application) -> Iterator[None]:
    """What is live before the block is live after it."""
    workflow, functions = application.sfn, application.functions_client
    routes = workflow.describe_state_machine_alias(stateMachineAliasArn=application.live)["routingConfiguration"]
    api = {"FunctionName": application.functions["UploadApiFunction"], "Name": "live"}
    version = functions.get_alias(**api)["FunctionVersion"]
    try:
        yield
    finally:
        workflow.update_state_machine_alias(stateMachineAliasArn=application.live, routingConfiguration=routes)
        functions.update_alias(**api, FunctionVersion=version)


# --- aws --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> botocore.session.Session:
    return botocore.session.Session()


@pytest.mark.parametrize("command", AWS_COMMANDS)
def test_aws_commands_exist_with_these_options(aws: botocore.session.Session, command: str) -> None:
    _, service, operation, *rest = _words(command)
    if operation == "wait":
        operation = _waited_for(aws, service, rest.pop(0))
    model = _operation(aws, service, operation)
    if model.input_shape is None:
        assert rest == [], "it takes no options"
        return
    members = _members(model)
    options = _options(rest)

    paged = _can_page(aws, service, model.name)
    assert set(options) - CLI_OPTIONS - (PAGING_OPTIONS if paged else set()) <= set(members)
    assert {xform_name(name, "-") for name in model.input_shape.required_members} <= set(options)
    for name, values in options.items():
        shape = members.get(name)
        if isinstance(shape, StringShape) and shape.enum:
            assert set(values) <= set(shape.enum)
        if shape is not None and shape.type_name == "boolean":
            assert values == []


def test_the_check_of_aws_commands_can_fail(aws: botocore.session.Session) -> None:
    for wrong in (
        "aws sqs purge-queues --queue-url URL",
        "aws sqs purge-queue --queue URL",
        "aws sqs purge-queue",
        "aws stepfunctions list-executions --state-machine-arn ARN --status-filter LOST",
        "aws ssm put-parameter --name N --value V --overwrite yes",
        "aws sqs purge-queue --queue-url URL --max-items 3",
    ):
        with pytest.raises(AssertionError):
            test_aws_commands_exist_with_these_options(aws, wrong)


def _words(command: str) -> list[str]:
    """`aws`, the service as boto3 calls it, the operation, the rest."""
    words = shlex.split(command)
    return [words[0], {"s3api": "s3", "configservice": "config"}.get(words[1], words[1]), *words[2:]]


def _members(model: OperationModel) -> dict[str, Shape]:
    """The parameters by the names of their options: a flag has two."""
    assert model.input_shape is not None
    members = {xform_name(name, "-"): shape for name, shape in model.input_shape.members.items()}
    flags = {f"no-{name}": shape for name, shape in members.items() if shape.type_name == "boolean"}
    return members | flags


def _operation(aws: botocore.session.Session, service: str, operation: str) -> OperationModel:
    model = aws.get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in names, (service, operation)
    return model.operation_model(names[operation])


def _waited_for(aws: botocore.session.Session, service: str, waiter: str) -> str:
    """The operation that a waiter repeats."""
    waiters = aws.get_waiter_model(service)
    names = {xform_name(name, "-"): name for name in waiters.waiter_names}
    assert waiter in names
    return xform_name(waiters.get_waiter(names[waiter]).operation, "-")


def _can_page(aws: botocore.session.Session, service: str, operation: str) -> bool:
    try:
        aws.get_paginator_model(service).get_paginator(operation)
    except ValueError:
        return False
    return True


def _options(words: list[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            options[word.removeprefix("--")] = []
        else:
            assert options, f"{word} belongs to no option"
            options[list(options)[-1]].append(word)
    return options
