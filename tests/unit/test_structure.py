"""The rules of the code: who may import what, and what no log and no metric ever holds."""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

import pet_detector
from pet_detector import analyses, catalogue, executions, images, notices, recognizer, settings
from pet_detector.errors import SettingMissingError
from pet_detector.models import Measurement, Status
from pet_detector.observability import METRICS_NAMESPACE, count, publish

from .api_events import API_KEY, request, upload
from .cloud import (
    BUCKET,
    CORRELATION,
    EXECUTION,
    IMAGE_ID,
    KEY,
    POLICY_PARAMETER,
    REPOSITORY,
    TABLE,
    Cloud,
    breakdown,
    handlers,
    refusal,
)
from .conftest import BOUNDARIES
from .pictures import jpeg

FUNCTIONS = REPOSITORY / "functions"
DOMAIN = FUNCTIONS / "pet_detector"
MODULES = sorted(path.stem for path in DOMAIN.glob("*.py") if path.stem != "__init__")
HANDLERS = sorted(FUNCTIONS.glob("*/app.py"))

# --- Imports ----------------------------------------------------------------------------------------------------------


def imports(path: Path, *, when_run: bool = True) -> set[str]:
    """The modules that a file imports, as `package.module`; with `when_run` without those for the type checker."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if when_run else ():
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path: it is the same in tests and in Lambda"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path, *, when_run: bool = True) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, when_run=when_run)}


def siblings(path: Path) -> set[str]:
    """The modules of pet_detector that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("pet_detector.")}


def named(role: str) -> set[str]:
    """The modules that the package's docstring gives a role: `pure`, `boundaries`, `besides`, `above` or `bottom`."""
    sentences = re.split(r"(?<=\.)\s+", pet_detector.__doc__ or "")
    (sentence,) = [sentence for sentence in sentences if re.search(rf"\b{role}\b", sentence)]
    return set(re.findall(r"`(\w+)`", sentence))


PURE, AT_THE_BOUNDARY = named("pure"), named("boundaries")


def test_the_packages_docstring_names_every_module_there_is() -> None:
    assert {"models", "errors", "policy", "image_format", "activity"} <= PURE
    assert {"recognizer", "images", "catalogue", "analyses", "executions", "notices"} <= AT_THE_BOUNDARY
    assert named("besides") == {"dependencies"}
    assert named("above") == {"notifier", "reconciler"}
    assert set(re.findall(r"`(\w+)`", pet_detector.__doc__ or "")) == set(MODULES), "a module without a role"


@pytest.mark.parametrize("module", MODULES)
def test_only_boundaries_and_the_check_of_health_import_boto3(module: str) -> None:
    assert ("boto3" in roots(DOMAIN / f"{module}.py")) is (module in AT_THE_BOUNDARY | named("besides"))


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_know_nothing_of_aws_the_environment_or_the_clock(module: str) -> None:
    path = DOMAIN / f"{module}.py"
    outside = roots(path, when_run=False) - {"pet_detector"}
    assert outside <= sys.stdlib_module_names, "a library"
    assert not outside & {"os", "time", "random", "socket", "urllib", "http", "subprocess", "logging"}
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not names & {"now", "utcnow", "today"}, "times are compared, never asked for"
    assert siblings(path) <= PURE


@pytest.mark.parametrize("module", sorted(AT_THE_BOUNDARY))
def test_boundaries_translate_errors_and_make_their_client_once_when_it_is_needed(module: str) -> None:
    path = DOMAIN / f"{module}.py"
    assert "aws_errors" in siblings(path)
    of_others = {name.split(".", 1)[1] for name in imports(path) if name.startswith("pet_detector.")}
    called = {name.partition(".")[0] for name in of_others if name.rpartition(".")[2][0].islower()}  # types are not
    assert not called & AT_THE_BOUNDARY, "one boundary calls another"
    (client,) = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name == "_client"]
    assert [ast.unparse(decorator) for decorator in client.decorator_list] == ["cache"]
    clients = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute) and n.attr == "client"]
    assert len(clients) == 1, "a client beside the one"


def test_no_test_meets_the_client_of_another_test() -> None:
    assert {boundary.__name__.rpartition(".")[2] for boundary in BOUNDARIES} == AT_THE_BOUNDARY


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_handlers_import_the_domain_and_powertools_but_neither_boto3_nor_another_handler(path: Path) -> None:
    outside = roots(path, when_run=False) - {"pet_detector", "aws_lambda_powertools"}
    assert outside <= sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_the_domain_knows_no_handler(module: str) -> None:
    assert not roots(DOMAIN / f"{module}.py") & {path.parent.name for path in HANDLERS}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "settings"])
def test_only_settings_reads_the_environment(module: str) -> None:
    assert "os" not in roots(DOMAIN / f"{module}.py")


def test_the_template_names_every_handler_there_is() -> None:
    assert sorted(handlers().values()) == sorted(f"{path.parent.name}.app.lambda_handler" for path in HANDLERS)
    for handler in handlers().values():
        module, _, name = handler.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("value", ["", None])
def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("STAGE", "dev")
    assert settings.required("STAGE") == "dev"
    monkeypatch.setenv("STAGE", value) if value is not None else monkeypatch.delenv("STAGE")
    with pytest.raises(SettingMissingError, match="STAGE"):
        settings.required("STAGE")


# --- Metrics and logs -------------------------------------------------------------------------------------------------


def test_a_metric_is_a_document_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    count("ReconcileGap", 0)
    assert json.loads(capsys.readouterr().out)["ReconcileGap"] == [0]
    publish([Measurement("ImageClassified", dimension=("Animal", "cat"))])
    document = json.loads(capsys.readouterr().out)
    (described,) = document["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == METRICS_NAMESPACE == "PetDetector"
    assert described["Metrics"] == [{"Name": "ImageClassified", "Unit": "Count"}]
    assert "Animal" in described["Dimensions"][0]
    assert (document["ImageClassified"], document["Animal"]) == ([1.0], "cat")


# What an uploader, a client or AWS may hand us, and no log may hold.
NAME = "anna.musterfrau@example.com"
HOSTILE_KEY = f'input/{NAME}"}}\n{{"level":"INFO"}}\u202e.jpg'
IDEMPOTENCY_KEY = "secret-idempotency-key"
PICTURE = jpeg() + b"SECRET-BYTES-OF-THE-PICTURE"
SECRETS = (
    NAME,
    "\u202e",
    "SECRET-BYTES",
    base64.b64encode(PICTURE).decode()[:40],
    API_KEY,
    IDEMPOTENCY_KEY,
    "X-Amz-Signature",
    "x-amz-signature",
    "x-amz-credential",
)

LOST = ReadTimeoutError(endpoint_url=f"https://{BUCKET}.s3.amazonaws.com/{HOSTILE_KEY}")
# What an uploader named is in no URL of the API functions: their keys are ids.
LOST_BY_ID = ReadTimeoutError(endpoint_url=f"https://{BUCKET}.s3.amazonaws.com/{KEY}")


def analyse(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that ImageProcessor has."""
    detect: Any = recognizer._client()
    sent = {"imageId": IMAGE_ID, "executionArn": EXECUTION, "correlationId": CORRELATION, "key": HOSTILE_KEY}
    for data, labels in (
        (PICTURE, ["Cat"]),
        (PICTURE, []),  # again
        (PICTURE + b"2", [NAME]),
        (b"SECRET-BYTES", []),
        (bytes(1 << 24), []),
        (b"", []),
    ):
        version, _ = aws.put(HOSTILE_KEY, data)
        event = sent | {"versionId": version}
        detect.detect_labels = lambda labels=labels, **_: {"Labels": [{"Name": n, "Confidence": 60.0} for n in labels]}
        run(event)
    refused: Any = {"Error": {"Code": "InvalidImageFormatException", "Message": f"secret text of {NAME}"}}

    def refuse(**_: object) -> None:
        raise ClientError(refused, "DetectLabels")

    version, _ = aws.put(HOSTILE_KEY, PICTURE + b"3")
    event = sent | {"versionId": version}
    detect.detect_labels = refuse
    with refusal(analyses._client(), "UpdateItem", "AccessDeniedException"):
        run(event)
    run(event)
    run(event | {"executionArn": EXECUTION + "2"})  # the same bytes are being analysed
    refused["Error"]["Code"] = "AccessDeniedException"
    run(event)
    run(event | {"versionId": "v"})
    detect.detect_labels = lambda **_: {"Labels": []}
    aws.ssm.delete_parameter(Name=POLICY_PARAMETER)
    run(event)


def move(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that FileManager has."""
    version, etag = aws.put(HOSTILE_KEY, PICTURE)
    event = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "key": HOSTILE_KEY,
        "versionId": version,
        "etag": etag,
        "folder": "cats",
        "extension": "jpg",
    }
    for code in ("PreconditionFailed", "AccessDenied", "SlowDown"):
        with refusal(images._client(), "CopyObject", code):
            run(event)
    with breakdown(images._client(), "DeleteObject", LOST, done=False):
        run(event)
    run(event)
    run(event)
    run(event | {"versionId": "another"})


def notify(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that NotificationService has."""
    failed = {
        "kind": "failed",
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "key": HOSTILE_KEY,
        "error": "ServiceError",
        "cause": f"secret text of {NAME}",
    }
    uncertain = failed | {
        "kind": "uncertain",
        "fileName": HOSTILE_KEY,
        "location": f"s3://{BUCKET}/others/{NAME}.jpg",
        "reason": NAME,
        "confidence": 40.0,
        "scores": {"cat": 60.0, "dog": 10.0},
    }
    for event in (failed, uncertain):
        with refusal(notices._client(), "Publish", "Throttled"):
            run(event)
        run(event)
        run(event)
    with breakdown(notices._client(), "Publish", LOST, done=True):
        run(failed | {"executionArn": EXECUTION + "2"})
    with refusal(catalogue._client(), "UpdateItem", "AccessDeniedException"):
        run(failed)


def record_failures(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that FailureRecorder has."""
    sent = json.dumps({"detail": {"object": {"key": HOSTILE_KEY, "version-id": "v"}}})
    detail = {"executionArn": EXECUTION, "status": "FAILED", "input": sent, "error": "E", "cause": f"text of {NAME}"}
    for part in ({"input": NAME}, {"input": None}, {}, {}, {"executionArn": EXECUTION + "2"}):
        run({"detail": detail | part})
    for client, operation in ((catalogue._client(), "UpdateItem"), (notices._client(), "Publish")):
        with refusal(client, operation, "AccessDenied"):
            run({"detail": detail | {"input": json.dumps({"detail": {"object": {"key": KEY}}})}})


def reconcile(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that Reconciler has."""
    aws.deploy_workflow()
    long_ago = "2026-01-01T00:00:00.000Z"
    lost = {"ExecutionArn": EXECUTION, "SourceKey": HOSTILE_KEY, "CorrelationId": "c", "ClaimedAt": long_ago}
    for name in ("ImageID", "2"):
        aws.write(name.encode().hex().ljust(32, "0"), ProcessingStatus="processing", ListedAt=name, **lost)
    aws.put(HOSTILE_KEY, PICTURE)
    with refusal(notices._client(), "Publish", "Throttled"):
        run({"source": "aws.scheduler"})
    with refusal(executions._client(), "StartExecution", "AccessDeniedException"):
        run({})
    with refusal(images._client(), "ListObjectVersions", "AccessDenied"):
        run({})
    run({})


def measure(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that MetricsPublisher has."""
    before = {"ImageID": {"S": IMAGE_ID}, "OriginalFilename": {"S": NAME}, "ProcessingStatus": {"S": "processing"}}
    after = before | {"SourceKey": {"S": HOSTILE_KEY}, "Error": {"M": {"Cause": {"S": NAME}}}}
    for status in Status:
        filed = after | {"ProcessingStatus": {"S": status.value}, "ConfidenceScore": {"N": "98.5"}}
        filed |= {"DetectedAnimal": {"S": "cat"}, "ReasonCode": {"S": "EMPTY"}}
        run({"Records": [{"dynamodb": {"OldImage": before, "NewImage": filed}}, {"dynamodb": {"NewImage": filed}}]})
    run({"Records": [{"dynamodb": {"OldImage": after}}]})
    run({"detail": {"executionArn": EXECUTION, "input": NAME}})


def post(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that UploadApi has."""
    name = f"{NAME}\u202e.jpg"
    for data in (None, PICTURE):
        sent = upload(data, file_name=name, idempotency_key=IDEMPOTENCY_KEY + str(data is None))
        run(sent)
        run(sent)
        run(upload(b"other", file_name=name, idempotency_key=IDEMPOTENCY_KEY + str(data is None)))
    for client, operation in ((images._client(), "PutObject"), (catalogue._client(), "PutItem")):
        with refusal(client, operation, "AccessDenied"):
            run(upload(PICTURE, file_name=name))
        with breakdown(client, operation, LOST_BY_ID, done=False, times=9):
            run(upload(PICTURE, file_name=name))
    run(request("POST", "/upload", body=NAME, headers={"Idempotency-Key": IDEMPOTENCY_KEY}))
    run(request("POST", f"/{NAME}", body=NAME))


def look(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that ImagesApi has."""
    record = catalogue.announce(
        TABLE, IMAGE_ID, file_name=NAME, uploaded_by=NAME, fingerprint="f", correlation_id=CORRELATION
    )
    filed: dict[str, Any] = {name: {"S": str(value)} for name, value in record.items() if name != "ExpiresAt"}
    filed |= {"ProcessingStatus": {"S": "completed"}, "S3Location": {"S": f"s3://{BUCKET}/cats/{IMAGE_ID}.jpg"}}
    aws.dynamodb.put_item(TableName=TABLE, Item=filed)
    for path in (f"/images/{IMAGE_ID}", "/images", "/health", f"/images/{NAME}", f"/{NAME}"):
        run(request("GET", path))
    for query in ({"animal": NAME}, {"from": NAME}, {"limit": NAME}, {"nextToken": NAME}):
        run(request("GET", "/images", query=query))
    for operation, path in (("GetItem", f"/images/{IMAGE_ID}"), ("Query", "/images")):
        with refusal(catalogue._client(), operation, "AccessDeniedException"):
            run(request("GET", path))
        with breakdown(catalogue._client(), operation, LOST_BY_ID, done=False, times=9):
            run(request("GET", path))


STORIES: dict[str, Callable[[Cloud, Callable[[Any], object]], None]] = {
    "image_processor.app.lambda_handler": analyse,
    "file_manager.app.lambda_handler": move,
    "notification_service.app.lambda_handler": notify,
    "failure_recorder.app.lambda_handler": record_failures,
    "reconciler.app.lambda_handler": reconcile,
    "metrics_publisher.app.lambda_handler": measure,
    "upload_api.app.lambda_handler": post,
    "images_api.app.lambda_handler": look,
}


@pytest.mark.usefixtures("people", "policy")
@pytest.mark.parametrize("handler", sorted(handlers().values()))
def test_no_log_and_no_metric_holds_a_name_a_key_a_link_or_a_byte_of_a_picture(
    handler: str, aws: Cloud, context: LambdaContext, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    assert handler in STORIES, "tell here what the new function may run into"
    module, _, name = handler.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    raised: list[Exception] = []

    def run(event: Any) -> None:
        try:
            function(event, context)
        except Exception as error:
            raised.append(error)

    STORIES[handler](aws, run)
    printed = capsys.readouterr()
    written = logs.getvalue() + printed.out
    assert printed.err == ""
    # Lambda itself writes the class and the message of what a handler raises.
    everything = written + "".join(f"{type(error).__name__}: {error}\n" for error in raised)
    for secret in SECRETS:
        assert secret not in everything
        assert json.dumps(secret)[1:-1] not in everything
    lines = [json.loads(line) for line in written.splitlines()]
    assert lines, "nothing was logged"
    for line in lines:
        assert line.get("level") or line.get("_aws"), line
        assert not {"event", "body", "headers"} & line.keys()


def test_a_log_line_tells_whose_image_and_which_execution(
    aws: Cloud, context: LambdaContext, logs: io.StringIO
) -> None:
    version, etag = aws.put(KEY, b"x")
    event = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "key": KEY,
        "versionId": version,
        "etag": etag,
    }
    handler = importlib.import_module("file_manager.app").lambda_handler
    handler(event | {"folder": "cats", "extension": "jpg"}, context)
    (line,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (line["image_id"], line["execution_id"]) == (IMAGE_ID, EXECUTION)
    assert line["correlation_id"] == CORRELATION
    assert line["function_request_id"] == context.aws_request_id
    assert line["service"] == "pet-detector"


def test_an_image_leaves_nothing_in_the_log_lines_of_the_next_request(
    aws: Cloud, context: LambdaContext, logs: io.StringIO
) -> None:
    handler = importlib.import_module("upload_api.app").lambda_handler
    handler(upload(), context)
    with refusal(catalogue._client(), "PutItem", "AccessDenied"):
        handler(upload(), context)
    first, second = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert first["image_id"] != second["image_id"]
    assert first["correlation_id"] == CORRELATION
    logs.truncate(0)
    importlib.import_module("images_api.app").lambda_handler(request("GET", "/images", query={}), context)
    assert "image_id" not in logs.getvalue()
