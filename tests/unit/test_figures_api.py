"""FiguresApi: figures and the policy, for people who may see them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from figures_api.app import lambda_handler
from pet_detector.aws import review_figures
from pet_detector.rules import prices
from pet_detector.runtime.observability import METRICS_NAMESPACE
from tests.support.api_events import EMAIL, body_of, refused, request
from tests.support.moto_world import POLICY, POLICY_PARAMETER, REVIEWS, Cloud

SERVICE = "serverlessapp-pet-detector-test"


@pytest.fixture(autouse=True)
def _stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", SERVICE)


def get(path: str, context: LambdaContext, groups: tuple[str, ...] = ("reviewer",), **query: str) -> dict[str, Any]:
    return lambda_handler(request("GET", path, query=query or None, groups=groups), context)


def post(body: object, context: LambdaContext, *groups: str) -> dict[str, Any]:
    return lambda_handler(request("POST", "/people/policy", body=body, groups=groups or ("operator",)), context)


def count(metric: str, number: float, days_ago: int = 0, **dimension: str) -> None:
    """A value of a business metric, at noon of a day (now, of today)."""
    now = datetime.now(UTC)
    names = {"service": SERVICE} | {name.replace("_", ""): value for name, value in dimension.items()}
    datum: Any = {
        "MetricName": metric,
        "Value": number,
        "Timestamp": now - timedelta(days=days_ago),
        "Dimensions": [{"Name": name, "Value": value} for name, value in names.items()],
    }
    boto3.client("cloudwatch", region_name="us-east-1").put_metric_data(Namespace=METRICS_NAMESPACE, MetricData=[datum])


@pytest.mark.parametrize("groups", [(), ("uploader",)])
@pytest.mark.parametrize("path", ["/people/figures", "/people/policy"])
def test_uploaders_see_no_figures(aws: Cloud, context: LambdaContext, path: str, groups: tuple[str, ...]) -> None:
    assert refused(get(path, context, groups)) == (403, "NOT_ALLOWED")


def test_nobody_else_than_people_sees_figures(aws: Cloud, context: LambdaContext) -> None:
    assert refused(lambda_handler(request("GET", "/people/figures"), context)) == (401, "UNAUTHORIZED")


def test_volume_and_cost_come_from_the_business_metrics(aws: Cloud, context: LambdaContext) -> None:
    count("ImageClassified", 5, Animal="cat")
    count("ImageClassified", 3, days_ago=1, Animal="other")
    count("ImageClassified", 100, days_ago=3, Animal="dog")  # before the first day that is asked for
    count("ImageUncertain", 2, days_ago=1)
    count("ImageRejected", 4, ReasonCode="TOO_SMALL")
    count("ImageFailed", 1)
    count("AnalysisReused", 1)

    found = body_of(get("/people/figures", context, days="2"))

    today = datetime.now(UTC)
    yesterday = {"day": f"{today - timedelta(days=1):%Y-%m-%d}", "cat": 0, "dog": 0, "other": 3, "uncertain": 2}
    assert found["days"] == [
        yesterday | {"rejected": 0, "failed": 0},
        {"day": f"{today:%Y-%m-%d}", "cat": 5, "dog": 0, "other": 0, "uncertain": 0, "rejected": 4, "failed": 1},
    ]
    assert found["rejected"] == {"TOO_SMALL": 4}
    dollars = 5 * prices.image_cost(analysed=True, uncertain=False) + 2 * prices.image_cost(
        analysed=True, uncertain=True
    )
    dollars += (1 + 4) * prices.image_cost(analysed=False, uncertain=False)  # a copy, and what was rejected
    assert found["cost"] == {"usd": pytest.approx(dollars), "images": 12, "since": yesterday["day"]}


def test_figures_of_an_empty_application(aws: Cloud, context: LambdaContext) -> None:
    found = body_of(get("/people/figures", context))

    assert len(found["days"]) == 30
    assert {day["cat"] for day in found["days"]} == {0}
    assert found["accuracy"] is None
    assert found["waiting"] == {"disagreed": 0, "uncertain": 0, "sample": 0, "second": 0, "pending": 0}
    assert found["cost"]["usd"] == 0


def test_what_waits_and_the_stored_accuracy(aws: Cloud, context: LambdaContext) -> None:
    for number, queue in enumerate(("uncertain", "uncertain", "sample", "done")):
        item = {"ImageID": f"{number:032}", "Entry": "review", "Queue": queue, "Order": "1"}
        aws.dynamodb.put_item(TableName=REVIEWS, Item={name: {"S": text} for name, text in item.items()})
    gone = {"ImageID": {"S": "f" * 32}, "Entry": {"S": "review"}, "Queue": {"S": "sample"}, "Order": {"S": "1"}}
    aws.dynamodb.put_item(TableName=REVIEWS, Item=gone | {"FiledAt": {"N": "1"}})  # the picture has expired
    accuracy = {"computedAt": "2026-11-30T04:00:00.000Z", "classes": {}}
    review_figures.store(REVIEWS, review_figures.ACCURACY, accuracy)

    found = body_of(get("/people/figures", context))

    assert (found["waiting"]["uncertain"], found["waiting"]["sample"], found["accuracy"]) == (2, 1, accuracy)


@pytest.mark.parametrize("days", ["0", "91", "a", "-1", "1.5", ""])
def test_days_out_of_range(aws: Cloud, context: LambdaContext, days: str) -> None:
    assert refused(get("/people/figures", context, days=days)) == (400, "INVALID_DAYS")


def test_an_operator_changes_the_policy_and_everybody_sees_who_and_why(aws: Cloud, context: LambdaContext) -> None:
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})
    thresholds = {"computedAt": "2026-11-30T04:00:00.000Z", "rows": [], "current": 80}
    review_figures.store(REVIEWS, review_figures.THRESHOLDS, thresholds)

    answer = post({"policy": {"minimum": 75}, "because": "too many reviews"}, context)

    assert answer["statusCode"] == 200
    seen = body_of(get("/people/policy", context))
    assert body_of(answer) == seen
    assert seen["policy"] == {"minimum": 75, "margin": 15, "floor": 50, "evidence": POLICY.evidence}
    newest, first = seen["history"]
    assert (newest["by"], newest["because"], newest["policy"]) == (EMAIL, "too many reviews", seen["policy"])
    assert first["policy"]["minimum"] == 80
    assert seen["thresholds"] == thresholds | {"current": 75}

    back = {"takeBack": newest["number"], "because": "too many errors"}
    assert body_of(post(back, context))["policy"]["minimum"] == 80
    # The answer was lost, and somebody asks again: that is another change to take back.
    assert refused(post(back, context)) == (409, "POLICY_CHANGED")
    assert body_of(get("/people/policy", context))["policy"]["minimum"] == 80


def test_a_reviewer_does_not_change_the_policy(aws: Cloud, context: LambdaContext) -> None:
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})

    answer = post({"policy": {"minimum": 75}, "because": "too many reviews"}, context, "reviewer", "uploader")

    assert refused(answer) == (403, "NOT_ALLOWED")
    assert json.loads(aws.ssm.get_parameter(Name=POLICY_PARAMETER)["Parameter"]["Value"])["minimum"] == 80


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"policy": {"minimum": 75}}, 400, "REASON_MISSING"),
        ({"policy": {"minimum": 75}, "because": 1}, 400, "REASON_MISSING"),
        ({"policy": {"minimum": 75}, "because": " "}, 400, "REASON_MISSING"),
        ({"because": "a reason"}, 400, "POLICY_INVALID"),
        ({"policy": [], "because": "a reason"}, 400, "POLICY_INVALID"),
        ({"policy": {"minimum": 30}, "because": "a reason"}, 400, "POLICY_INVALID"),
        ({"policy": {"minimum": 1e999}, "because": "a reason"}, 400, "POLICY_INVALID"),
        ({"policy": {"minimum": 10**400}, "because": "a reason"}, 400, "POLICY_INVALID"),
        ({"policy": {"minimum": 80}, "because": "a reason"}, 409, "NOTHING_CHANGES"),
        ({"takeBack": 1, "because": "a reason"}, 409, "NOTHING_TO_TAKE_BACK"),
        ({"takeBack": 2, "because": "a reason"}, 409, "POLICY_CHANGED"),
        ({"takeBack": True, "because": "a reason"}, 400, "POLICY_INVALID"),
        ([], 400, "INVALID_BODY"),
        ("{", 400, "INVALID_BODY"),
    ],
)
def test_what_is_no_change_is_refused(aws: Cloud, context: LambdaContext, body: object, status: int, code: str) -> None:
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})

    assert refused(post(body, context)) == (status, code)


def test_a_policy_that_cannot_be_used_is_shown_as_none(aws: Cloud, context: LambdaContext) -> None:
    aws.set_policy("{")

    found = body_of(get("/people/policy", context))

    assert (found["policy"], found["history"][0]["policy"], found["thresholds"]) == (None, None, None)
