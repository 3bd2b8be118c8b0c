"""What an environment costs a month however few images come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops import shipped
from pet_detector.rules.models import Animal, ReasonCode
from pet_detector.rules.prices import prices

OBSERVABILITY = shipped.REPOSITORY / "stacks" / "observability.yaml"

MONTH_DAYS = 30
# The metrics of the namespace PetDetector that have no dimension but the service ...
METRICS = (
    "AnalysisReused",
    "ConfidenceScore",
    "DuplicateIgnored",
    "EstimatedCost",
    "ImageFailed",
    "ImageHeld",
    "ImageReceived",
    "ImageUncertain",
    "NoticeSent",
    "ProcessingTime",
    "ReconcileGap",
    "RekognitionCall",
)
# ... and those that have another one: CloudWatch bills each of its values.
METRICS_BY_DIMENSION = {"ImageClassified": tuple(Animal), "ImageRejected": tuple(ReasonCode)}
# The dashboards that are free have at most so many.
METRICS_OF_A_FREE_DASHBOARD = 50
# A run of the Reconciler that finds nothing: half a second, one listing, a query for each of four shards.
RECONCILER_SECONDS, LISTINGS, READ_UNITS = 0.5, 1, 2


@dataclass(frozen=True)
class Fixed:
    """A line in US dollars a month. `how` is its arithmetic in words."""

    name: str
    per_month: float
    how: str


def fixed(environment: str) -> list[Fixed]:
    """What an environment of samconfig.toml costs a month without images.

    A custom metric costs only in hours that have a value, so those lines are the most that they can be.
    """
    parameters = shipped.parameters(environment)
    lines = [_metrics(), _reconciler(parameters["Architecture"])]
    if parameters.get("Observability") == "true":
        lines += observability()
    return lines


def _metrics() -> Fixed:
    count = len(METRICS) + sum(len(values) for values in METRICS_BY_DIMENSION.values())
    price = prices()["cloudwatch_metric_month"]
    return Fixed("Business metrics", count * price, f"up to {count} at ${price:g}, in hours with images")


def _reconciler(architecture: str) -> Fixed:
    resources = shipped.document(shipped.TEMPLATE)["Resources"]
    schedule = resources["ReconcileSchedule"]["Properties"]["ScheduleExpression"]
    (minutes,) = re.findall(r"rate\((\d+) minutes\)", schedule)
    runs = MONTH_DAYS * 24 * 60 // int(minutes)
    unit = prices()
    price = unit["scheduler_invocation"] + unit["lambda_request"]
    gigabytes = shipped.memory_megabytes("ReconcilerFunction") / 1024
    price += RECONCILER_SECONDS * gigabytes * unit[f"lambda_gb_second_{architecture}"]
    price += LISTINGS * unit["s3_put"] + READ_UNITS * unit["dynamodb_read_unit"]
    return Fixed("Reconciler", runs * price, f"{runs} runs of {RECONCILER_SECONDS:g} s that find nothing")


def observability() -> list[Fixed]:
    """Of stacks/observability.yaml and what it nests, with every option on."""
    return [line for line in _observability() if line.how]


def _observability() -> Iterator[Fixed]:
    unit, found = prices(), list(shipped.resources(OBSERVABILITY))
    kinds = [resource["Type"] for resource in found]
    alarms = [resource["Properties"] for resource in found if resource["Type"] == "AWS::CloudWatch::Alarm"]
    # An alarm on a formula is billed for each metric in it.
    watched = sum(sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1 for alarm in alarms)
    price = unit["cloudwatch_alarm_month"]
    yield Fixed("Alarms", watched * price, f"{len(alarms)} alarms on {watched} metrics at ${price:g}")
    for kind, name, price_name in (
        ("AWS::CloudWatch::CompositeAlarm", "Composite alarms", "cloudwatch_composite_alarm_month"),
        ("AWS::Logs::MetricFilter", "Metrics from logs", "cloudwatch_metric_month"),
        ("AWS::KMS::Key", "KMS keys", "kms_key_month"),
    ):
        count, price = kinds.count(kind), unit[price_name]
        yield Fixed(name, count * price, f"{count} at ${price:g}" if count else "")
    boards = [resource["Properties"] for resource in found if resource["Type"] == "AWS::CloudWatch::Dashboard"]
    large = sum(_metrics_on(board) > METRICS_OF_A_FREE_DASHBOARD for board in boards)
    free, price = int(unit["cloudwatch_dashboards_free"]), unit["cloudwatch_dashboard_month"]
    paid = large + max(0, len(boards) - large - free)
    how = f"{len(boards)} at ${price:g}, {free} of up to {METRICS_OF_A_FREE_DASHBOARD} metrics free in an account"
    yield Fixed("Dashboards", paid * price, how if boards else "")


def _metrics_on(board: Mapping[str, Any]) -> int:
    """How many different metrics a dashboard shows."""
    widgets = board["DashboardBody"]["Fn::ToJsonString"]["widgets"]
    lines = [line for widget in widgets for line in widget["properties"].get("metrics", [])]
    return len({tuple(part for part in line if isinstance(part, str)) for line in lines})
