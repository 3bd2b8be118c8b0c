"""Every asynchronous hop: where nobody waits for an answer, what cannot be delivered is kept for two weeks, by a queue
that takes it, and is not tried for ever.

The hops come from the template itself: a new rule, subscription, stream, schedule or function fails here until it has
its queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.definitions import TWO_WEEKS, references, resources, source, words

from .test_permissions import statements

QUEUES = resources("AWS::SQS::Queue")
FUNCTIONS = resources("AWS::Lambda::Function")


@dataclass(frozen=True)
class Hop:
    """From `sender` (a logical id) to `receiver`; `queue` is the value of the template that names its queue, if any.

    What fails is written to the queue by an AWS service that comes for `sender` (`service`, allowed by the queue's
    policy), or with the rights of a role of this stack (`role`).
    """

    sender: str
    receiver: set[str]
    queue: Any
    attempts: int | None
    service: str | None = None
    role: str | None = None

    def __str__(self) -> str:
        return f"{self.sender} to {' '.join(sorted(self.receiver))}"


def hops() -> Iterator[Hop]:
    """All of the template."""
    for name, rule in resources("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            attempts = target.get("RetryPolicy", {}).get("MaximumRetryAttempts")
            queue = target.get("DeadLetterConfig", {}).get("Arn")
            yield Hop(name, references(target["Arn"]), queue, attempts, service="events.amazonaws.com")
    for name, subscription in resources("AWS::SNS::Subscription").items():
        queue = subscription.get("RedrivePolicy", {}).get("deadLetterTargetArn")
        (topic,) = references(subscription["TopicArn"])
        # SNS itself bounds what it tries: an address three times, an endpoint of AWS for 23 days.
        yield Hop(topic, {name}, queue, 0, service="sns.amazonaws.com")
    for name, mapping in resources("AWS::Lambda::EventSourceMapping").items():
        (function,) = references(mapping["FunctionName"])
        queue = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        yield Hop(name, {function}, queue, mapping.get("MaximumRetryAttempts"), role=role_of(function))
    for name, schedule in resources("AWS::Scheduler::Schedule").items():
        target = schedule["Target"]
        (role,) = references(target["RoleArn"])
        attempts = target.get("RetryPolicy", {}).get("MaximumRetryAttempts")
        yield Hop(name, references(target["Arn"]), target.get("DeadLetterConfig", {}).get("Arn"), attempts, role=role)
    for function in called_without_waiting():
        configured = [
            config
            for config in resources("AWS::Lambda::EventInvokeConfig").values()
            if references(config["FunctionName"]) == {function}
        ]
        config = configured[0] if configured else {}
        queue = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        yield Hop("Lambda", {function}, queue, config.get("MaximumRetryAttempts"), role=role_of(function))


def called_without_waiting() -> list[str]:
    """Functions that rules, schedules and topics call: Lambda says yes to those, and queues the event."""
    receivers: set[str] = set()
    for rule in resources("AWS::Events::Rule").values():
        receivers |= references([target["Arn"] for target in rule["Targets"]])
    for schedule in resources("AWS::Scheduler::Schedule").values():
        receivers |= references(schedule["Target"]["Arn"])
    for subscription in resources("AWS::SNS::Subscription").values():
        receivers |= references(subscription["Endpoint"])
    return sorted(receivers & set(FUNCTIONS))


def role_of(function: str) -> str:
    """Logical id of the role that a function runs with."""
    (role,) = references(FUNCTIONS[function]["Role"])
    return role


HOPS = list(hops())
each_hop = pytest.mark.parametrize("hop", HOPS, ids=str)


def test_all_kinds_of_hops_are_found() -> None:
    kinds = {(hop.service, hop.role is not None) for hop in HOPS}
    assert kinds == {("events.amazonaws.com", False), ("sns.amazonaws.com", False), (None, True)}
    assert called_without_waiting()


@each_hop
def test_what_cannot_be_delivered_is_kept_for_two_weeks(hop: Hop) -> None:
    (queue,) = references(hop.queue)
    assert QUEUES[queue]["MessageRetentionPeriod"] == TWO_WEEKS


@each_hop
def test_it_is_not_tried_for_ever(hop: Hop) -> None:
    assert hop.attempts is not None
    assert 0 <= hop.attempts <= 185  # EventBridge's most, within a day


@each_hop
def test_whoever_keeps_it_may(hop: Hop) -> None:
    if hop.role:
        policies = resources("AWS::IAM::Role")[hop.role].get("Policies", [])
        found = [statement for policy in policies for statement in statements(policy["PolicyDocument"])]
        assert any(allows(statement, "sqs:SendMessage", hop.queue) for statement in found)
        return
    assert any(
        allows(statement, "sqs:SendMessage", hop.queue)
        and statement["Principal"] == {"Service": hop.service}
        and hop.sender in references(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
        for policy in resources("AWS::SQS::QueuePolicy").values()
        if references(hop.queue) <= references(policy["Queues"])
        for statement in statements(policy["PolicyDocument"])
    )


def allows(statement: dict[str, Any], action: str, resource: Any) -> bool:
    """Whether a statement allows this action on just what a value of the template names."""
    named = references(statement["Resource"])
    return statement["Effect"] == "Allow" and action in words(statement["Action"]) and references(resource) == named


@each_hop
def test_whoever_delivers_it_may(hop: Hop) -> None:
    """A rule calls a function by the function's permission, and all else with the rights of a role."""
    rules, schedules = resources("AWS::Events::Rule"), resources("AWS::Scheduler::Schedule")
    targets = [*rules.get(hop.sender, {}).get("Targets", [])]
    targets += [schedules[hop.sender]["Target"]] if hop.sender in schedules else []
    for target in targets:
        if "RoleArn" in target:
            (role,) = references(target["RoleArn"])
            found = [s for p in resources("AWS::IAM::Role")[role]["Policies"] for s in statements(p["PolicyDocument"])]
            wanted = "lambda:InvokeFunction" if hop.receiver & set(FUNCTIONS) else "states:StartExecution"
            assert any(allows(statement, wanted, target["Arn"]) for statement in found)
        else:
            permissions = resources("AWS::Lambda::Permission").values()
            assert any(
                references(permission["FunctionName"]) == hop.receiver
                and permission["Action"] == "lambda:InvokeFunction"
                and permission["Principal"] == hop.service
                and references(permission.get("SourceArn")) == {hop.sender}
                for permission in permissions
            )


@pytest.mark.parametrize("queue", QUEUES)
def test_queue_is_named_to_operators_and_takes_from_some_hop(queue: str) -> None:
    assert any(references(output["Value"]) == {queue} for output in source()["Outputs"].values())
    assert any(references(hop.queue) == {queue} for hop in HOPS)
