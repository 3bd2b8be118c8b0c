"""The rules of the code: who may import what, and what no log and no metric ever holds."""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.rules.errors import SettingMissingError
from pet_detector.rules.models import Measurement, Status
from pet_detector.runtime import settings
from pet_detector.runtime.observability import METRICS_NAMESPACE, count, publish
from tests.support.pictures import jpeg

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

FUNCTIONS = REPOSITORY / "functions"
RULES = FUNCTIONS / "pet_detector" / "rules"
HANDLERS = sorted(FUNCTIONS.glob("*/app.py"))

# --- Structure --------------------------------------------------------------------------------------------------------


def test_imports_keep_the_contracts() -> None:
    """The contracts of import-linter in pyproject.toml: the folder of a module says what it may import."""
    linter = Path(sys.executable).with_name("lint-imports")
    environment = {"PYTHONPATH": str(FUNCTIONS), "PATH": os.environ["PATH"], "COLUMNS": "120"}
    checked = subprocess.run(
        [linter, "--no-cache"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "path", sorted((FUNCTIONS / "pet_detector" / "rules").glob("*.py")), ids=lambda path: path.stem
)
def test_rules_never_ask_for_the_time(path: Path) -> None:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not names & {"now", "utcnow", "today"}, "times are compared, never asked for"


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
    detect: Any = client("rekognition")
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
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"):
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
        with refusal(client("s3"), "CopyObject", code):
            run(event)
    with breakdown(client("s3"), "DeleteObject", LOST, done=False):
        run(event)
    run(event)
    run(event)
    run(event | {"versionId": "another"})


def notify(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that NotificationService has."""
    uncertain = {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "fileName": HOSTILE_KEY,
        "location": f"s3://{BUCKET}/others/{NAME}.jpg",
        "reason": NAME,
        "confidence": 40.0,
        "scores": {"cat": 60.0, "dog": 10.0},
    }
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"):
        run(uncertain)
    with refusal(client("sns"), "Publish", "Throttled"):
        run(uncertain)
    run(uncertain)
    run(uncertain)
    with breakdown(client("sns"), "Publish", LOST, done=True):
        run(uncertain | {"imageId": "e" * 32})


def record_failures(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that FailureRecorder has."""
    sent = json.dumps({"detail": {"object": {"key": HOSTILE_KEY, "version-id": "v"}}})
    detail = {"executionArn": EXECUTION, "status": "FAILED", "input": sent, "error": "E", "cause": f"text of {NAME}"}
    for part in ({"input": NAME}, {"input": None}, {}, {}, {"executionArn": EXECUTION + "2"}):
        run({"detail": detail | part})
    for service, operation in (("dynamodb", "UpdateItem"), ("sns", "Publish")):
        with refusal(client(service), operation, "AccessDenied"):
            run({"detail": detail | {"input": json.dumps({"detail": {"object": {"key": KEY}}})}})


def reconcile(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that Reconciler has."""
    aws.deploy_workflow()
    long_ago = "2026-01-01T00:00:00.000Z"
    lost = {"ExecutionArn": EXECUTION, "SourceKey": HOSTILE_KEY, "CorrelationId": "c", "ClaimedAt": long_ago}
    for name in ("ImageID", "2"):
        aws.write(name.encode().hex().ljust(32, "0"), ProcessingStatus="processing", ListedAt=name, **lost)
    aws.put(HOSTILE_KEY, PICTURE)
    with refusal(client("sns"), "Publish", "Throttled"):
        run({"source": "aws.scheduler"})
    with refusal(client("stepfunctions"), "StartExecution", "AccessDeniedException"):
        run({})
    with refusal(client("s3"), "ListObjectVersions", "AccessDenied"):
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
    for service, operation in (("s3", "PutObject"), ("dynamodb", "PutItem")):
        with refusal(client(service), operation, "AccessDenied"):
            run(upload(PICTURE, file_name=name))
        with breakdown(client(service), operation, LOST_BY_ID, done=False, times=9):
            run(upload(PICTURE, file_name=name))
    run(request("POST", "/upload", body=NAME, headers={"Idempotency-Key": IDEMPOTENCY_KEY}))
    run(request("POST", f"/{NAME}", body=NAME))


def look(aws: Cloud, run: Callable[[Any], object]) -> None:
    """Every end that ImagesApi has."""
    record = detection_logs.announce(
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
        with refusal(client("dynamodb"), operation, "AccessDeniedException"):
            run(request("GET", path))
        with breakdown(client("dynamodb"), operation, LOST_BY_ID, done=False, times=9):
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
    with refusal(client("dynamodb"), "PutItem", "AccessDenied"):
        handler(upload(), context)
    first, second = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert first["image_id"] != second["image_id"]
    assert first["correlation_id"] == CORRELATION
    logs.truncate(0)
    importlib.import_module("images_api.app").lambda_handler(request("GET", "/images", query={}), context)
    assert "image_id" not in logs.getvalue()
