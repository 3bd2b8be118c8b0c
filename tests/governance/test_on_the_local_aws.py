"""The access stack on the local AWS, with IAM in force: who has a policy is refused what is not in it.

It has no condition key iam:PermissionsBoundary, so that it refuses a deployer every role; what of the deployer is
refused for lack of a statement is tried here, the rest is read in test_access.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from tests.support import local_aws
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

TEMPLATES = "templates"
STACK = "serverlessapp-pet-detector-access-local"
ARN = f"arn:aws:%s:us-east-1:{local_aws.ACCOUNT}:%s"
PARAMETERS = {
    "ApplicationName": "serverlessapp-pet-detector-local",
    "ImageBucketName": "pictures",
    "DetectionLogsTableName": "records",
    "AnalysesTableName": "analyses",
    "ErasuresTableName": "erasures",
    "ImageWorkflowArn": ARN % ("states", "stateMachine:workflow"),
    "BackfillWorkflowArn": ARN % ("states", "stateMachine:backfill"),
    "ImageEventsDeadLetterQueueUrl": f"http://sqs.us-east-1.localhost/{local_aws.ACCOUNT}/events",
    "ReportsDeadLetterQueueUrl": f"http://sqs.us-east-1.localhost/{local_aws.ACCOUNT}/reports",
    "NoticesTopicArn": ARN % ("sns", "notices"),
}
PICTURES = ("others/a.jpg", "cats/b.jpg")
KEY = {"ImageID": {"S": "a"}}
Clients = Callable[[str], Any]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Clients]]:
    """Clients of users with their policies, where there is a table and a bucket."""
    with local_aws.running(tmp_path_factory.mktemp("engine"), AUTH="true") as url:
        outputs = deploy(url)
        s3, dynamodb = local_aws.client(url, "s3"), local_aws.client(url, "dynamodb")
        s3.create_bucket(Bucket="pictures")
        for picture in PICTURES:
            s3.put_object(Bucket="pictures", Key=picture, Body=b"a picture")
        dynamodb.create_table(
            TableName="records",
            AttributeDefinitions=[{"AttributeName": "ImageID", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "ImageID", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield {
            name: user(url, name, arns.split(","))
            for name, arns in {
                "reader": outputs["ReaderPolicyArn"],
                "reviewer": outputs["ReviewerPolicyArn"],
                "operator": outputs["OperatorPolicyArns"],
                "deployer": outputs["DeployerPolicyArns"],
            }.items()
        }


def deploy(url: str) -> dict[str, str]:
    """Deploy the stack, as `sam deploy` would upload it -> its outputs."""
    cloudformation, s3 = local_aws.client(url, "cloudformation"), local_aws.client(url, "s3")
    body = json.dumps(yaml_parse((REPOSITORY / "stacks" / "access.yaml").read_text()))
    s3.create_bucket(Bucket=TEMPLATES)
    s3.put_object(Bucket=TEMPLATES, Key="access.yaml", Body=body.encode())
    cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=f"https://s3.us-east-1.amazonaws.com/{TEMPLATES}/access.yaml",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()],
    )

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        return None if found["StackStatus"].endswith("IN_PROGRESS") else found

    stack = eventually(ended, "the access stack is deployed")
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def user(url: str, name: str, policies: list[str]) -> Clients:
    """Make a user with these policies -> its clients."""
    iam = local_aws.client(url, "iam")
    iam.create_user(UserName=name)
    for arn in policies:
        iam.attach_user_policy(UserName=name, PolicyArn=arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]

    def client(service: str) -> Any:
        session: Any = boto3.session.Session()
        return session.client(
            service,
            endpoint_url=url,
            region_name=local_aws.REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    return client


CALLS: dict[str, Callable[[Clients], Any]] = {
    "read a record": lambda aws: aws("dynamodb").get_item(TableName="records", Key=KEY),
    "write a record": lambda aws: aws("dynamodb").put_item(TableName="records", Item=KEY),
    "delete the table": lambda aws: aws("dynamodb").delete_table(TableName="records"),
    "list uploads": lambda aws: aws("s3").list_object_versions(Bucket="pictures", Prefix="input/"),
    "see an uncertain picture": lambda aws: aws("s3").get_object(Bucket="pictures", Key=PICTURES[0]),
    "see a cat": lambda aws: aws("s3").get_object(Bucket="pictures", Key=PICTURES[1]),
    "replace a cat": lambda aws: aws("s3").put_object(Bucket="pictures", Key=PICTURES[1], Body=b"a dog"),
    "open the bucket": lambda aws: aws("s3").put_bucket_policy(Bucket="pictures", Policy="{}"),
    "make a user": lambda aws: aws("iam").create_user(UserName="another"),
    "take off a boundary": lambda aws: aws("iam").delete_role_permissions_boundary(RoleName="serverlessapp-pet-det-x"),
    "make a policy": lambda aws: aws("iam").create_policy(PolicyName="all", PolicyDocument="{}"),
    "make a role without the boundary": lambda aws: aws("iam").create_role(
        RoleName="serverlessapp-pet-det-x", AssumeRolePolicyDocument="{}"
    ),
}
MAY = {
    "reader": {"read a record", "list uploads"},
    "reviewer": {"read a record", "see an uncertain picture"},
    "operator": {"read a record", "write a record", "list uploads", "see an uncertain picture", "see a cat"},
    # Of what is here: names that begin otherwise are no business of the application's deployer.
    "deployer": set(),
}


def answer(aws: Clients, call: Callable[[Clients], Any]) -> str:
    """`ok`, or the code of the error."""
    try:
        call(aws)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


@pytest.mark.parametrize("who", MAY)
def test_person_may_do_just_this(people: dict[str, Clients], who: str) -> None:
    """What one is refused another may do, so that it is the policy that refuses."""
    answers = {name: answer(people[who], call) for name, call in CALLS.items()}
    assert {name for name, code in answers.items() if code == "ok"} == MAY[who]
    assert set(answers.values()) <= {"ok", "AccessDenied", "AccessDeniedException"}
