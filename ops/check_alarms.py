"""Who hears when something goes wrong: alarms, their topics, and who has subscribed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG

_ALARM_TYPES = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
_AT_ONCE = 100  # names that DescribeAlarms takes
# Every alarm has been evaluated by then.
_EVALUATED = timedelta(minutes=20)
_UNTIL_THE_FIRST_RUN = "-reconciler-silent"
_NO_ALARMS = "Observability=false: the stack has no alarms."
# Their parameter, and what people hear by the topic. Observability and Governance have theirs.
_TOPICS = {
    "NoticesTopic": ("NotificationEmail", "of uncertain and failed images"),
    "AlarmsTopic": ("AlarmEmail", "of alarms"),
    "PagesTopic": ("AlarmEmail", "of alarms that need action at once"),
    "SecurityTopic": ("AlarmEmail", "of security alerts"),
}


def alarms(subject: Subject) -> Iterator[Line]:
    """Whether every alarm of the stack is there, may act, and is silent."""
    names = [
        found.physical_id
        for resources in subject.nested.values()
        for found in resources.values()
        if found.kind in _ALARM_TYPES
    ]
    if not names:
        yield not_checked("alarms", _NO_ALARMS)
        return
    found = {alarm["AlarmName"]: alarm for alarm in _described(names)}
    missing = sorted(set(names) - found.keys())
    disabled = sorted(name for name, alarm in found.items() if alarm["AlarmActions"] and not alarm["ActionsEnabled"])
    ringing = sorted(name for name, alarm in found.items() if alarm["StateValue"] == "ALARM")
    if missing:
        yield not_ok("alarms", f"Gone: {', '.join(missing)}. Deploy again.")
    elif disabled:
        yield not_ok(
            "alarms",
            f"{len(disabled)} may not act, such as {disabled[0]}: aws cloudwatch enable-alarm-actions --alarm-names "
            f"{' '.join(disabled[:5])}",
        )
    else:
        yield ok("alarms", f"{len(names)}, and they may act")
    first = [name for name in ringing if name.endswith(_UNTIL_THE_FIRST_RUN)]
    if first and first == ringing and subject.created > datetime.now(UTC) - _EVALUATED:
        yield not_checked(
            "alarms ringing",
            f"{first[0]} rings until the Reconciler has run once, 15 minutes at most after the first deployment.",
        )
    elif ringing:
        yield not_ok("alarms ringing", f"{', '.join(ringing)}: docs/operations.md has a section for each.")
    else:
        yield ok("alarms ringing", "none")
    yield _filled(list(found.values()))


def _described(names: list[str]) -> Iterator[Any]:
    cloudwatch = boto3.client("cloudwatch", config=CLIENT_CONFIG)
    for first in range(0, len(names), _AT_ONCE):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNames=names[first : first + _AT_ONCE], AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            yield from [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]


def _filled(found: list[Any]) -> Line:
    """Whether FILL gives a number for metrics that never were: else such an alarm never leaves INSUFFICIENT_DATA."""
    name = "alarms over metrics that never were"
    filling = [
        alarm for alarm in found if any("FILL(" in metric.get("Expression", "") for metric in alarm.get("Metrics", []))
    ]
    if not filling:
        return not_checked(name, "No alarm uses FILL.")
    old = [alarm for alarm in filling if alarm["StateUpdatedTimestamp"] < datetime.now(UTC) - _EVALUATED]
    blind = sorted(alarm["AlarmName"] for alarm in old if alarm["StateValue"] == "INSUFFICIENT_DATA")
    if blind:
        return not_ok(name, f"They have no data after {_EVALUATED.seconds // 60} minutes, so they never ring: "
                      f"{', '.join(blind)}. FILL gives no 0 for a metric that has no data point yet.")  # fmt: skip
    if len(old) < len(filling):
        return not_checked(name, "They are new, or changed a moment ago: check again in half an hour.")
    return ok(name, f"{len(filling)} alarms with FILL have a state")


def subscriptions(subject: Subject) -> Iterator[Line]:
    """Whether somebody has subscribed to each topic, and confirmed it."""
    sns = boto3.client("sns", config=CLIENT_CONFIG)
    stacks = [subject.resources, *subject.nested.values()]
    for topic, (parameter, what) in _TOPICS.items():
        name = f"subscribers of {topic}"
        arn = next((resources[topic].physical_id for resources in stacks if topic in resources), None)
        if arn is None:
            yield not_checked(name, "The stack has no such topic: Observability or governance is off.")
            continue
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
        found = [one for page in pages for one in page["Subscriptions"]]
        pending = [one["Endpoint"] for one in found if not one["SubscriptionArn"].startswith("arn:")]
        if pending:
            yield not_ok(
                name,
                f"{', '.join(sorted(pending))} has not confirmed, and hears nothing: open the link in the e-mail "
                '"AWS Notification - Subscription Confirmation" (it is good for 2 days), or subscribe again.',
            )
        elif found:
            yield ok(name, f"{len(found)}, confirmed")
        elif subject.deployment.parameter("Stage") in ("staging", "prod"):
            yield not_ok(name, f"Nobody hears {what}: set {parameter} and deploy, or subscribe to {arn}.")
        else:
            yield not_checked(name, f"Nobody hears {what}, as {parameter} is empty; staging and prod need somebody.")
