"""S3 events: EventBridge learns which version of an object was created."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.waiting import eventually


def test_an_event_of_a_versioned_bucket_names_the_version(gap_engine: Any) -> None:
    name = f"b-{uuid.uuid4().hex}"
    s3, sqs, events = (gap_engine.client(service) for service in ("s3", "sqs", "events"))
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}})
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [allowed]})})
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["aws.s3"], "detail": {"bucket": {"name": [name]}}}))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])

    version = s3.put_object(Bucket=name, Key="input/1.jpg", Body=b"1")["VersionId"]

    message = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), "the event arrives")[0]
    assert json.loads(message["Body"])["detail"]["object"].get("version-id") == version


def test_a_copy_does_not_replace_what_is_there_if_it_says_so(gap_engine: Any) -> None:
    name, s3 = f"b-{uuid.uuid4().hex}", gap_engine.client("s3")
    s3.create_bucket(Bucket=name)
    for key in ("source", "taken"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    copy = {"Bucket": name, "CopySource": f"{name}/source", "IfNoneMatch": "*"}
    assert gap_engine.refusal(s3.copy_object, Key="free", **copy) is None
    assert gap_engine.refusal(s3.copy_object, Key="taken", **copy) == "PreconditionFailed"
    assert s3.get_object(Bucket=name, Key="taken")["Body"].read() == b"taken"
