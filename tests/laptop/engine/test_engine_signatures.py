"""Signatures, CORS and public access: what the local AWS refuses because it runs with AUTH=true.

No patch stands behind these but the switch: should a newer MiniStack lose one, this says so.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from tests.support.local_aws import REGION
from tests.support.waiting import eventually

PAGE = "http://localhost:3000"
OTHER_PAGE = "http://localhost:9999"  # of this machine: a page from elsewhere is refused before (test_engine_safety.py)


@pytest.fixture(scope="module")
def bucket(engine: Any) -> str:
    """A bucket with one object, `input/1.jpg`, which pages of PAGE may post to and read."""
    name, s3 = f"b-{uuid.uuid4().hex}", engine.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="input/1.jpg", Body=b"1")
    rule = {"AllowedOrigins": [PAGE], "AllowedMethods": ["POST", "GET"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
    return name


@pytest.fixture
def signer(engine: Any) -> Any:
    """An S3 client of a user who may read and write objects, as a function signs with its role."""
    name, iam = f"u-{uuid.uuid4().hex[:8]}", engine.client("iam")
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"}
    iam.put_user_policy(
        UserName=name, PolicyName="s3", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return client_of(engine, key["AccessKeyId"], key["SecretAccessKey"])


def client_of(engine: Any, key: str, secret: str) -> Any:
    session = boto3.session.Session(key, secret, region_name=REGION)
    config = Config(s3={"addressing_style": "path"}, signature_version="s3v4", proxies={})
    return session.client("s3", endpoint_url=engine.url, config=config)


def form_of(client: Any, bucket: str) -> dict[str, Any]:
    form: dict[str, Any] = client.generate_presigned_post(
        bucket, "input/1.jpg", Conditions=[["content-length-range", 1, 100]], ExpiresIn=60
    )
    return form


def send(form: dict[str, Any], **headers: str) -> requests.Response:
    return requests.post(form["url"], data=form["fields"], files={"file": b"2"}, headers=headers, timeout=10)


def link_of(client: Any, bucket: str, seconds: int = 60) -> str:
    return str(client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "input/1.jpg"}, seconds))


def code_of(answer: requests.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


def test_a_form_is_taken_as_it_was_signed_and_no_other(signer: Any, bucket: str) -> None:
    assert send(form_of(signer, bucket)).status_code == 204
    for field in ("policy", "x-amz-signature"):
        tampered = form_of(signer, bucket)
        tampered["fields"][field] = tampered["fields"][field][:-4] + "0000"
        assert (send(tampered).status_code, code_of(send(tampered))) == (403, "SignatureDoesNotMatch"), field


def test_a_form_without_a_signature_is_refused(signer: Any, bucket: str) -> None:
    form = form_of(signer, bucket)
    form["fields"] = {"key": form["fields"]["key"]}

    assert send(form).status_code == 403


def test_a_form_signed_with_an_unknown_key_is_refused(engine: Any, bucket: str) -> None:
    form = form_of(client_of(engine, "AKIAUNKNOWNUNKNOWN", "secret"), bucket)

    assert (send(form).status_code, code_of(send(form))) == (403, "InvalidAccessKeyId")


def test_a_form_has_the_rights_of_its_signer(engine: Any, signer: Any, bucket: str) -> None:
    form = form_of(signer, bucket)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    engine.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [denied]}))
    try:
        assert send(form).status_code == 403
    finally:
        engine.client("s3").delete_bucket_policy(Bucket=bucket)


def test_a_link_is_good_for_its_object_its_time_and_its_key(engine: Any, signer: Any, bucket: str) -> None:
    link = link_of(signer, bucket)
    assert requests.get(link, timeout=10).status_code == 200
    assert requests.get(link.replace("1.jpg", "2.jpg"), timeout=10).status_code == 403
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403
    unknown = link_of(client_of(engine, "AKIAUNKNOWNUNKNOWN", "secret"), bucket)
    assert requests.get(unknown, timeout=10).status_code == 403
    short = link_of(signer, bucket, seconds=1)
    eventually(lambda: requests.get(short, timeout=10).status_code == 403, "the link expires", 10)


def test_a_page_reads_an_answer_only_if_the_buckets_cors_names_it(signer: Any, bucket: str) -> None:
    allowed, other = (send(form_of(signer, bucket), Origin=page) for page in (PAGE, OTHER_PAGE))

    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Access-Control-Allow-Origin" not in other.headers
    for page, status in ((PAGE, 200), (OTHER_PAGE, 403)):
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        url = form_of(signer, bucket)["url"]
        assert requests.options(url, headers=asked, timeout=10).status_code == status


def test_a_public_bucket_policy_is_refused(engine: Any, bucket: str) -> None:
    public = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [public]})

    assert engine.refusal(engine.client("s3").put_bucket_policy, Bucket=bucket, Policy=policy) == "AccessDenied"
    url = f"{engine.url}/{bucket}/input/1.jpg"
    assert requests.get(url, timeout=10).status_code == 403


def test_a_queue_takes_a_topics_messages_only_if_its_policy_lets_it_in(engine: Any) -> None:
    sns, sqs = engine.client("sns"), engine.client("sqs")
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex}")["TopicArn"]
    closed, open_ = engine.create_queue(), engine.create_queue("sns")
    for _, arn in (closed, open_):
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    sns.publish(TopicArn=topic, Message="any")

    assert len(sqs.receive_message(QueueUrl=open_[0], WaitTimeSeconds=5).get("Messages", [])) == 1
    assert sqs.receive_message(QueueUrl=closed[0]).get("Messages", []) == []
