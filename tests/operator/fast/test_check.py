"""What `petdetect check` says of what the local AWS has no notion of: AWS's answers are made up at the client's edge.

Requests are checked against AWS's own descriptions, as the clients do it; answers are not, and are copied from its
documentation.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from ops import (
    check,
    check_alarms,
    check_api,
    check_drift,
    check_judge,
    check_people,
    check_picture,
    check_pictures,
    check_quotas,
    check_rights,
    check_settings,
    check_unknowns,
)
from ops.check_lines import NESTED, Line, Resource, Subject, Verdict
from ops.check_picture import Picture
from ops.environment import Deployment
from pet_detector.aws import clients
from pet_detector.rules.models import Record
from tests.operator.fast.conftest import SESSION
from tests.support.definitions import resources
from tests.support.moto_world import WORKFLOW

STACK = "serverlessapp-pet-detector-prod"
LIVE = f"{WORKFLOW}:live"
Answers = dict[str, Any]
REVIEWS = f"{WORKFLOW}-reviews"
OUTPUTS = {
    "ImageWorkflowArn": WORKFLOW,
    "ReviewWorkflowArn": REVIEWS,
    "LiveAliasArn": LIVE,
    "ImageBucketName": "pictures",
    "AnalysesTableName": "a",
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterable[Answers]:
    """What AWS answers, by operation: a document, a function of the request, or an error code."""
    found: Answers = {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", SESSION)

    def answer(model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        told = found[model.name]
        given = context["given"]
        told = told(given) if callable(told) else told
        if isinstance(told, str):
            return SimpleNamespace(status_code=400), {"Error": {"Code": told, "Message": "no"}, "ResponseMetadata": {}}
        return SimpleNamespace(status_code=200), told

    def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["given"] = params

    def client(service: str, **options: Any) -> Any:
        made: Any = SESSION.client(service, **options)  # type: ignore[call-overload]
        made.meta.events.register("before-parameter-build.*.*", remember)
        made.meta.events.register("before-call.*.*", answer)
        return made

    monkeypatch.setattr(boto3, "client", client)
    clients.forget()
    yield found
    clients.forget()


def subject(resources: dict[str, Resource] | None = None, version: str | None = None, **parameters: str) -> Subject:
    """A stack in prod with these resources in its root."""
    found = Subject(Deployment("prod", STACK, OUTPUTS, {"Stage": "prod", **parameters}), version)
    found.__dict__["resources"] = resources or {}
    found.__dict__.setdefault("nested", {})
    return found


def only(lines: Iterable[Line]) -> Line:
    (line,) = lines
    return line


def is_red(line: Line, *words: str) -> bool:
    assert line.verdict is Verdict.NOT_OK, line
    assert all(word in line.says for word in words), line.says
    return True


# --- Quotas -----------------------------------------------------------------------------------------------------------


def quota(answers: Answers, *, calls: float = 50, concurrency: int = 1000, starts: float = 300) -> None:
    labels = "Transactions per second per account for the Amazon Rekognition image operation DetectLabels"
    names = {
        "rekognition": [(labels, calls)],
        "states": [
            ("StartExecution throttle token refill rate per second", starts),
            ("StateTransition throttle token refill rate per second", 5000.0),
            ("StartExecution throttle token refill rate per second for Express workflows", 6.0),
        ],
    }

    def listed(given: dict[str, Any]) -> dict[str, Any]:
        return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in names[given["ServiceCode"]]]}

    answers |= {"ListServiceQuotas": listed, "ListAWSDefaultServiceQuotas": listed, "GetItem": {}}
    answers["GetAccountSettings"] = {"AccountLimit": {"ConcurrentExecutions": concurrency}}


def test_quotas_that_fit(answers: Answers) -> None:
    quota(answers)
    for look in (check_quotas.rekognition, check_quotas.concurrency, check_quotas.step_functions):
        assert only(look(subject())).verdict is Verdict.OK


def test_the_rights_of_every_role_with_a_policy_are_looked_at_and_those_of_nothing_else() -> None:
    """A user pool has policies too, about passwords; and a policy that only denies gives nothing."""
    roles = resources("AWS::IAM::Role")
    owners = check_rights._statements()
    found = {owner if owner.endswith("Role") else f"{owner}Role" for owner in owners}
    assert found == {name for name, role in roles.items() if '"Allow"' in json.dumps(role.get("Policies"))}


def test_a_quota_of_rekognition_below_the_parameter(answers: Answers) -> None:
    quota(answers, calls=5)
    line = only(check_quotas.rekognition(subject()))
    assert is_red(line, "RekognitionCallsPerSecond is 45, above Rekognition's quota of 5: set it to 4.5")


@pytest.mark.parametrize(
    ("account", "parameters", "words"),
    [
        (200, {"ApiReservedConcurrency": "50"}, "Lambda keeps 100 unreserved: set it to 25"),
        (10, {"ApiReservedConcurrency": "1"}, "set it to 0, or ask AWS for more"),
        (10, {"Observability": "true"}, "ConcurrentExecutions is 800, and the account may have 10"),
    ],
)
def test_a_concurrency_below_the_parameters(
    answers: Answers, account: int, parameters: dict[str, str], words: str
) -> None:
    quota(answers, concurrency=account)
    assert is_red(only(check_quotas.concurrency(subject(None, None, **parameters))), words)


def test_starts_below_the_pace_of_images(answers: Answers) -> None:
    quota(answers, starts=40)
    line = only(check_quotas.step_functions(subject()))
    assert is_red(line, "StartExecution refills 40 a second, and RekognitionCallsPerSecond 45 needs 45")


def test_quotas_that_cannot_be_read_are_not_checked(answers: Answers) -> None:
    denied = "AccessDeniedException"
    answers |= {"ListServiceQuotas": denied, "ListAWSDefaultServiceQuotas": denied, "GetAccountSettings": denied}
    answers["GetItem"] = {}
    for look in (check_quotas.rekognition, check_quotas.concurrency, check_quotas.step_functions):
        assert only(look(subject())).verdict is Verdict.NOT_CHECKED


# --- Who hears --------------------------------------------------------------------------------------------------------

TOPIC = "arn:aws:sns:us-east-1:123456789012:notices"


def subscribers(answers: Answers, *arns: str) -> Line:
    listed = [{"SubscriptionArn": arn, "Endpoint": f"{number}@example.org"} for number, arn in enumerate(arns)]
    answers["ListSubscriptionsByTopic"] = {"Subscriptions": listed}
    lines = check_alarms.subscriptions(subject({"NoticesTopic": Resource("AWS::SNS::Topic", TOPIC)}))
    return next(line for line in lines if line.name == "subscribers of NoticesTopic")


def test_subscribers(answers: Answers) -> None:
    assert subscribers(answers, f"{TOPIC}:1", f"{TOPIC}:2").verdict is Verdict.OK
    assert is_red(subscribers(answers, f"{TOPIC}:1", "PendingConfirmation"), "1@example.org has not confirmed")
    assert is_red(subscribers(answers), "set NotificationEmail and deploy")


def with_alarms(**nested: Resource) -> Subject:
    found = subject({"ObservabilityStack": Resource(NESTED, "arn:aws:cloudformation:observability")})
    found.__dict__["nested"] = {"ObservabilityStack": nested}
    return found


def alarm(name: str, **more: Any) -> dict[str, Any]:
    old = datetime.now(UTC) - timedelta(days=1)
    usual = {"AlarmActions": [TOPIC], "ActionsEnabled": True, "StateValue": "OK", "StateUpdatedTimestamp": old}
    return {"AlarmName": name, **usual, **more}


@pytest.mark.parametrize(
    ("alarms", "name", "words"),
    [
        ([alarm("one")], "alarms", "Gone: two"),
        ([alarm("one"), alarm("two", ActionsEnabled=False)], "alarms", "enable-alarm-actions --alarm-names two"),
        ([alarm("one"), alarm("two", StateValue="ALARM")], "alarms ringing", "two: docs/operations.md"),
        (
            [alarm("one"), alarm("two", StateValue="INSUFFICIENT_DATA", Metrics=[{"Expression": "FILL(m1, 0)"}])],
            "alarms over metrics that never were",
            "so they never ring: two",
        ),
    ],
)
def test_alarms_that_do_not_do_their_work(
    answers: Answers, alarms: list[dict[str, Any]], name: str, words: str
) -> None:
    answers["DescribeAlarms"] = {"MetricAlarms": alarms}
    found = with_alarms(One=Resource("AWS::CloudWatch::Alarm", "one"), Two=Resource("AWS::CloudWatch::Alarm", "two"))
    lines = {line.name: line for line in check_alarms.alarms(found)}
    assert is_red(lines[name], words)
    assert [line.name for line in lines.values() if line.verdict is Verdict.NOT_OK] == [name]


@pytest.mark.parametrize(("hours", "verdict"), [(0, Verdict.NOT_CHECKED), (1, Verdict.NOT_OK)])
def test_the_first_minutes_of_an_environment(answers: Answers, hours: int, verdict: Verdict) -> None:
    """The Reconciler has not run yet, and its alarm says so."""
    created = datetime.now(UTC) - timedelta(hours=hours)
    answers["DescribeStacks"] = {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "CreationTime": created}]}
    answers["DescribeAlarms"] = {"MetricAlarms": [alarm("pets-reconciler-silent", StateValue="ALARM")]}
    found = with_alarms(One=Resource("AWS::CloudWatch::Alarm", "pets-reconciler-silent"))
    lines = {line.name: line for line in check_alarms.alarms(found)}
    assert lines["alarms ringing"].verdict is verdict
    answers["DescribeAlarms"] = {"MetricAlarms": [alarm("pets-reconciler-silent"), alarm("two", StateValue="ALARM")]}
    found = with_alarms(One=Resource("AWS::CloudWatch::Alarm", "two"))
    assert is_red({line.name: line for line in check_alarms.alarms(found)}["alarms ringing"], "two")


def test_alarms_that_do(answers: Answers) -> None:
    filling = alarm("one", Metrics=[{"Expression": "FILL(m1, 0)"}, {"MetricStat": {}}])
    answers["DescribeAlarms"] = {"MetricAlarms": [filling], "CompositeAlarms": [alarm("two")]}
    found = with_alarms(
        One=Resource("AWS::CloudWatch::Alarm", "one"), Two=Resource("AWS::CloudWatch::CompositeAlarm", "two")
    )
    assert {line.verdict for line in check_alarms.alarms(found)} == {Verdict.OK}
    assert only(check_alarms.alarms(subject())).verdict is Verdict.NOT_CHECKED


# --- The release ------------------------------------------------------------------------------------------------------


def released(answers: Answers, newest: int, **weights: int) -> Line:
    entries = [{"stateMachineVersionArn": f"{WORKFLOW}:{v[1:]}", "weight": weight} for v, weight in weights.items()]
    answers["DescribeStateMachineAlias"] = {"routingConfiguration": entries}
    answers["ListStateMachineVersions"] = {
        "stateMachineVersions": [{"stateMachineVersionArn": f"{WORKFLOW}:{newest}", "creationDate": datetime.now(UTC)}]
    }
    return only(check_settings.alias(subject()))


def test_the_alias(answers: Answers) -> None:
    assert released(answers, 3, v3=100).verdict is Verdict.OK
    assert released(answers, 3, v3=100, v2=0).verdict is Verdict.OK
    assert is_red(released(answers, 3, v2=90, v3=10), "90 % on version 2, 10 % on version 3")
    back = released(answers, 3, v2=100)
    assert (back.verdict, "3, the newest, was rolled back" in back.says) == (Verdict.OK, True), "somebody chose it"
    assert only(check_settings.alias(subject(version="3"))).verdict is Verdict.OK, "of a version, a shift is no fault"


@pytest.mark.parametrize(
    ("version", "weights", "verdict", "words"),
    [
        ("3", {}, Verdict.OK, "1, each wholly on its newest version"),
        ("2", {}, Verdict.OK, "UploadApi is on 2 of 3, to which it was sent back"),
        ("2", {"3": 0.1}, Verdict.NOT_OK, "UploadApi is shifting: wait"),
    ],
)
def test_the_aliases_of_functions(
    answers: Answers, version: str, weights: dict[str, float], verdict: Verdict, words: str
) -> None:
    answers["GetAlias"] = {"FunctionVersion": version, "RoutingConfig": {"AdditionalVersionWeights": weights}}
    function = "arn:aws:lambda:us-east-1:123456789012:function:UploadApi"
    answers["ListVersionsByFunction"] = {
        "Versions": [
            {"Version": one, "FunctionArn": f"{function}:{one}", "LastModified": "2026-11-01T12:00:00.000+0000"}
            for one in ("$LATEST", "2", "3")
        ]
    }
    arn = f"{function}:live"
    line = only(check_settings.function_aliases(subject({"Alias": Resource("AWS::Lambda::Alias", arn)})))
    assert (line.verdict, words in line.says) == (verdict, True), line.says


def test_a_definition_that_aws_does_not_accept(answers: Answers) -> None:
    asked: list[dict[str, Any]] = []

    def describe(given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given)
        return {"definition": "{}"}

    answers["DescribeStateMachine"] = describe
    problem = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": "no States", "location": "/States"}
    answers["ValidateStateMachineDefinition"] = {"result": "FAIL", "diagnostics": [problem]}

    images, reviews = check_settings.definitions(subject(version="7"))

    assert is_red(images, "/States: SCHEMA_VALIDATION_FAILED no States", "image_workflow.asl.yaml")
    assert is_red(reviews, "review.asl.yaml")
    assert asked == [{"stateMachineArn": f"{WORKFLOW}:7"}, {"stateMachineArn": REVIEWS}]
    answers["ValidateStateMachineDefinition"] = {"result": "OK", "diagnostics": []}
    assert [line.verdict for line in check_settings.definitions(subject())] == [Verdict.OK, Verdict.OK]


def test_every_schedule_and_every_reader_of_the_stream_is_on(answers: Answers) -> None:
    schedules = resources("AWS::Scheduler::Schedule")
    mappings = resources("AWS::Lambda::EventSourceMapping")
    stack = subject({name: Resource("any", f"{name:-<36}") for name in (*schedules, *mappings)})
    answers["GetSchedule"] = lambda given: {"State": "DISABLED" if "Keeper" in given["Name"] else "ENABLED"}
    answers["GetEventSourceMapping"] = lambda given: {"State": "Disabled" if "Finished" in given["UUID"] else "Enabled"}

    found = [*check_settings.schedules(stack), *check_settings.mappings(stack)]

    assert len(found) == len(schedules) + len(mappings)
    keeper, queue = (line for line in found if line.verdict is Verdict.NOT_OK)
    assert is_red(keeper, "Enable the schedule ReviewKeeperSchedule")
    assert is_red(queue, "--uuid RecordFinishedMapping")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("UPDATE_COMPLETE", Verdict.OK),
        ("UPDATE_ROLLBACK_COMPLETE", Verdict.OK),  # sam deploy has failed; this is the release before it, whole
        ("UPDATE_ROLLBACK_FAILED", Verdict.NOT_OK),
        ("ROLLBACK_COMPLETE", Verdict.NOT_OK),  # it never was
        ("UPDATE_IN_PROGRESS", Verdict.NOT_CHECKED),
    ],
)
def test_the_stack(answers: Answers, status: str, verdict: Verdict) -> None:
    answers["DescribeStacks"] = {"Stacks": [{"StackStatus": status}]}
    assert only(check_settings.stack(subject())).verdict is verdict


@pytest.mark.parametrize(("minutes", "verdict"), [(3, Verdict.NOT_CHECKED), (16, Verdict.OK)])
def test_a_new_bucket_has_15_minutes(answers: Answers, minutes: int, verdict: Verdict) -> None:
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    answers["ListBuckets"] = {"Buckets": [{"Name": "pictures", "CreationDate": created}]}
    assert only(check_settings.age_of_bucket(subject())).verdict is verdict
    assert check_settings.is_new(subject()) is (verdict is Verdict.NOT_CHECKED)


def test_a_bucket_of_which_nobody_may_know_the_age_is_not_new(answers: Answers) -> None:
    answers["ListBuckets"] = "AccessDenied"
    assert not check_settings.is_new(subject())


def test_the_log_role_of_api_gateway(answers: Answers) -> None:
    answers["GetAccount"] = {}
    assert is_red(only(check_settings.gateway_role(subject())), "ManageApiGatewayLogRole=true")
    answers["GetAccount"] = {"cloudwatchRoleArn": "arn:aws:iam::123456789012:role/logs"}
    answers["GetRole"] = "NoSuchEntity"
    assert is_red(only(check_settings.gateway_role(subject())), "names logs, which is gone")
    answers["GetRole"] = {"Role": {"Arn": "arn"}}
    own = {"ApiGatewayLogRole": Resource("AWS::IAM::Role", "logs")}
    assert only(check_settings.gateway_role(subject(own))).says == "logs"
    assert only(check_settings.gateway_role(subject())).says == "logs, of another stack"


# --- Drift ------------------------------------------------------------------------------------------------------------


def drifted(
    answers: Answers, kind: str, path: str, status: str = "MODIFIED", detection: str = "DETECTION_COMPLETE"
) -> Line:
    difference = {"PropertyPath": path, "ExpectedValue": "one", "ActualValue": "two", "DifferenceType": "NOT_EQUAL"}
    found = {
        "LogicalResourceId": "It",
        "ResourceType": kind,
        "StackResourceDriftStatus": status,
        "PropertyDifferences": [difference] if status == "MODIFIED" else [],
    }
    answers["DetectStackDrift"] = {"StackDriftDetectionId": "1"}
    answers["DescribeStackDriftDetectionStatus"] = {"DetectionStatus": detection, "DetectionStatusReason": "Queue"}
    answers["DescribeStackResourceDrifts"] = {"StackResourceDrifts": [found] if status else []}
    return only(check_drift.drift(subject(), 0))


def test_drift_that_is_meant_is_explained(answers: Answers) -> None:
    line = drifted(answers, "AWS::SSM::Parameter", "/Value")
    assert line.verdict is Verdict.OK
    assert "It/Value (operators change the numbers of the decision)" in line.says
    assert drifted(answers, "", "", "").says == "none"


def test_drift_that_is_not_meant(answers: Answers) -> None:
    assert is_red(drifted(answers, "AWS::SSM::Parameter", "/Type"), "It/Type is two and not one")
    assert is_red(drifted(answers, "AWS::SQS::Queue", "/Value"), "It/Value is two and not one")
    assert is_red(drifted(answers, "AWS::SQS::Queue", "", "DELETED"), "It is gone")


def test_drift_that_is_not_known_in_time(answers: Answers) -> None:
    line = drifted(answers, "", "", "", "DETECTION_IN_PROGRESS")
    assert (line.verdict, "describe-stack-resource-drifts" in line.says) == (Verdict.NOT_CHECKED, True)
    line = drifted(answers, "", "", "", "DETECTION_FAILED")
    assert (line.verdict, "Queue" in line.says) == (Verdict.NOT_CHECKED, True)


def test_nested_stacks_are_asked_too(answers: Answers) -> None:
    asked: list[str] = []
    drifted(answers, "", "", "")

    def detect(given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given["StackName"])
        return {"StackDriftDetectionId": "1"}

    answers["DetectStackDrift"] = detect
    lines = list(check_drift.drift(subject({"ObservabilityStack": Resource(NESTED, "arn:nested")}), 0))
    assert asked == [STACK, "arn:nested"]
    assert [line.name for line in lines] == ["drift of the stack", "drift of ObservabilityStack"]


# --- What only AWS knows ----------------------------------------------------------------------------------------------


def test_metrics_that_an_alarm_reads(answers: Answers) -> None:
    answers["ListMetrics"] = lambda given: {"Metrics": [{"MetricName": given["MetricName"], "Dimensions": []}]}
    assert only(check_unknowns.metrics(subject())).verdict is Verdict.OK
    answers["ListMetrics"] = {"Metrics": [{"Dimensions": [{"Name": "StateMachineArn", "Value": "x"}]}]}
    for hours, verdict in ((0, Verdict.NOT_CHECKED), (2, Verdict.NOT_OK)):
        created = datetime.now(UTC) - timedelta(hours=hours)
        answers["DescribeStacks"] = {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "CreationTime": created}]}
        line = only(check_unknowns.metrics(subject()))
        assert line.verdict is verdict
        assert "There is no OpenExecutionCount, OpenExecutionLimit" in line.says


def test_executions_count_under_the_machine(answers: Answers) -> None:
    dimension = {"Name": "StateMachineArn", "Value": WORKFLOW}
    answers["ListMetrics"] = lambda given: {"Metrics": [{"Dimensions": given["Dimensions"]}]}
    assert only(check_unknowns.executions(subject())).verdict is Verdict.OK
    more = {"Name": "StateMachineAliasArn", "Value": LIVE}
    answers["ListMetrics"] = {"Metrics": [{"Dimensions": [dimension, more]}]}
    assert only(check_unknowns.executions(subject())).verdict is Verdict.NOT_CHECKED


def test_shifts_that_no_alarm_sends_back(answers: Answers) -> None:
    groups = {
        "Group": Resource("AWS::CodeDeploy::DeploymentGroup", "group"),
        "Application": Resource("AWS::CodeDeploy::Application", "application"),
    }
    watching = {"enabled": True, "alarms": [{"name": "one"}]}
    answers["GetDeploymentGroup"] = {"deploymentGroupInfo": {"alarmConfiguration": watching}}
    assert only(check_unknowns.shifts(subject(groups, ReleaseShift="Canary10Percent10Minutes"))).verdict is Verdict.OK
    answers["GetDeploymentGroup"] = {"deploymentGroupInfo": {}}
    assert is_red(
        only(check_unknowns.shifts(subject(groups, ReleaseShift="Canary10Percent10Minutes"))), "Group watches"
    )
    assert only(check_unknowns.shifts(subject())).verdict is Verdict.NOT_CHECKED


def picture(**more: Any) -> Picture:
    found = check_picture.pictures(subject())[2]
    return dataclasses.replace(found, image_id="1" * 32, execution="arn:execution", **more)


def test_a_trace(answers: Answers) -> None:
    header = "Root=1-5f6-abc;Sampled=1"
    answers["DescribeExecution"] = lambda _: {"status": "SUCCEEDED", "traceHeader": header}
    answers["BatchGetTraces"] = {"Traces": [{"Id": "1-5f6-abc", "Segments": [{}, {}]}]}
    assert check_judge.trace(subject(), picture()).says == "trace 1-5f6-abc with 2 segments"
    answers["BatchGetTraces"] = {"Traces": []}
    assert check_judge.trace(subject(), picture()).verdict is Verdict.NOT_CHECKED
    header = "Root=1-5f6-abc;Sampled=0"
    assert "not sampled" in check_judge.trace(subject(), picture()).says


def test_a_picture_of_which_rekognition_is_certain_says_nothing_about_notices(answers: Answers) -> None:
    record: Record = {"ProcessingStatus": "completed", "Reason": "Dog at 99.1"}
    line = check_judge._notice(picture(), "notice", record)
    assert (line.verdict, "Rekognition was certain" in line.says) == (Verdict.NOT_CHECKED, True)


def test_every_picture_is_one_that_nobody_has_seen() -> None:
    first, second = (check_picture.pictures(subject()) for _ in range(2))
    assert len({one.data for one in first + second}) == 6
    assert all(one.data.endswith(one.file.read_bytes()[2:]) for one in first)
    assert [one.way for one in first] == ["form", "inline", "S3"]
    assert {one.way for one in check_picture.pictures(subject(version="3"))} == {"execution"}


@pytest.mark.parametrize("status", ["held", "rejected", "processing", ""])
def test_pictures_that_do_not_finish(answers: Answers, status: str) -> None:
    answers["GetExecutionHistory"] = {"events": []}
    waiting: Record = {"ProcessingStatus": status, "ReasonCode": "EMPTY", "Reason": "nothing"}
    line = check_judge._unfinished(subject(), picture(), waiting)
    words = {"held": "DailyAnalysisLimit", "rejected": "EMPTY", "processing": "still being processed"}
    assert words.get(status, "did not claim it") in line.says
    assert (line.verdict is Verdict.NOT_CHECKED) == (status == "held")


# --- All together -----------------------------------------------------------------------------------------------------


def raising(code: str) -> Callable[[Subject], Iterable[Line]]:
    def look(_: Subject) -> Iterable[Line]:
        yield Line("before", Verdict.OK)
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeSomething")

    return look


def test_what_may_not_be_looked_at_is_not_checked_and_hides_nothing() -> None:
    denied = list(check.guarded("it", raising("AccessDenied"), subject()))
    assert [line.verdict for line in denied] == [Verdict.OK, Verdict.NOT_CHECKED]
    assert "DescribeSomething" in denied[1].says
    broken = list(check.guarded("it", raising("InternalError"), subject()))
    assert [line.verdict for line in broken] == [Verdict.OK, Verdict.NOT_OK]


def test_a_subject_can_be_asked_alone(answers: Answers) -> None:
    drifted(answers, "", "", "")
    found = check.run(subject(), 0, lambda _: None, ["drift"])
    assert [line.name for line in found.lines] == ["drift of the stack"]
    assert not found.needs_attention
    drifted(answers, "", "", "", "DETECTION_FAILED")
    assert check.run(subject(), 0, lambda _: None, ["drift"]).needs_attention, "it was asked for, and not seen"


def test_pictures_ask_first_for_what_they_need(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def look(_: Subject, key: str | None, *, seconds: float, is_deaf: bool, is_new: bool) -> list[Line]:
        given.append((key, seconds, is_deaf, is_new))
        return []

    monkeypatch.setattr("ops.check.check_pictures.check", look)
    names: list[str] = []
    rule = {"ImageUploadedRule": Resource("AWS::Events::Rule", "uploads")}
    answers |= {"DescribeRule": {"State": "DISABLED"}, "GetUsagePlans": {"items": []}}
    answers["ListBuckets"] = {"Buckets": [{"Name": "pictures", "CreationDate": datetime.now(UTC)}]}

    check.run(subject(rule), 7, names.append, ["pictures"])

    assert names == ["rules", "API key", "pictures"]
    assert given == [(None, 7, True, True)]


def test_who_asks_for_the_pictures_need_not_be_lucky_with_x_ray(answers: Answers) -> None:
    """Else `--only pictures`, with which a rollback ends, would hardly ever be green."""
    answers["DescribeExecution"] = lambda _: {"status": "SUCCEEDED", "traceHeader": "Root=1-5f6-abc;Sampled=0"}
    unsampled = check_judge.trace(subject(), picture())
    assert not check.Found([unsampled], is_strict=True).needs_attention
    assert check.Found([unsampled, Line("cat by form", Verdict.NOT_CHECKED)], is_strict=True).needs_attention


def test_only_what_is_not_ok_needs_attention() -> None:
    fine = [Line("one", Verdict.OK), Line("two", Verdict.NOT_CHECKED)]
    assert not check.Found(fine).needs_attention
    assert check.Found([*fine, Line("three", Verdict.NOT_OK)]).needs_attention


def test_ctrl_c_at_any_moment_removes_every_picture_that_was_sent(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed = []

    def ctrl_c() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def send(_: Any, picture: Any, *__: Any, **___: Any) -> None:
        ctrl_c()  # the API has made the image, and its answer is on the way
        picture.image_id = "1" * 32

    def remove(_: Any, picture: Any) -> None:
        ctrl_c()
        removed.append(picture.image_id)
        picture.stopped = True

    monkeypatch.setattr(check_pictures, "_send", send)
    monkeypatch.setattr(check_pictures, "_remove_one", remove)
    with pytest.raises(KeyboardInterrupt):
        list(
            check_pictures.check(
                Subject(Deployment("prod", STACK, OUTPUTS, {"Stage": "prod"})), "key", seconds=1, is_deaf=False
            )
        )
    assert removed == ["1" * 32]
    assert f"petdetect erase {'1' * 32}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("states", "verdict", "looks"),
    [(["ok"], Verdict.OK, 1), (["down", "ok"], Verdict.OK, 2), (["down"] * 3, Verdict.NOT_OK, 3)],
    ids=["at once", "slow once", "down"],
)
def test_health_is_asked_again_before_it_is_red(
    monkeypatch: pytest.MonkeyPatch, states: list[str], verdict: Verdict, looks: int
) -> None:
    pauses: list[float] = []
    told = iter(states)

    def request(_method: str, _url: str) -> check_api.Answer:
        state = next(told)
        return check_api.Answer(200 if state == "ok" else 503, {}, {"dependencies": {"storage": state, "policy": "ok"}})

    monkeypatch.setattr(check_api, "request", request)
    monkeypatch.setattr("ops.check_api.time.sleep", pauses.append)
    outputs = {**OUTPUTS, "ApiUrl": "https://api.example"}

    line = only(check_api.health(Subject(Deployment("prod", STACK, outputs, {"Stage": "prod"}))))

    assert line.verdict is verdict
    assert pauses == [0.0, 6.0, 6.0][:looks]
    assert verdict is Verdict.OK or "503; down: storage." in line.says


@pytest.mark.parametrize(("status", "verdict"), [(403, Verdict.OK), (200, Verdict.NOT_OK), (503, Verdict.NOT_OK)])
def test_nobody_may_be_let_in_around_the_edge(monkeypatch: pytest.MonkeyPatch, status: int, verdict: Verdict) -> None:
    asked = []

    def request(_method: str, url: str) -> check_api.Answer:
        asked.append(url)
        return check_api.Answer(status, {}, {})

    monkeypatch.setattr(check_api, "request", request)
    behind = subject({"PetDetectorApi": Resource("AWS::ApiGateway::RestApi", "abc123")}, Edge="block")

    line = only(check_api.way_around(behind))

    assert line.verdict is verdict
    assert asked == ["https://abc123.execute-api.us-east-1.amazonaws.com/prod/health"]
    assert not list(check_api.way_around(subject(Edge="count")))
    assert not list(check_api.way_around(subject()))


# --- People -----------------------------------------------------------------------------------------------------------

PAGE = "https://abc.execute-api.us-east-1.amazonaws.com/prod/app/"


def pool_of(
    answers: Answers, *, invited: bool = True, callbacks: tuple[str, ...] = (PAGE,), page: str = PAGE, **parameters: str
) -> Subject:
    """A stack with a user pool, into which people are invited, or may sign up."""
    client = {"CallbackURLs": list(callbacks), "LogoutURLs": list(callbacks)}
    answers["DescribeUserPool"] = {"UserPool": {"AdminCreateUserConfig": {"AllowAdminCreateUserOnly": invited}}}
    answers["DescribeUserPoolClient"] = {"UserPoolClient": client}
    api = Resource("AWS::ApiGateway::RestApi", "abc")
    page_client = Resource("AWS::Cognito::UserPoolClient", "a-client")
    found = subject({"PageClient": page_client, "PetDetectorApi": api}, **parameters)
    outputs = OUTPUTS | {"PeoplePoolId": "us-east-1_people", "PageUrl": page}
    found.__dict__["deployment"] = dataclasses.replace(found.deployment, outputs=outputs)
    return found


def test_a_pool_of_invited_people_that_leads_back_to_the_page(answers: Answers) -> None:
    lines = list(check_people.pool(pool_of(answers)))
    assert [line.verdict for line in lines] == [Verdict.OK, Verdict.OK]


def test_a_pool_in_which_anybody_signs_up(answers: Answers) -> None:
    line, _ = check_people.pool(pool_of(answers, invited=False))
    assert is_red(line, "Anybody may sign up")


def test_a_sign_in_that_leads_elsewhere(answers: Answers) -> None:
    _, line = check_people.pool(pool_of(answers, callbacks=("https://evil.example/app/",)))
    assert is_red(line, "leads to https://evil.example/app/", PAGE)


@pytest.mark.parametrize(
    ("edge", "callbacks", "is_right"),
    [
        ("count", (PAGE, "https://pets.example.com/app/"), True),
        ("count", ("https://pets.example.com/app/",), False),
        ("count", ("https://pets.example.com/app/", PAGE, "https://evil.example/app/"), False),
        ("block", ("https://pets.example.com/app/",), True),
        ("block", ("https://pets.example.com/app/", PAGE), False),
    ],
)
def test_a_sign_in_leads_back_to_both_addresses_while_the_edge_counts(
    answers: Answers, edge: str, callbacks: tuple[str, ...], is_right: bool
) -> None:
    """The API's own is open for as long."""
    behind = pool_of(answers, callbacks=callbacks, page="https://pets.example.com/app/", Edge=edge)
    _, line = check_people.pool(behind)
    assert (line.verdict is Verdict.OK) is is_right
