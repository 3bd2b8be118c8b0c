"""A queue that gets what is published to a topic."""

from __future__ import annotations

import json

from local.engine import Engine


def subscribed_queue(engine: Engine, name: str, topic_arn: str) -> tuple[str, str]:
    """Make a queue, let the topic in, and subscribe it; returns the queue's URL and the subscription's ARN."""
    sqs, sns = engine.client("sqs"), engine.client("sns")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    let_in = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [let_in]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    made = sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
    return queue, made["SubscriptionArn"]
