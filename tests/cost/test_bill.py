"""The price of an image: what it may be, and each line's arithmetic by hand, in dollars a million images."""

from __future__ import annotations

from typing import Any

import pytest

from ops import cost, definitions
from ops.cost import CONVERSION, Load, bill, line
from pet_detector.rules import prices

MILLION = 1_000_000
pytestmark = pytest.mark.usefixtures("pinned_prices")

PARAMETERS = {
    "Architecture": "arm64",
    "DataKey": "aws",
    "DailyAnalysisLimit": "0",
    "DailyAnalysisLimitPerKey": "0",
    "ReviewSamplePercent": "0",
    "ImageRetentionDays": "365",
    "RecordRetentionDays": "365",
    "LogRetentionDays": "90",
}


def _dollars(load: Load | None = None, **changed: str) -> dict[str, float]:
    """Each line in dollars a million images."""
    return {line.name: line.per_image * MILLION for line in bill(load or Load(), PARAMETERS | changed)}


def test_a_key_of_the_account_adds_its_requests_and_nothing_else() -> None:
    without, with_key = _dollars(), _dollars(DataKey="customer")
    assert {name: with_key[name] - without.get(name, 0) for name in with_key if name not in without} == {
        "KMS requests": pytest.approx(7 * 3)
    }
    assert all(with_key[name] == price for name, price in without.items())


# --- The arithmetic, by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "dollars"),
    [
        ("Rekognition", 1000.0),
        ("Step Functions", (6 + 0.05 + 4 * 0.01) * 25),  # 152.25
        # 0.9 s and 0.35 s of 512 MB; for one of 20 images 0.12 s of 256 MB; 1 % of all that again
        ("Lambda (workflow)", 1.01 * (0.2 + 6.00003 + 0.2 + 2.33335 + 0.05 * (0.2 + 0.40000))),  # 8.85
        # 0.065 s; twice 0.045 s; 3 of 20 shares of 0.1 s; each of 256 MB
        ("Lambda (API, metrics)", 0.41667 + 2 * 0.35 + 0.15 * 0.53333),  # 1.20
        # 4 announce, 10 claim, 18 log, 3 remember the analysis, 1 takes a turn, 16 a notice of one in 20; 3 read keys
        ("DynamoDB requests", (4 + 10 + 18 + 3 + 1 + 0.8) * 0.625 + (2.5 + 3 * 0.5) * 0.125),  # 23.5
        ("S3 requests", 2 * 5 + 5 * 0.4),
        ("API Gateway", 3 * 3.5),
        ("EventBridge", 3.0),
        ("SNS", 0.05 * 20.5),
        ("X-Ray", 2.0),
        ("S3 storage", 591.47),  # 1,953.125 GB for 12 1/6 months, and one as an old version, at 0.023
        # 14.305 GB of records at 0.25, 2.861 GB of backup at 0.20, both 12 1/6 months; 0.954 GB for 3 months at 0.25
        ("DynamoDB storage", 43.51 + 6.962 + 0.715),
        ("CloudWatch Logs", 8.583 * (0.5 + 3 * 0.03)),  # GB, kept for 3 months
    ],
)
def test_a_line_is_what_it_is_by_hand(line: str, dollars: float) -> None:
    assert _dollars()[line] == pytest.approx(dollars, rel=0.0005)


def test_no_line_is_left_out_of_the_check_by_hand() -> None:
    (mark,) = test_a_line_is_what_it_is_by_hand.pytestmark  # type: ignore[attr-defined]

    assert [name for name, _ in mark.args[1]] != []
    assert {name for name, _ in mark.args[1]} | {"Reviews"} == set(_dollars())  # it has a check of its own


def test_lines_are_the_dearest_first_and_the_total_is_their_sum() -> None:
    lines = bill(Load(), PARAMETERS)
    amounts = [line.per_image for line in lines]

    assert amounts == sorted(amounts, reverse=True)
    assert cost.total(lines) == pytest.approx(sum(amounts))


# --- What changes the bill --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "line"),
    [
        ("rekognition_image", "Rekognition"),
        ("states_standard_transition", "Step Functions"),
        ("lambda_request", "Lambda (workflow)"),
        ("lambda_gb_second_arm64", "Lambda (API, metrics)"),
        ("dynamodb_write_unit", "DynamoDB requests"),
        ("dynamodb_read_unit", "DynamoDB requests"),
        ("dynamodb_storage_gb_month", "DynamoDB storage"),
        ("dynamodb_pitr_gb_month", "DynamoDB storage"),
        ("s3_put", "S3 requests"),
        ("s3_get", "S3 requests"),
        ("s3_storage_gb_month", "S3 storage"),
        ("sns_publish", "SNS"),
        ("sns_email", "SNS"),
        ("api_request", "API Gateway"),
        ("eventbridge_s3_event", "EventBridge"),
        ("logs_gb", "CloudWatch Logs"),
        ("logs_storage_gb_month", "CloudWatch Logs"),
        ("xray_trace", "X-Ray"),
    ],
)
def test_a_dearer_price_makes_its_line_dearer(set_price: Any, price: str, line: str) -> None:
    before = _dollars()
    set_price(price, 10 * prices.prices()[price])

    after = _dollars()

    assert after[line] > before[line]
    # A verdict is made of calls of many services.
    untouched = [name for name in before if not (name in (line, "Reviews") or {name, line} <= _FUNCTIONS)]
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


_FUNCTIONS = {"Lambda (workflow)", "Lambda (API, metrics)"}


def test_uncertain_images_cost_a_transition_a_notice_and_its_writes() -> None:
    none, all_of_them = _dollars(Load(uncertain=0.0, retried=0.0)), _dollars(Load(uncertain=1.0, retried=0.0))

    assert all_of_them["Step Functions"] - none["Step Functions"] == pytest.approx(25)
    assert all_of_them["SNS"] - none["SNS"] == pytest.approx(20.5)
    assert all_of_them["DynamoDB requests"] - none["DynamoDB requests"] == pytest.approx(16 * 0.625)


def test_a_verdict_on_each_image_that_people_are_asked_about_by_hand() -> None:
    none, all_of_them = _dollars(Load(uncertain=0.0)), _dollars(Load(uncertain=1.0))

    assert none["Reviews"] == 0
    # 5 transitions; 0.35 s of 512 MB, 0.1 s and twice 0.08 s of 256 MB, in 4 calls; 61 writes and 4 reads of DynamoDB;
    # two lists and a copy, three reads of S3; 2 requests
    functions = 4 * 0.2 + (0.35 * 0.5 + 0.1 * 0.25 + 2 * 0.08 * 0.25) * 13.3334
    by_hand = 5 * 25 + functions + 61 * 0.625 + 4 * 0.125 + 3 * 5 + 3 * 0.4 + 2 * 3.5
    assert all_of_them["Reviews"] == pytest.approx(by_hand, rel=0.001)


def test_images_that_wait_cost_three_transitions_a_call_and_its_writes() -> None:
    none, all_of_them = _dollars(), _dollars(Load(waiting=1.0))

    added = {name: all_of_them[name] - none[name] for name in none if all_of_them[name] != none[name]}

    assert added == pytest.approx(
        {
            "Step Functions": 3 * 25,
            "Lambda (workflow)": 1.01 * (0.2 + 6.00003),  # 0.9 s of 512 MB
            "Lambda (API, metrics)": 0.05 * 0.53333,  # one change more
            # The turn's second attempt, the lease twice, 2 KB in the table and in three indexes; the newest model
            "DynamoDB requests": (1 + 2 + 8) * 0.625 + 0.5 * 0.125,
            "S3 requests": 0.4,
            "CloudWatch Logs": 0.9537 * (0.5 + 3 * 0.03),
        },
        rel=0.0005,
    )


def test_retries_are_billed() -> None:
    assert _dollars(Load(retried=1.0, uncertain=0.0))["Step Functions"] == pytest.approx(25 * (6 + 4))


def test_a_picture_seen_before_is_not_analysed_again() -> None:
    assert _dollars(Load(analysed=0.25))["Rekognition"] == pytest.approx(250)


def test_size_architecture_and_retention_change_the_bill() -> None:
    normal = _dollars()

    assert _dollars(Load(megabytes=4.0))["S3 storage"] == pytest.approx(2 * normal["S3 storage"])
    assert _dollars(ImageRetentionDays="760")["S3 storage"] == pytest.approx(2 * normal["S3 storage"])
    assert _dollars(Architecture="x86_64")["Lambda (workflow)"] > 1.2 * normal["Lambda (workflow)"]
    assert _dollars(RecordRetentionDays="730")["DynamoDB storage"] > 1.9 * normal["DynamoDB storage"]
    assert _dollars(LogRetentionDays="365")["CloudWatch Logs"] > normal["CloudWatch Logs"]


def test_the_brake_costs_one_write_and_one_read_an_image() -> None:
    more = _dollars(DailyAnalysisLimit="1000")["DynamoDB requests"] - _dollars()["DynamoDB requests"]

    assert more == pytest.approx(0.625 + 0.125)


@pytest.mark.parametrize("kept", ["false", "true"])
def test_a_conversion_is_four_transitions_two_calls_and_a_copy(kept: str) -> None:
    """And nothing of an image that needs none."""
    parameters = definitions.parameters("prod") | {"KeepOriginals": kept}
    lines = bill(Load(converted=0.1), parameters)
    by_hand = 4 * 0.000025 + 0.0000002 * 2 + (2.0 * 1769 / 1024 + 0.15 * 0.5) * 0.0000133334 + 0.000005 + 4 * 0.0000004
    more = line(lines, "S3 storage") + 0.000005 if kept == "true" else 0.0
    assert line(lines, CONVERSION) == pytest.approx(0.1 * (by_hand + more), rel=0.01)
    assert CONVERSION not in {found.name for found in bill(Load(), parameters)}


def test_content_safety_is_a_second_call_of_rekognition_and_the_wait_for_it() -> None:
    without, with_it = _dollars(Load(analysed=0.5)), _dollars(Load(analysed=0.5), ContentSafety="reject")
    # half a second of 512 MB, and a write unit
    assert with_it.pop("Content safety") == pytest.approx(0.5 * (1000 + 0.25 * 13.3334 + 0.625))
    assert with_it == without
