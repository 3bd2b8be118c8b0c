"""Logs and metrics: what they tell, and what they never hold."""

from __future__ import annotations

import importlib
import io
import json

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws.clients import client
from pet_detector.rules.models import Measurement
from pet_detector.runtime.observability import METRICS_NAMESPACE, count, publish
from tests.support.api_events import request, upload
from tests.support.handler_runs import observe
from tests.support.moto_world import CORRELATION, EXECUTION, IMAGE_ID, KEY, Cloud, handlers, refusal
from tests.support.pictures import jpeg
from tests.support.stories import SECRETS


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


# Serves files that anybody may have: the access log of the API says who asked.
SILENT = {"web.app.lambda_handler"}


@pytest.mark.parametrize("handler", sorted(handlers().values()))
def test_no_log_and_no_metric_holds_a_name_a_key_a_link_or_a_byte_of_a_picture(handler: str) -> None:
    seen = observe(handler)
    # Lambda itself writes the class and the message of what a handler raises.
    everything = seen.text + "".join(f"{type(error).__name__}: {error}\n" for error in seen.raised)
    for secret in SECRETS:
        assert secret not in everything
        assert json.dumps(secret)[1:-1] not in everything
    assert seen.lines or handler in SILENT, "nothing was logged"
    for line in seen.lines:  # of standard error too
        assert line.get("level") or line.get("_aws"), line
        assert not {"event", "body", "headers", "left_over"} & line.keys()


def test_a_log_line_tells_whose_image_and_which_execution(
    aws: Cloud, context: LambdaContext, logs: io.StringIO
) -> None:
    version, etag = aws.put(KEY, jpeg())
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
