"""SNS: who has subscribed, and who has not confirmed it. MiniStack asks web addresses alone to confirm, not e-mail."""

from __future__ import annotations

import uuid
from typing import Any


def test_a_subscription_that_nobody_confirmed_has_no_arn_in_the_list(gap_engine: Any) -> None:
    sns = gap_engine.client("sns")
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    _, queue = gap_engine.create_queue("sns")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/nobody")

    by_topic = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    of_all = [one for one in sns.list_subscriptions()["Subscriptions"] if one["TopicArn"] == topic]

    for listed in (by_topic, of_all):
        arns = {one["Protocol"]: one["SubscriptionArn"] for one in listed}
        assert arns["sqs"].startswith(f"{topic}:")
        assert arns["http"] == "PendingConfirmation"


def test_who_subscribes_somebody_can_end_it_before_it_is_confirmed(gap_engine: Any) -> None:
    sns = gap_engine.client("sns")
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]

    made = sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/nobody", ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    sns.unsubscribe(SubscriptionArn=made)

    assert made.startswith(f"{topic}:")
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
