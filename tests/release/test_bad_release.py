"""A release that fails on one picture, or request, in three goes back by itself; what it hurt is redriven."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests

from tests.release.report import MINUTE, Numbers
from tests.release.stage import Shift, Stage, is_hurt
from tests.support.waiting import wait_for

GRADUAL = "Canary10Percent10Minutes"
WORKFLOW_ALARMS = ("-executions-failed", "-failed-share", "-processing-slow")
PAUSE = 0.2  # of a client before it sends a request again, in seconds
SHIFT_SECONDS = 600.0  # far more than a deployment takes
API_ALARMS = ("-api-errors", "Api-errors", "-api-latency")


@pytest.fixture(autouse=True)
def _tree_as_before(stage: Stage) -> Iterator[None]:
    """Each of these releases goes back, in the stack; so does what it was made of.

    The order is so that none finds an alarm of the one before ringing, which would send it back at once.
    """
    with stage.tree.changed():
        yield


def test_a_bad_function_of_the_api_goes_back_by_codedeploy(stage: Stage, numbers: Numbers) -> None:
    stage.wait_until_quiet(*API_ALARMS)
    (old,) = stage.shares("UploadApiFunction")
    stage.tree.give(ReleaseShift=GRADUAL)
    stage.tree.change(
        f"{stage.tree.own_code('UploadApiFunction')}/upload_api/app.py",
        "    return app.resolve(event, context)",
        '    assert sum(map(ord, context.aws_request_id)) % 3, "a bad release"\n    return app.resolve(event, context)',
    )
    begun = datetime.now(UTC)
    answers: Counter[int] = Counter()
    images: list[str] = []
    with stage.releasing("UploadApiFunction") as shift, requests.Session() as session:
        session.trust_env = False
        _until_it_shifts(shift)
        while not shift.seconds:
            key = uuid.uuid4().hex  # a client sends the same request again until it is answered
            while True:
                answer = session.post(
                    f"{stage.outputs['ApiUrl']}/upload",
                    json={"fileName": "cat.jpg", "contentType": "image/jpeg"},
                    headers={"x-api-key": stage.api_key, "Idempotency-Key": key},
                    timeout=60,
                )
                answers[answer.status_code] += 1
                if answer.status_code < 429:
                    break
                time.sleep(PAUSE)
            images.append(answer.json()["imageId"])

    assert stage.stack_status() == "UPDATE_ROLLBACK_COMPLETE"
    assert "alarm" in shift.refusal.lower(), shift.refusal
    rang = stage.alarms_that_rang(begun)
    assert any("api" in name for name in rang), rang
    assert [sorted(shares.values()) for shares in shift.history] == [[100], [10, 90], [100]]
    assert stage.shares("UploadApiFunction") == {old: 100}
    assert len(set(images)) == len(images)
    assert all(stage.status(image_id) == "uploading" for image_id in images)
    failed = sum(number for status, number in answers.items() if status >= 500)
    assert failed
    answered = sum(answers.values()) - answers[429]
    numbers.say(
        f"Bad UploadApi at 10 %: {_times(shift)}. {answered} requests meanwhile, {failed} failed and were "
        f"sent again by their clients; {len(images)} images announced, none twice. Rang: {', '.join(rang)}"
    )


def test_a_shift_is_cancelled_by_one_command(stage: Stage, numbers: Numbers) -> None:
    stage.wait_until_quiet(*WORKFLOW_ALARMS)
    old = stage.version
    stage.tree.give(ReleaseShift=GRADUAL, DailyAnalysisLimit="777")
    with stage.releasing() as shift:
        _until_it_shifts(shift)
        assert "is split" in stage.petdetect("status").out
        back = stage.petdetect("rollback", "--yes", "--json")
    assert back.code == 0, back.err
    assert stage.shares() == {old: 100}
    assert stage.stack_status() == "UPDATE_ROLLBACK_COMPLETE"
    assert shift.refusal
    numbers.say(
        f"petdetect rollback in the middle of a shift: all of the deployment taken back in {back.json['seconds']} s"
    )


def test_a_release_that_fails_on_one_picture_in_three_goes_back(stage: Stage, numbers: Numbers) -> None:
    stage.wait_until_quiet(*WORKFLOW_ALARMS)
    old, newest = stage.version, stage.published()["ImageWorkflow"]
    bad = '__import__("hashlib").sha256(event["key"].encode()).hexdigest()'
    stage.tree.give(ReleaseShift=GRADUAL)
    stage.tree.change(
        f"{stage.tree.own_code('ImageProcessorFunction')}/image_processor/app.py",
        "    bind(event)\n",
        f'    bind(event)\n    assert int({bad}, 16) % 3 or event["key"].startswith("samples/"), "a bad release"\n',
    )
    begun = datetime.now(UTC)
    with stage.releasing() as shift:
        _until_it_shifts(shift)
        with stage.clients() as images:
            wait_for(lambda: shift.seconds, SHIFT_SECONDS)

    assert stage.stack_status() == "UPDATE_ROLLBACK_COMPLETE"
    assert "alarm" in shift.refusal.lower(), shift.refusal
    rang = stage.alarms_that_rang(begun)
    assert any(name.endswith(WORKFLOW_ALARMS[:2]) for name in rang), rang
    bad_version = newest + 1
    assert shift.history == [{old: 100}, {old: 90, bad_version: 10}, {old: 100}]

    statuses = stage.all_final(images)
    hurt = [image_id for image_id in images if stage.status(image_id) == "failed"]
    assert hurt
    assert all(is_hurt(image_id) for image_id in hurt)
    ran = Counter(stage.version_of(stage.executions_of(image_id)[0]) for image_id in images)
    assert all(stage.version_of(stage.executions_of(image_id)[0]) == bad_version for image_id in hurt)
    redriven = stage.petdetect("redrive", "--all", "--yes")
    assert redriven.code == 0, redriven.out
    assert set(stage.all_final(images)) <= {"completed", "needs_review"}
    assert stage.wrong(images) == []
    assert all(stage.version_of(stage.executions_of(image_id)[-1]) for image_id in hurt)
    numbers.say(
        f"Bad release at 10 %: {_times(shift)}. {len(images)} pictures meanwhile: {dict(ran)} by version, "
        f"{statuses['failed']} hurt and redriven; lost 0, twice 0. Rang: {', '.join(rang)}"
    )


def _until_it_shifts(shift: Shift) -> None:
    """Wait until the alias is split, or the deployment is over without."""
    wait_for(lambda: len(shift.history) > 1 or shift.seconds, SHIFT_SECONDS)


def _times(shift: Shift) -> str:
    (_, _), (begun, _), (back, _) = shift.seen
    return (
        f"a tenth of the traffic after {begun:.0f} s, back by itself after {back:.0f} s ({back - begun:.0f} s of a "
        f"shift whose minutes last {MINUTE:.0f} s), the stack after {shift.seconds:.0f} s"
    )
