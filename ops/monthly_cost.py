"""What an environment costs a month however few images come, line by line, from the templates and the price file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops import definitions
from ops.cost import GOVERNANCE, NETWORK, RECOVERY, call_price, edge_request, is_moderated, trail_line
from pet_detector.rules.models import Animal, ReasonCode
from pet_detector.rules.prices import prices

OBSERVABILITY = definitions.REPOSITORY / "stacks" / "observability.yaml"
EDGE = definitions.REPOSITORY / "stacks" / "edge.yaml"

MONTH_DAYS = 30
# Alarms that begin or end, and digests, in a busy month.
CHAT_MESSAGES = 1_000
# The metrics of the namespace PetDetector that have no dimension but the service ...
METRICS = (
    "AnalysisReused",
    "ConfidenceScore",
    "DuplicateIgnored",
    "EstimatedCost",
    "ImageFailed",
    "ImageHeld",
    "ImageReceived",
    "ImageRegistered",
    "ImageUncertain",
    "ImageWaited",
    "NoticeSent",
    "OldestReviewHours",
    "PrecisionBound",
    "ProcessingTime",
    "ReconcileGap",
    "RekognitionCall",
    "ReviewsWaiting",
    "VerdictsPending",
)
# ... and those that have another one: CloudWatch bills each of its values.
METRICS_BY_DIMENSION = {
    "ImageClassified": tuple(Animal),
    "ImageRejected": tuple(ReasonCode),
    "Precision": tuple(Animal),
}
# The dashboards that are free have at most so many.
METRICS_OF_A_FREE_DASHBOARD = 50
# A run of the Reconciler that finds nothing: half a second, one listing, a query for each of four shards, and two reads
# of withheld notices.
RECONCILER_SECONDS, LISTINGS, READ_UNITS = 0.5, 1, 4
# A run of ReviewKeeper: five queues, its position, and four shards of uncertain images, twice.
KEEPER_READ_UNITS = 14
# Of an account without images: people, deployments, services. And how often a bucket or a table of it changes.
MANAGEMENT_EVENTS, CONFIG_CHANGES = 100_000, 10
# Calls of the data's key (DataKey=customer): DynamoDB, SNS and SQS keep what it gave them for five minutes, by role.
KMS_ROLES, KMS_MINUTES = 18, 5
# About so many checkers of Route 53 ask (nobody measured it), each every RequestInterval of stacks/outside_look.yaml.
CHECKERS, CHECK_SECONDS = 6, 30


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
    parameters = definitions.parameters(environment)
    lines = [
        _business_metrics(parameters),
        _reconciler(parameters["Architecture"]),
        _review_keeper(parameters["Architecture"]),
    ]
    if parameters["DataKey"] == "customer":
        lines.append(_data_key())
    if parameters.get("Observability") == "true":
        lines += observability()
    if parameters.get("NetworkSubnets"):
        lines.append(network(len(parameters["NetworkSubnets"].split(","))))
    return [*lines, *governance(parameters), *recovery(parameters), *edge(parameters), *_chat(parameters)]


def _chat(parameters: Mapping[str, str]) -> Iterator[Fixed]:
    channels = sum(bool(parameters.get(name)) for name in ("SlackChannel", "TeamsChannel"))
    if channels:
        price = prices()["sns_https"]
        how = f"{CHAT_MESSAGES:,} messages to {channels} at ${price * 1e6:g} a million; Amazon Q Developer is free"
        yield Fixed("Chat", channels * CHAT_MESSAGES * price, how)


def _business_metrics(parameters: Mapping[str, str]) -> Fixed:
    count = len(METRICS) + sum(len(values) for values in METRICS_BY_DIMENSION.values())
    count -= not is_moderated(parameters)  # no image is rejected as UNSAFE_CONTENT
    price = prices()["cloudwatch_metric_month"]
    return Fixed("Business metrics", count * price, f"up to {count} at ${price:g}, in hours with images")


def _reconciler(architecture: str) -> Fixed:
    resources = definitions.document(definitions.TEMPLATE)["Resources"]
    schedule = resources["ReconcileSchedule"]["Properties"]["ScheduleExpression"]
    (minutes,) = re.findall(r"rate\((\d+) minutes\)", schedule)
    runs = MONTH_DAYS * 24 * 60 // int(minutes)
    unit = prices()
    price = unit["scheduler_invocation"] + unit["lambda_request"]
    gigabytes = definitions.memory_megabytes("ReconcilerFunction") / 1024
    price += RECONCILER_SECONDS * gigabytes * unit[f"lambda_gb_second_{architecture}"]
    price += LISTINGS * unit["s3_put"] + READ_UNITS * unit["dynamodb_read_unit"]
    return Fixed("Reconciler", runs * price, f"{runs} runs of {RECONCILER_SECONDS:g} s that find nothing")


def _review_keeper(architecture: str) -> Fixed:
    """As the Reconciler's; once a day it sends a digest by e-mail."""
    runs = MONTH_DAYS * 24 * 4
    unit = prices()
    gigabytes = definitions.memory_megabytes("ReviewKeeperFunction") / 1024
    price = unit["scheduler_invocation"] + unit["lambda_request"]
    price += RECONCILER_SECONDS * gigabytes * unit[f"lambda_gb_second_{architecture}"]
    price += KEEPER_READ_UNITS * unit["dynamodb_read_unit"]
    notices = MONTH_DAYS * (unit["sns_publish"] + unit["sns_email"])
    how = f"{runs} runs of {RECONCILER_SECONDS:g} s that find nothing, {MONTH_DAYS} digests"
    return Fixed("ReviewKeeper", runs * price + notices, how)


def _data_key() -> Fixed:
    calls = KMS_ROLES * MONTH_DAYS * 24 * 60 // KMS_MINUTES
    unit = prices()
    how = f"the key, and at most {calls:,} calls: of {KMS_ROLES} roles, each {KMS_MINUTES} minutes"
    return Fixed("Data key", unit["kms_key_month"] + calls * unit["kms_request"], how)


def observability() -> list[Fixed]:
    """Of stacks/observability.yaml and what it nests, with every option on."""
    return [line for line in _observability() if line.how]


def governance(parameters: Mapping[str, str]) -> Iterator[Fixed]:
    """Of stacks/governance.yaml and what it nests, by its three toggles (`none` in all of them: nothing)."""
    trail, detector, rules = (parameters.get(name, "none") for name in ("AuditTrail", "GuardDuty", "ConfigRules"))
    if {trail, detector, rules} == {"none"}:
        return
    unit = prices()
    found = [
        resource for resource in definitions.resources(GOVERNANCE) if trail != "none" or "Condition" not in resource
    ]
    alarms = [resource["Properties"] for resource in found if resource["Type"] == "AWS::CloudWatch::Alarm"]
    counted = sum("MetricName" in alarm for alarm in alarms)  # a metric of our own each; SQS's cost nothing
    watched = sum("MetricStat" in metric for alarm in alarms for metric in alarm.get("Metrics", []))
    price, own = unit["cloudwatch_alarm_month"], unit["cloudwatch_alarm_month"] + unit["cloudwatch_metric_month"]
    how = f"{counted} at ${own:g}, metric included in hours that have a value; {watched} on a queue at ${price:g}"
    yield Fixed("Security alarms", counted * own + watched * price, how)
    keys = 1 + (trail == "own")
    yield Fixed("Security keys", keys * unit["kms_key_month"], f"{keys} at ${unit['kms_key_month']:g}: alerts, trail")
    if trail == "own":
        how = f"{MANAGEMENT_EVENTS:,} management events: the first copy of an account is free, their lines are not"
        yield Fixed("Trail", MANAGEMENT_EVENTS * trail_line(), how)
    if detector == "detector":
        how = f"{MANAGEMENT_EVENTS:,} management events, after 30 free days"
        yield Fixed("GuardDuty", MANAGEMENT_EVENTS * unit["guardduty_management_event"], how)
    if rules != "none":
        judged = sum(resource["Type"] == "AWS::Config::ConfigRule" for resource in found)
        price = CONFIG_CHANGES * (2 * (rules == "recorder") * unit["config_item"] + judged * unit["config_evaluation"])
        yield Fixed("AWS Config", price, f"{CONFIG_CHANGES} changes of bucket and table, {judged} rules")


def edge(parameters: Mapping[str, str]) -> Iterator[Fixed]:
    """Of stacks/edge.yaml and stacks/outside_look.yaml, by the parameters Edge and OutsideLook (`none`: nothing)."""
    unit, has_edge = prices(), parameters.get("Edge", "none") != "none"
    if has_edge:
        found = list(definitions.resources(EDGE))
        acls = sum(resource["Type"] == "AWS::WAFv2::WebACL" for resource in found)
        rules = sum(
            len(resource["Properties"]["Rules"])
            for resource in found
            if "AWS::WAFv2::" in resource["Type"] and "Rules" in resource["Properties"]
        )
        how = f"{acls} web ACLs at ${unit['waf_acl_month']:g}, {rules} rules and groups at ${unit['waf_rule_month']:g}"
        yield Fixed("Edge: AWS WAF", acls * unit["waf_acl_month"] + rules * unit["waf_rule_month"], how)
        how = "the secret, alarms on 3 metrics"
        yield Fixed("Edge: the rest", unit["secret_month"] + 3 * unit["cloudwatch_alarm_month"], how)
    if parameters.get("OutsideLook", "none") != "none":
        asked = CHECKERS * MONTH_DAYS * 24 * 3600 // CHECK_SECONDS
        price = unit["api_request"] + call_price("ImagesApiFunction", parameters) + has_edge * edge_request()
        fixed_ = unit["health_check_month"] + unit["health_check_https_month"] + unit["cloudwatch_alarm_month"]
        yield Fixed(
            "Outside look", fixed_ + asked * price, f"the health check by HTTPS, an alarm, {asked:,} calls of /health"
        )


def network(zones: int) -> Fixed:
    """Of stacks/network.yaml with a subnet in each of so many zones: its interface endpoints, whatever they carry."""
    kinds = [resource["Properties"].get("VpcEndpointType") for resource in definitions.resources(NETWORK)]
    count, hours, price = kinds.count("Interface"), MONTH_DAYS * 24, prices()["vpc_endpoint_zone_hour"]
    how = f"{count} interface endpoints in {zones} zones, {hours} hours at ${price:g}"
    return Fixed("Network", count * zones * hours * price, how)


def recovery(parameters: Mapping[str, str]) -> Iterator[Fixed]:
    """Of stacks/recovery.yaml: its alarms. What it keeps is in an image's bill; its restore tests are in none."""
    if parameters.get("Recovery") != "true":
        return
    found = [
        resource["Properties"]
        for resource in definitions.resources(RECOVERY)
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        and (parameters.get("CopyBucketName") or resource.get("Condition") != "HasReplica")
    ]
    watched = sum(sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1 for alarm in found)
    price = prices()["cloudwatch_alarm_month"]
    yield Fixed("Recovery alarms", watched * price, f"{len(found)} alarms on {watched} metrics at ${price:g}")


def _observability() -> Iterator[Fixed]:
    unit, found = prices(), list(definitions.resources(OBSERVABILITY))
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
