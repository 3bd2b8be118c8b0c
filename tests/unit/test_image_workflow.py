"""Starting the workflow: the input of an execution, and that one name is one execution."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from pet_detector.aws import image_workflow
from pet_detector.aws.clients import client
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from tests.support.moto_world import IMAGE_ID, KEY, LIVE, WORKFLOW, Cloud, breakdown, refusal

pytestmark = pytest.mark.usefixtures("workflow")

LOST = ReadTimeoutError(endpoint_url="https://states")
OBJECT = {"detail": {"object": {"key": KEY, "version-id": "v1"}}, "imageId": IMAGE_ID}


def start(name: str = "one", version_id: str = "v1", **more: Any) -> bool:
    return image_workflow.start(LIVE, name, KEY, version_id, IMAGE_ID, **more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"received": "2026-11-21T09:30:00.000Z"}, {"time": "2026-11-21T09:30:00.000Z"}),
        ({"restart": True}, {"restart": True}),
        ({"restart": True, "release": True}, {"restart": True, "release": True}),
        ({"received": None, "restart": False, "release": False}, {}),
    ],
)
def test_an_execution_gets_the_object_and_nothing_that_was_not_asked_for(
    aws: Cloud, more: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert start(**more) is True
    assert aws.started() == {"one": OBJECT | expected}


def test_one_name_is_one_execution(aws: Cloud) -> None:
    assert [start(), start(), start("two")] == [True, True, True]
    assert aws.started() == {"one": OBJECT, "two": OBJECT}
    assert start(version_id="v2") is False, "another input under the name of one that runs"
    for execution in aws.states.list_executions(stateMachineArn=WORKFLOW)["executions"]:
        aws.states.stop_execution(executionArn=execution["executionArn"])
    assert start() is False, "the name of one that has ended"
    assert aws.started() == {"one": OBJECT, "two": OBJECT}


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_is_asked_for_again_and_starts_nothing_twice(aws: Cloud, done: bool) -> None:
    with breakdown(client("stepfunctions"), "StartExecution", LOST, done=done) as fault:
        assert start() is True
    assert fault.happened == 1
    assert len(aws.started()) == 1


def test_the_sdk_asks_three_times_and_then_gives_up(aws: Cloud) -> None:
    with (
        breakdown(client("stepfunctions"), "StartExecution", LOST, done=False, times=9) as fault,
        pytest.raises(ServiceError),
    ):
        start()
    assert fault.happened == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", ThrottledError),
        ("AccessDeniedException", AccessDeniedError),
        ("StateMachineDoesNotExist", ServiceError),
        ("InvalidName", ServiceError),
    ],
)
def test_a_no_is_one_of_the_domains_errors(aws: Cloud, code: str, kind: type[PetDetectorError]) -> None:
    with refusal(client("stepfunctions"), "StartExecution", code), pytest.raises(PetDetectorError) as found:
        start()
    assert type(found.value) is kind
    assert aws.started() == {}
