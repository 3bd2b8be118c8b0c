"""Code that calls AWS, or another place, in ways that no role of the template is for: each is noticed."""

from __future__ import annotations

import botocore
import pytest

from tests.support import moto_world, rights
from tests.support.handler_runs import observe
from tests.support.source_calls import reached, read, sources

from .test_hops import FUNCTIONS

BUCKET_MODULE, HANDLER = "pet_detector.aws.image_bucket", "file_manager.app"
IAM_NAMES = {"states": "stepfunctions", "monitoring": "cloudwatch"}  # of services that boto3 calls otherwise
# Calls that `petdetect erase` makes with an operator's rights, in code that ErasureApi shares. No handler's story goes
# that way: an operator may erase what a lost execution has left, all of an uploader, and what a restore brought back.
OF_OPERATORS = {("stepfunctions", "describe_execution"), ("dynamodb", "scan")}
OPERATORS_MODULES = {
    "erasure_api.app",
    "pet_detector.aws.erased_records",
    "pet_detector.aws.erasures",
    "pet_detector.aws.reviews",
}


def faults(module: str, more: str, *, instead_of: str = "") -> list[str]:
    """What is noticed when this is added to a module, or stands there instead of something else."""
    changed = sources()
    assert instead_of in changed[module]
    changed[module] = changed[module].replace(instead_of, more, 1) if instead_of else f"{changed[module]}\n{more}\n"
    found, of_stories = [], set().union(*(recorded(function["Handler"]) for function in FUNCTIONS.values()))
    for name, source in changed.items():
        calls, of_source = read(name, source)
        extra = calls - of_stories - (OF_OPERATORS if name in OPERATORS_MODULES else set())
        found += [*of_source, *(f"{name} calls {call}, as no story does" for call in extra)]
    for function in FUNCTIONS.values():
        handler = function["Handler"].rpartition(".")[0]
        extra = reached(handler, changed) ^ recorded(function["Handler"])
        extra -= OF_OPERATORS if handler in OPERATORS_MODULES else set()
        found += [f"{handler} calls {call}" for call in extra]
    return found


def recorded(handler: str) -> set[tuple[str, str]]:
    """The calls of a handler's story, as boto3 spells them."""
    calls = observe(handler).calls
    return {(IAM_NAMES.get(call.service, call.service), botocore.xform_name(call.operation)) for call in calls}


MOVED = '    logger.info("Image moved", folder=event["folder"])'
DELETED = 'with translated("s3:DeleteObject"):'
SIGNED = "generate_presigned_url(\n        "
MUTANTS = {
    "C1 new call": (BUCKET_MODULE, f'client("s3").put_object_tagging(Bucket=bucket, Key=key)\n    {DELETED}', DELETED),
    "C2 getattr": (BUCKET_MODULE, 'def more(): getattr(client("s3"), "put_" + "object")(Bucket="b")', ""),
    "C3 alias": (BUCKET_MODULE, 's3 = client("s3")\nhand_out = s3.get_object', ""),
    "C3b alias of the maker": (BUCKET_MODULE, 'make = client\ndef more(): make("sqs").send_message()', ""),
    "C3c alias by import": (HANDLER, "from pet_detector.aws.clients import client as c", ""),
    "C4 another session": (BUCKET_MODULE, 'import boto3\ndef more(): boto3.Session().client("s3").list_buckets()', ""),
    "C4b another maker": ("pet_detector.aws.clients", 'def more(): boto3.resource("s3")', ""),
    "C5 helper of boto3": (BUCKET_MODULE, 'def more(): client("s3").upload_file("/tmp/a", "b", "c")', ""),
    "C6 waiter": (BUCKET_MODULE, 'def more(): client("s3").get_waiter("object_exists").wait(Bucket="b", Key="k")', ""),
    "C8 link to put": (BUCKET_MODULE, f'{SIGNED}"put_object"', f'{SIGNED}"get_object"'),
    "C9 urllib": (BUCKET_MODULE, 'import urllib.request as u\ndef more(): u.urlopen("https://x.org")', ""),
    "socket": (HANDLER, "import socket", ""),
    "a program": (HANDLER, 'import os\ndef more(): os.system("true")', ""),
    "code from text": (HANDLER, 'def more(text): exec(text)', ""),
    "service by a name": (BUCKET_MODULE, 'def more(name): client(name).put_object()', ""),
    "client handed on": (BUCKET_MODULE, 'def more(): return print(client("s3"))', ""),
}  # fmt: skip


def test_nothing_is_noticed_of_the_code_as_it_is() -> None:
    assert faults(HANDLER, "") == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_noticed(mutant: str) -> None:
    module, more, instead_of = MUTANTS[mutant]
    assert faults(module, more, instead_of=instead_of)


def test_call_that_another_function_makes_is_noticed() -> None:
    """An operation that the code has, in a function whose role is not for it."""
    more = f"{MOVED}\n    notices_topic.publish(bucket)"
    imported = "from pet_detector.aws import image_bucket, refiling"
    changed = sources()[HANDLER].replace(imported, f"{imported}, notices_topic").replace(MOVED, more)
    assert faults(HANDLER, changed, instead_of=sources()[HANDLER]) == [f"{HANDLER} calls ('sns', 'publish')"]


@pytest.mark.parametrize(
    ("handler", "operation", "parameters"),
    [
        # C7: the same call on another prefix
        (
            HANDLER,
            "CopyObject",
            {"Key": "archive/1.jpg", "CopySource": {"Bucket": moto_world.BUCKET, "Key": "input/1"}},
        ),
        ("upload_api.app", "PutObject", {"Key": "cats/1.jpg"}),
        ("reconciler.app", "ListObjectVersions", {"Prefix": "cats/"}),
        ("images_api.app", "DeleteObject", {"Key": "cats/1.jpg", "VersionId": "v"}),
        ("", "PutObject", {"Key": "archive/1.jpg"}),
    ],
)
def test_call_on_another_resource_is_noticed(handler: str, operation: str, parameters: dict[str, object]) -> None:
    """How calls of the unit tests are judged: tests/unit/conftest.py."""
    assert rights.denial(handler, "s3", operation, {"Bucket": moto_world.BUCKET} | parameters)


def test_calls_of_the_stories_are_on_resources_of_the_role() -> None:
    for function in FUNCTIONS.values():
        handler = function["Handler"].rpartition(".")[0]
        for call in observe(function["Handler"]).calls:
            denied = rights.denial(handler, call.service, call.operation, call.parameters, signed=call.signed)
            assert denied is None
