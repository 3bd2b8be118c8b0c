"""The events that tests, `sam local invoke` and the docs share: each does what its name says, against moto's AWS."""

from __future__ import annotations

import fnmatch
import importlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from pet_detector.aws import clients, health, policy_parameter, rekognition
from pet_detector.rules import image_ids, models, prices

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from moto import mock_aws

from local.samples import SAMPLES
from pet_detector.rules.models import Label

from .shipped import EVENTS, invoked_function, machines, references, resources, source

BUCKET, TABLE, ANALYSES, POLICY = "images", "DetectionLogs", "Analyses", "detection-policy"
ANIMALS = {"samples/cat.jpg": "Cat", "samples/dog.jpg": "Dog"}
CAT = "c0ffee00000000000000000000000001"


def event(name: str) -> dict[str, Any]:
    """The event of a file in events/."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


@dataclass
class Context:
    """What Lambda hands to a handler beside the event, as far as it is read."""

    function_name: str = "function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:function"
    aws_request_id: str = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


class Aws:
    """Moto's AWS, with what the template makes and the events name; `printed` is what functions wrote since asked."""

    def __init__(self, printed: Callable[[], str]) -> None:
        self.printed = printed
        self.s3 = boto3.client("s3")
        self.dynamodb = boto3.client("dynamodb")
        self.sns = boto3.client("sns")
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.stored = {key: self.s3.put_object(Bucket=BUCKET, Key=key, Body=data) for key, data in SAMPLES.items()}
        shape = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        for name, logical_id in ((TABLE, "DetectionLogsTable"), (ANALYSES, "AnalysesTable")):
            table = resources("AWS::DynamoDB::Table")[logical_id]
            self.dynamodb.create_table(TableName=name, **{part: table[part] for part in shape if part in table})
        self.sfn = boto3.client("stepfunctions")
        self.workflow = self.sfn.create_state_machine(
            name="ImageWorkflow",
            definition='{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}',
            roleArn="arn:aws:iam::000000000000:role/ImageWorkflow",
        )["stateMachineArn"]
        self.topic = self.sns.create_topic(Name="notices")["TopicArn"]
        value = '{"minimum": 80, "margin": 15, "floor": 50}'
        boto3.client("ssm").put_parameter(Name=POLICY, Value=value, Type="String")

    def stored_keys(self) -> set[str]:
        """The keys of the bucket."""
        return {found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}

    def record(self, image_id: str) -> dict[str, Any]:
        """An item of the table."""
        return dict(self.dynamodb.get_item(TableName=TABLE, Key={"ImageID": {"S": image_id}})["Item"])


def forget_clients() -> None:
    """Clients are kept by the functions, and belong to the AWS that was there when they were made."""
    clients.forget()
    policy_parameter._provider.cache_clear()
    health._last = None


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Aws]:
    """An AWS of its own for each test, and a recognizer that knows the samples."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def recognize(bucket: str, key: str, version_id: str) -> models.Recognition:
        return models.Recognition((Label(ANIMALS[key], 98.0),), "3.0")

    monkeypatch.setattr(rekognition, "recognize", recognize)
    with warnings.catch_warnings(), mock_aws():
        warnings.simplefilter("ignore", DeprecationWarning)  # of moto
        forget_clients()
        running = Aws(lambda: capsys.readouterr().out)
        values = {
            "IMAGE_BUCKET_NAME": BUCKET,
            "DETECTION_LOGS_TABLE_NAME": TABLE,
            "ANALYSES_TABLE_NAME": ANALYSES,
            "DAILY_ANALYSIS_LIMIT": "0",
            "IMAGE_WORKFLOW_ARN": running.workflow,
            "OVERDUE_MINUTES": "0",
            "NOTICES_TOPIC_ARN": running.topic,
            "POLICY_PARAMETER_NAME": POLICY,
            "STAGE": "local",
            "ALLOWED_ORIGIN": "*",
            "POWERTOOLS_SERVICE_NAME": "pet-detector",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield running
    forget_clients()


def run(folder: str, happened: dict[str, Any]) -> dict[str, Any]:
    """What a function answers to an event."""
    answer: dict[str, Any] = importlib.import_module(f"{folder}.app").lambda_handler(happened, Context())
    return answer


def file_away(aws: Aws, name: str) -> set[str]:
    happened = event(name)
    stored = aws.stored[happened["key"]]
    assert happened["etag"] == stored["ETag"], "the file names another picture"
    run("file_manager", happened | {"versionId": stored["VersionId"]})  # only S3 knows it
    return aws.stored_keys()


def image_processor_cat(aws: Aws) -> None:
    answer = run("image_processor", event("image_processor_cat"))
    assert (answer["animal"], answer["certain"], answer["extension"]) == ("cat", True, "jpg")


def image_processor_dog(aws: Aws) -> None:
    assert run("image_processor", event("image_processor_dog"))["animal"] == "dog"


def image_processor_not_an_image(aws: Aws) -> None:
    answer = run("image_processor", event("image_processor_not_an_image"))
    assert (answer["outcome"], answer["reasonCode"]) == ("rejected", "NOT_AN_IMAGE")


def file_manager_dog(aws: Aws) -> None:
    happened = event("file_manager_dog")
    keys = file_away(aws, "file_manager_dog")
    assert f"dogs/{happened['imageId']}.jpg" in keys
    assert happened["key"] not in keys


def file_manager_rejected(aws: Aws) -> None:
    happened = event("file_manager_rejected")
    keys = file_away(aws, "file_manager_rejected")
    assert f"rejected/{happened['imageId']}.bin" in keys
    assert happened["key"] not in keys


def notification_service_uncertain(aws: Aws) -> None:
    happened = event("notification_service_uncertain")
    assert run("notification_service", happened) == {"notice": "sent"}
    assert run("notification_service", happened) == {"notice": "already_sent"}
    assert aws.record(happened["imageId"])["Notices"] == {"SS": ["uncertain"]}


def record_failure(aws: Aws, name: str, error: str) -> None:
    happened = event(name)
    assert run("failure_recorder", happened) == {"recorded": True, "notice": "sent"}
    assert run("failure_recorder", happened) == {"recorded": False, "notice": "already_sent"}
    found = json.loads(happened["detail"]["input"])["detail"]["object"]["key"]
    record = aws.record(found.removeprefix("input/").removesuffix(".jpg"))
    assert (record["ProcessingStatus"], record["Error"]["M"]["Error"]) == ({"S": "failed"}, {"S": error})
    assert record["ExecutionArn"] == {"S": happened["detail"]["executionArn"]}


def failure_recorder_caught(aws: Aws) -> None:
    record_failure(aws, "failure_recorder_caught", "AccessDeniedError")


def failure_recorder_timed_out(aws: Aws) -> None:
    record_failure(aws, "failure_recorder_timed_out", "States.Timeout")


def failure_recorder_stopped(aws: Aws) -> None:
    record_failure(aws, "failure_recorder_stopped", "Maintenance")


def reconciler_schedule(aws: Aws) -> None:
    aws.s3.put_object(Bucket=BUCKET, Key=f"input/{CAT}.jpg", Body=b"a lost upload")
    assert run("reconciler", event("reconciler_schedule")) == {"gap": 1, "started": 1, "closed": 0}
    (execution,) = aws.sfn.list_executions(stateMachineArn=aws.workflow)["executions"]
    assert CAT in execution["name"]


def metrics_in(text: str) -> dict[str, float]:
    """Sum by name of the metrics that functions printed, in CloudWatch's embedded format."""
    found: dict[str, float] = {}
    for line in filter(lambda line: '"_aws"' in line, text.splitlines()):
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                found[metric["Name"]] = found.get(metric["Name"], 0) + sum(document[metric["Name"]])
    return found


def metrics_publisher_stream(aws: Aws) -> None:
    run("metrics_publisher", event("metrics_publisher_stream"))
    assert metrics_in(aws.printed()) == {
        "ImageReceived": 1,
        "ImageClassified": 1,
        "ConfidenceScore": 97.31,
        "ProcessingTime": 2500,
        "EstimatedCost": pytest.approx(prices.image_cost(analysed=True, uncertain=False)),
    }


def metrics_publisher_duplicate(aws: Aws) -> None:
    run("metrics_publisher", event("metrics_publisher_duplicate"))
    assert metrics_in(aws.printed()) == {"DuplicateIgnored": 1}


def upload_api_form(aws: Aws) -> None:
    answer = run("upload_api", event("upload_api_form"))
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["status"]) == (201, "uploading")
    assert body["upload"]["fields"]["key"] == f"input/{body['imageId']}.jpg"


def upload_api_inline(aws: Aws) -> None:
    answer = run("upload_api", event("upload_api_inline"))
    assert answer["statusCode"] == 202
    assert f"input/{json.loads(answer['body'])['imageId']}.png" in aws.stored_keys()


def finished(aws: Aws) -> None:
    """What an execution of console_execution.json leaves in the table."""
    shard = image_ids.shard_of(CAT)
    moment = "2026-11-21T09:30:00.000Z"
    texts = {
        "ImageID": CAT,
        "ProcessingStatus": "completed",
        "DetectedAnimal": "cat",
        "S3Location": f"s3://{BUCKET}/cats/{CAT}.jpg",
        "Shard": shard,
        "AnimalShard": f"cat#{shard}",
        "StatusShard": f"completed#{shard}",
        "ListedAt": f"{moment}#{CAT}",
        "CreatedAt": moment,
    }
    aws.dynamodb.put_item(TableName=TABLE, Item={name: {"S": value} for name, value in texts.items()})


def images_api_one(aws: Aws) -> None:
    assert run("images_api", event("images_api_one"))["statusCode"] == 404
    finished(aws)
    answer = run("images_api", event("images_api_one"))
    assert answer["statusCode"] == 200
    assert f"cats/{CAT}.jpg" in json.loads(answer["body"])["viewUrl"]


def images_api_list(aws: Aws) -> None:
    finished(aws)
    body = json.loads(run("images_api", event("images_api_list"))["body"])
    assert ([image["imageId"] for image in body["images"]], body["nextToken"]) == ([CAT], None)


def images_api_health(aws: Aws) -> None:
    answer = run("images_api", event("images_api_health"))
    parts = dict.fromkeys(["storage", "records", "workflow", "policy"], "ok")
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok", "dependencies": parts})


FUNCTION_EVENTS: list[Callable[[Aws], None]] = [
    image_processor_cat,
    image_processor_dog,
    image_processor_not_an_image,
    file_manager_dog,
    file_manager_rejected,
    notification_service_uncertain,
    failure_recorder_caught,
    failure_recorder_timed_out,
    failure_recorder_stopped,
    reconciler_schedule,
    metrics_publisher_stream,
    metrics_publisher_duplicate,
    upload_api_form,
    upload_api_inline,
    images_api_one,
    images_api_list,
    images_api_health,
]
WORKFLOW_EVENTS = ["console_execution", "s3_object_created"]


@pytest.mark.parametrize("expectation", FUNCTION_EVENTS, ids=lambda expectation: expectation.__name__)
def test_function_answers_its_event(expectation: Callable[[Aws], None], aws: Aws) -> None:
    expectation(aws)


def test_no_event_is_in_the_way_of_another(aws: Aws) -> None:
    """`sam local invoke` runs them in one AWS, in any order: what one moves or records is no other's."""
    file_manager_dog(aws)
    file_manager_rejected(aws)
    image_processor_dog(aws)
    image_processor_not_an_image(aws)
    failure_recorder_caught(aws)
    failure_recorder_timed_out(aws)
    failure_recorder_stopped(aws)


def test_every_event_is_tested() -> None:
    tested = {expectation.__name__ for expectation in FUNCTION_EVENTS} | set(WORKFLOW_EVENTS)
    assert {file.stem for file in EVENTS.iterdir()} == tested


def payloads(name: str) -> list[dict[str, Any]]:
    """The payloads that states send to the function whose name an event's file begins with."""
    return [
        task["Arguments"]["Payload"]
        for machine in machines()
        for _, task in machine.tasks()
        if (function := invoked_function(task)) and name.startswith(folder_of(function))
    ]


def folder_of(function: str) -> str:
    """`ImageProcessorFunction` -> `image_processor`."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in function)
    return words.strip("_").removesuffix("_function")


def receives(properties: dict[str, Any], file: Path) -> bool:
    """Whether a rule, a schedule or a stream of the template leads to the function that an event's file is for."""
    named = references([properties.get("Targets"), properties.get("Target"), properties.get("FunctionName")])
    return any(file.stem.startswith(folder_of(name)) for name in named & set(resources("AWS::Lambda::Function")))


def is_selected(pattern: Any, value: Any) -> bool:
    """Whether a rule's pattern takes an event; what the pattern names of this stack (a Ref) may be anything."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(is_selected(part, value.get(name)) for name, part in pattern.items())
    return any(
        value == choice
        if isinstance(choice, str)
        else isinstance(value, str)
        and (
            "Ref" in choice
            or value.startswith(choice.get("prefix", "\0"))
            or fnmatch.fnmatchcase(value, choice.get("wildcard", "\0"))
        )
        for choice in pattern
    )


def rules_that_take(happened: dict[str, Any]) -> set[str]:
    """Logical ids of the rules that select an event."""
    rules = resources("AWS::Events::Rule").items()
    return {name for name, rule in rules if is_selected(rule["EventPattern"], happened)}


def receivers_of(happened: dict[str, Any]) -> set[str]:
    """Logical ids of what the rules start for an event."""
    rules = resources("AWS::Events::Rule")
    return {
        name
        for rule in rules_that_take(happened)
        for target in rules[rule]["Targets"]
        for name in references(target["Arn"])
    }


@pytest.mark.parametrize("file", sorted(EVENTS.iterdir()), ids=lambda file: file.stem)
def test_event_is_what_its_sender_sends(file: Path) -> None:
    """A state of the workflow sends just these keys; the gateway sends what the template routes to the function; and
    rules, schedules and streams lead to the function that the file is named after.
    """
    happened = json.loads(file.read_text())
    sent = payloads(file.stem)
    if "httpMethod" in happened:
        routes = {
            (route["Properties"]["Path"], route["Properties"]["Method"])
            for name, resource in source()["Resources"].items()
            if file.stem.startswith(folder_of(name))
            for route in resource["Properties"].get("Events", {}).values()
        }
        assert (happened["resource"], happened["httpMethod"]) in routes
    elif happened.get("source") == "aws.scheduler":
        assert any(receives(schedule, file) for schedule in resources("AWS::Scheduler::Schedule").values())
    elif happened.get("source") == "aws.states":
        (rule,) = rules_that_take(happened)
        assert receives(resources("AWS::Events::Rule")[rule], file)
    elif "Records" in happened:
        assert {record["eventSource"] for record in happened["Records"]} == {"aws:dynamodb"}
        assert any(receives(mapping, file) for mapping in resources("AWS::Lambda::EventSourceMapping").values())
    elif sent:
        same = [payload for payload in sent if payload.get("kind") == happened.get("kind")]
        assert [set(payload) for payload in same] == [set(happened)]
    else:
        assert file.stem in WORKFLOW_EVENTS
        assert happened["detail"]["object"]["key"]


def test_s3_event_is_one_that_starts_the_workflow() -> None:
    happened = event("s3_object_created")
    assert receivers_of(happened) == {"ImageWorkflow"}
    assert happened["detail"]["object"]["version-id"]


def test_of_the_executions_that_succeed_only_duplicates_are_measured() -> None:
    happened = event("metrics_publisher_duplicate")
    assert receivers_of(happened) == {"MetricsPublisherFunction"}
    for output in ('{"notice":"sent"}', '{"notice":"claimed"}', "{}", None):
        assert not rules_that_take(happened | {"detail": happened["detail"] | {"output": output}})


@pytest.mark.parametrize(
    ("status", "recorded"), [("RUNNING", False), ("FAILED", True), ("TIMED_OUT", True), ("ABORTED", True)]
)
def test_every_way_to_fail_is_recorded(status: str, recorded: bool) -> None:
    happened = event("failure_recorder_timed_out")
    happened["detail"]["status"] = status
    assert receivers_of(happened) == ({"FailureRecorderFunction"} if recorded else set())


def test_samples_start_nothing_by_themselves() -> None:
    """They wait for an execution or a function that is started by hand."""
    (key,) = resources("AWS::Events::Rule")["ImageUploadedRule"]["EventPattern"]["detail"]["object"]["key"]
    keys = {json.loads(file.read_text()).get("key", "samples/") for file in EVENTS.iterdir()}
    keys.add(event("console_execution")["detail"]["object"]["key"])
    assert not [sample for sample in keys if sample.startswith(key["prefix"])]


def test_events_hold_no_secret_and_no_account() -> None:
    for file in EVENTS.iterdir():
        text = file.read_text()
        assert not [word for word in ("x-api-key", "X-Api-Key", "AKIA", "Signature", "Authorization") if word in text]
        assert file.stat().st_size < 4096, file.name
