"""Permissions: what a service does for us is denied without its right, as on AWS, and the log says so."""

from __future__ import annotations

import json
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.support.local_aws import REGION
from tests.support.waiting import eventually

from .test_engine_api_gateway import Api, template
from .test_engine_distributed_map import ended, machine

RETURNS = "def handler(event, context):\n    return 1"
RAISES = "def handler(event, context):\n    raise RuntimeError"


def allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*"}


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def outcome(engine: Any, role: str, definition: dict[str, Any], document: str = "{}") -> tuple[str, str, str]:
    """Run a state machine with a role; its status, error and cause."""
    client = engine.client("stepfunctions")
    made = client.create_state_machine(name=unique("m"), definition=json.dumps(definition), roleArn=role)
    execution = client.start_execution(stateMachineArn=made["stateMachineArn"], input=document)["executionArn"]
    found = ended(engine, execution)
    return found["status"], found.get("error", ""), found.get("cause", "")


def one_task(resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "End": True}
    return {"QueryLanguage": "JSONata", "StartAt": "Do", "States": {"Do": task}}


def create_table(engine: Any) -> str:
    name = unique("t")
    engine.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    return name


def test_a_bucket_that_takes_tls_only_is_reached_on_this_machine(gap_engine: Any) -> None:
    name, s3 = f"b-{uuid.uuid4().hex}", gap_engine.client("s3")
    s3.create_bucket(Bucket=name)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = {"Statement": [{**denied, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    function = gap_engine.create_function(
        f"import boto3\ndef handler(event, context):\n    boto3.client('s3').put_object(Bucket='{name}', Key='k')"
    )

    answer = gap_engine.client("lambda").invoke(FunctionName=function)

    assert "FunctionError" not in answer


def test_a_star_of_a_policy_stands_for_a_line_break_too(gap_engine: Any) -> None:
    bucket = f"b-{uuid.uuid4().hex}"
    gap_engine.client("s3").create_bucket(Bucket=bucket)
    put = f"boto3.client('s3').put_object(Bucket='{bucket}', Key='a\\nb')"
    name = unique("role")
    one = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    function = gap_engine.create_function(
        f"import boto3\ndef handler(event, context):\n    {put}", gap_engine.create_role(name, one)
    )

    assert "FunctionError" not in gap_engine.client("lambda").invoke(FunctionName=function)


def test_a_version_is_deleted_with_the_right_for_versions(gap_engine: Any) -> None:
    bucket, s3 = f"b-{uuid.uuid4().hex}", gap_engine.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="k")["VersionId"]
    delete = f"boto3.client('s3').delete_objects(Bucket='{bucket}', Delete={{'Objects': [event]}})"
    name = unique("role")
    function = gap_engine.create_function(
        f"import boto3\ndef handler(event, context):\n    {delete}",
        gap_engine.create_role(name, allow("s3:DeleteObjectVersion")),
    )
    invoke = gap_engine.client("lambda").invoke
    named = json.dumps({"Key": "k", "VersionId": version})

    assert "FunctionError" in invoke(FunctionName=function, Payload=json.dumps({"Key": "k"}))
    assert "FunctionError" not in invoke(FunctionName=function, Payload=named)
    gap_engine.set_policy(name, allow("s3:DeleteObject"))
    assert "FunctionError" in invoke(FunctionName=function, Payload=named)


def test_a_batch_of_messages_needs_the_right_of_one(gap_engine: Any) -> None:
    url, name = gap_engine.client("sqs").create_queue(QueueName=unique("q"))["QueueUrl"], unique("role")
    send = f"boto3.client('sqs').send_message_batch(QueueUrl='{url}', Entries=[{{'Id': '1', 'MessageBody': '1'}}])"
    function = gap_engine.create_function(
        f"import boto3\ndef handler(event, context):\n    {send}",
        gap_engine.create_role(name, allow("sqs:ReceiveMessage")),
    )
    invoke = gap_engine.client("lambda").invoke

    assert "FunctionError" in invoke(FunctionName=function)
    gap_engine.set_policy(name, allow("sqs:SendMessage"))
    assert "FunctionError" not in invoke(FunctionName=function)


def test_a_topic_of_a_stack_is_closed_to_who_has_no_right(gap_engine: Any) -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {}}
    outputs = gap_engine.create_stack({"Resources": {"Topic": topic}, "Outputs": {"Arn": {"Value": {"Ref": "Topic"}}}})
    publish = f"boto3.client('sns').publish(TopicArn='{outputs['Arn']}', Message='1')"
    name = unique("role")
    function = gap_engine.create_function(
        f"import boto3\ndef handler(event, context):\n    {publish}",
        gap_engine.create_role(name, allow("sns:Subscribe")),
    )
    invoke = gap_engine.client("lambda").invoke

    assert "FunctionError" in invoke(FunctionName=function)
    gap_engine.set_policy(name, allow("sns:Publish"))
    assert "FunctionError" not in invoke(FunctionName=function)


def test_a_state_machine_calls_dynamodb_with_its_role(gap_engine: Any) -> None:
    name, table = unique("role"), create_table(gap_engine)
    role = gap_engine.create_role(name, allow("dynamodb:GetItem"))
    put = one_task("dynamodb:putItem", {"TableName": table, "Item": {"id": {"S": "1"}}})

    status, error, cause = outcome(gap_engine, role, put)

    assert (status, error) == ("FAILED", "DynamoDB.AmazonDynamoDBException")
    assert f"assumed-role/{name}/states is not authorized to perform: dynamodb:PutItem on resource:" in cause
    assert cause.endswith(f":table/{table}")
    gap_engine.set_policy(name, allow("dynamodb:PutItem"))
    assert outcome(gap_engine, role, put)[0] == "SUCCEEDED"


def test_a_state_machine_invokes_functions_with_its_role(gap_engine: Any) -> None:
    name, function = unique("role"), gap_engine.create_function(RETURNS)
    other = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:*:*:function:other"}
    role = gap_engine.create_role(name, other)
    call = one_task("lambda:invoke", {"FunctionName": function})

    status, error, cause = outcome(gap_engine, role, call)

    assert (status, error) == ("FAILED", "Lambda.AWSLambdaException")
    assert cause.endswith(
        f"lambda:InvokeFunction on resource: arn:aws:lambda:us-east-1:000000000000:function:{function}"
    )
    assert gap_engine.denials(name) == [cause]
    gap_engine.set_policy(name, allow("lambda:InvokeFunction"))
    assert outcome(gap_engine, role, call)[0] == "SUCCEEDED"


def test_a_state_machine_needs_a_role_that_step_functions_may_assume(gap_engine: Any) -> None:
    function = gap_engine.create_function(RETURNS)
    role = gap_engine.create_role(unique("role"), allow("*"), services=["lambda"])

    status, _, cause = outcome(gap_engine, role, one_task("lambda:invoke", {"FunctionName": function}))

    assert status == "FAILED"
    assert f"may not assume {role}" in cause


MAP_RIGHTS = ("s3:ListBucket", "states:StartExecution", "states:DescribeExecution", "states:StopExecution")


@pytest.mark.parametrize("missing", MAP_RIGHTS)
def test_a_distributed_map_lists_and_starts_with_its_role(gap_engine: Any, missing: str) -> None:
    bucket, s3 = f"b-{uuid.uuid4().hex}", gap_engine.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/1", Body=b"1")
    definition, document = machine({"Done": {"Type": "Succeed"}}), json.dumps({"bucket": bucket})
    name = unique("role")
    role = gap_engine.create_role(name, allow(*(right for right in MAP_RIGHTS if right != missing)))

    status, error, cause = outcome(gap_engine, role, definition, document)

    assert (status, error) == (
        "FAILED",
        "States.ItemReaderFailed" if missing.startswith("s3") else "States.Permissions",
    )
    assert f"not authorized to perform: {missing} on" in cause
    gap_engine.set_policy(name, allow(*MAP_RIGHTS))
    assert outcome(gap_engine, role, definition, document)[0] == "SUCCEEDED"


def test_a_rule_starts_a_state_machine_with_its_role_and_sends_what_it_may_not_deliver_away(gap_engine: Any) -> None:
    name, events, sfn = unique("rule"), gap_engine.client("events"), gap_engine.client("stepfunctions")
    definition = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
    target = sfn.create_state_machine(
        name=name, definition=definition, roleArn=gap_engine.create_role(unique("role"), allow("*"))
    )["stateMachineArn"]
    role = gap_engine.create_role(name, allow("states:StopExecution"))
    url, queue = gap_engine.create_queue("events")
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(
        Rule=name, Targets=[{"Id": "1", "Arn": target, "RoleArn": role, "DeadLetterConfig": {"Arn": queue}}]
    )

    def send(detail: str) -> None:
        events.put_events(Entries=[{"Source": name, "DetailType": "any", "Detail": json.dumps({"is": detail})}])

    send("denied")

    receive = {"QueueUrl": url, "WaitTimeSeconds": 5}
    letters = gap_engine.client("sqs").receive_message(**receive).get("Messages", [])
    assert [json.loads(letter["Body"])["detail"] for letter in letters] == [{"is": "denied"}]
    assert sfn.list_executions(stateMachineArn=target)["executions"] == []
    assert "states:StartExecution" in gap_engine.denials(name)[0]
    gap_engine.set_policy(name, allow("states:StartExecution"))
    send("allowed")
    eventually(lambda: sfn.list_executions(stateMachineArn=target)["executions"], "an execution is started")


@pytest.mark.parametrize("kind", ["function", "queue"])
def test_a_rule_reaches_what_lets_it_in(gap_engine: Any, kind: str) -> None:
    name, events = unique("rule"), gap_engine.client("events")
    if kind == "function":
        function = gap_engine.create_function(RETURNS)
        target = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    else:
        _, target = gap_engine.create_queue("sns")
    url, letters = gap_engine.create_queue("events")
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target, "DeadLetterConfig": {"Arn": letters}}])

    events.put_events(Entries=[{"Source": name, "DetailType": "any", "Detail": "{}"}])

    assert gap_engine.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=5).get("Messages", []) != []
    assert f"{name}" in gap_engine.denials(target)[0]


def test_a_schedule_reaches_its_target_with_its_role(gap_engine: Any) -> None:
    name, function = unique("schedule"), gap_engine.create_function(RETURNS)
    role = gap_engine.create_role(name, allow("sqs:SendMessage"))
    url, queue = gap_engine.create_queue()  # the role may send to it, its policy says nothing
    target = {"Arn": f"arn:aws:lambda:us-east-1:000000000000:function:{function}", "RoleArn": role}
    gap_engine.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={**target, "DeadLetterConfig": {"Arn": queue}},
    )

    # MiniStack looks for due schedules every 10 seconds.
    assert gap_engine.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=15).get("Messages", []) != []
    assert "lambda:InvokeFunction" in gap_engine.denials(name)[0]


def test_an_api_invokes_only_what_lets_it_in(gap_engine: Any) -> None:
    document = template()
    del document["Resources"]["EchoPermission"]
    del document["Resources"]["Key"]["Properties"]["Value"]  # another stack's key has it
    outputs = gap_engine.create_stack(document)
    api = Api(f"{gap_engine.url}/_aws/execute-api/{outputs['ApiId']}/local", "")
    key = gap_engine.client("apigateway").get_api_key(apiKey=outputs["KeyId"], includeValue=True)["value"]

    answer = api.call("GET", "/images?animal=cat", key=key)

    assert answer.status == 500
    assert "apigateway.amazonaws.com is not authorized to perform: lambda:InvokeFunction" in str(
        gap_engine.denials(outputs["ApiId"])
    )


def test_a_mapping_reads_a_stream_with_the_functions_role(gap_engine: Any) -> None:
    name, table = unique("role"), create_table(gap_engine)
    rights = [f"dynamodb:{action}" for action in ("GetRecords", "GetShardIterator", "DescribeStream", "ListStreams")]
    function = gap_engine.create_function(RETURNS, gap_engine.create_role(name, allow(*rights[1:])))
    stream = gap_engine.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    functions = gap_engine.client("lambda")
    mapping = functions.create_event_source_mapping(
        FunctionName=function, EventSourceArn=stream, StartingPosition="TRIM_HORIZON"
    )["UUID"]
    gap_engine.client("dynamodb").put_item(TableName=table, Item={"id": {"S": "1"}})

    def result() -> str | None:
        said = functions.get_event_source_mapping(UUID=mapping).get("LastProcessingResult", "")
        return None if said in ("", "No records processed") else str(said)

    said = eventually(result, "the mapping says what became of it")

    assert "not authorized to perform: dynamodb:GetRecords" in said
    gap_engine.set_policy(name, allow(*rights))
    eventually(lambda: (result() or "").startswith("OK"), "the record is read")


def test_a_failed_event_goes_to_its_destination_with_the_functions_role(gap_engine: Any) -> None:
    name, functions = unique("role"), gap_engine.client("lambda")
    function = gap_engine.create_function(RAISES, gap_engine.create_role(name, allow("sqs:ReceiveMessage")))
    url, queue = gap_engine.create_queue()
    functions.put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": queue}}
    )

    functions.invoke(FunctionName=function, InvocationType="Event")

    sqs = gap_engine.client("sqs")

    def ended_somehow() -> bool:
        return bool(gap_engine.denials(name) or sqs.receive_message(QueueUrl=url).get("Messages"))

    eventually(ended_somehow, "the event is sent, or denied")
    assert "sqs:SendMessage" in "".join(gap_engine.denials(name))
    gap_engine.set_policy(name, allow("sqs:SendMessage"))
    functions.invoke(FunctionName=function, InvocationType="Event")
    eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"), "the event is sent")


def test_a_denied_call_of_a_function_is_logged_with_action_and_role(gap_engine: Any) -> None:
    name = unique("role")
    source = "import boto3\ndef handler(event, context):\n    boto3.client('s3').list_buckets()"
    function = gap_engine.create_function(source, gap_engine.create_role(name, allow("s3:GetObject")))

    answer = gap_engine.client("lambda").invoke(FunctionName=function)

    assert "not authorized to perform: s3:ListAllMyBuckets" in json.loads(answer["Payload"].read())["errorMessage"]
    user = f"User: arn:aws:sts::000000000000:assumed-role/{name}/{function}"
    assert gap_engine.denials(name) == [f"{user} is not authorized to perform: s3:ListAllMyBuckets on resource: *"]


# --- What a caller may do, for the local Rekognition ------------------------------------------------------------------


def ask(engine: Any, key: str, token: str, *rights: tuple[str, str]) -> list[str | None]:
    question = json.dumps({"key": key, "token": token, "rights": rights}).encode()
    with urllib.request.urlopen(f"{engine.url}/_local/rights", question, timeout=10) as answer:
        refusals: list[str | None] = json.load(answer)["refusals"]
        return refusals


def test_another_process_hears_what_a_caller_may_do(engine: Any) -> None:
    name = unique("role")
    engine.create_role(name, allow("rekognition:DetectLabels"))
    trust = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    engine.client("iam").update_assume_role_policy(
        RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    given = engine.client("sts").assume_role(RoleArn=f"arn:aws:iam::000000000000:role/{name}", RoleSessionName="test")[
        "Credentials"
    ]
    rights = (("rekognition:DetectLabels", "*"), ("s3:GetObject", "arn:aws:s3:::b/k"))

    asking, reading = ask(engine, given["AccessKeyId"], given["SessionToken"], *rights)

    assert asking is None
    assert reading is not None
    assert reading.endswith("not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k")
    assert ask(engine, "test", "", *rights) == [None, None]  # the account's root
    for key, token in ((given["AccessKeyId"], "another"), (given["AccessKeyId"], ""), ("unsigned", "")):
        assert None not in ask(engine, key, token, *rights)


def test_whoever_has_no_known_key_is_refused(engine: Any) -> None:
    session = boto3.session.Session("AKIAUNKNOWNUNKNOWN", "secret", region_name=REGION)
    refused = engine.refusal(session.client("s3", endpoint_url=engine.url).list_buckets)
    assert refused == "InvalidAccessKeyId"
