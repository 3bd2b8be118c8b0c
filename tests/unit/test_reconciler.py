"""Reconciling: every row of the module's table, and that it does no harm however often it runs."""

from __future__ import annotations

import io
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs, image_versions
from pet_detector.aws.clients import client
from pet_detector.aws.image_versions import InputVersion
from pet_detector.rules import image_ids
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ThrottledError
from pet_detector.rules.models import Status
from pet_detector.use_cases import reconciler
from pet_detector.use_cases.reconciler import Action, Finding, Report, Resources, reconcile
from reconciler.app import lambda_handler
from tests.support.moto_world import (
    BUCKET,
    CORRELATION,
    EXECUTION,
    IMAGE_ID,
    KEY,
    LIVE,
    TABLE,
    TOPIC,
    WORKFLOW,
    Cloud,
    refusal,
)

pytestmark = pytest.mark.usefixtures("people", "workflow", "at_noon")

RESOURCES = Resources(BUCKET, TABLE, LIVE, TOPIC, "dev", 20, 365)
OVERDUE = timedelta(minutes=15)
# What tests store is stored now: reconciling looks at it half a day later, far from the borders of a day and an hour.
NOON = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=30, second=0, microsecond=0)
AGES_AHEAD = 4_000_000_000


def text(time: datetime) -> str:
    """A time as records have it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(**duration: float) -> str:
    return text(NOON - timedelta(**duration))


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    monkeypatch.setattr(reconciler, "datetime", SimpleNamespace(now=lambda _: time))


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon of tomorrow."""
    at(monkeypatch, NOON)


def record(aws: Cloud, status: str, version: str = image_ids.NEWEST, image_id: str = IMAGE_ID, **more: Any) -> None:
    """A record as the workflow leaves it."""
    owned = {"ExecutionArn": EXECUTION, "CorrelationId": CORRELATION, "SourceKey": KEY, "SourceVersion": version}
    times = {"ClaimedAt": ago(hours=3), "UpdatedAt": ago(minutes=1), "ListedAt": f"{ago(hours=3)}#{image_id}"}
    aws.write(image_id, **{"ProcessingStatus": status, "ExpiresAt": AGES_AHEAD} | owned | times | more)


def stored(aws: Cloud, key: str = KEY) -> InputVersion:
    """Store an object under input/ -> its newest version."""
    version, _ = aws.put(key, b"x")
    (found,) = [
        found for found in image_versions.input_versions(BUCKET) if (found.key, found.version_id) == (key, version)
    ]
    return found


def name_of(image_id: str = IMAGE_ID, hour: datetime = NOON) -> str:
    return f"reconcile-{image_id}-{hour:%Y%m%dT%H}"


def input_of(version: InputVersion, image_id: str = IMAGE_ID, **more: Any) -> dict[str, Any]:
    """The input of an execution that starts with an object version."""
    found = {"key": version.key, "version-id": version.version_id}
    return {"detail": {"object": found}, "imageId": image_id, "time": text(version.modified)} | more


# --- The rows of the table --------------------------------------------------------------------------------------------

# Case: (status of the record, what differs from `record`; THIS stands for the version that is there), what is done.
THIS = "this version"
ROWS: dict[str, tuple[tuple[str, dict[str, Any]] | None, Action]] = {
    "the event was lost, and there is no record": (None, Action.START),
    "the event was lost": (("uploading", {}), Action.START),
    "the event was lost, and the upload's record expired": (("uploading", {"ExpiresAt": 1}), Action.START),
    "being worked on": (("processing", {"version": THIS, "ClaimedAt": ago(minutes=119)}), Action.WAIT),
    "being worked on to the last moment": (("processing", {"version": THIS, "ClaimedAt": ago(hours=2)}), Action.WAIT),
    "its execution has ended": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=2, milliseconds=1)}),
        Action.START,
    ),
    "its execution has ended, of a person": (("processing", {"ClaimedAt": ago(hours=3)}), Action.START),
    "waits for its turn": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=5), "TurnAt": ago(hours=-2)}),
        Action.TURN,
    ),
    "its turn came less than the overdue age ago": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=5), "TurnAt": ago(minutes=14, seconds=59)}),
        Action.TURN,
    ),
    "it should be finished since its turn": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=5), "TurnAt": ago(minutes=15)}),
        Action.WAIT,
    ),
    "its claim counts from its turn": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=5), "TurnAt": ago(hours=2)}),
        Action.WAIT,
    ),
    "its execution has ended since its turn": (
        ("processing", {"version": THIS, "ClaimedAt": ago(hours=5), "TurnAt": ago(hours=2, milliseconds=1)}),
        Action.START,
    ),
    "its turn was that of an earlier execution": (
        ("processing", {"version": THIS, "ClaimedAt": ago(minutes=119), "TurnAt": ago(days=1)}),
        Action.WAIT,
    ),
    "waits for an operator": (("failed", {"version": THIS}), Action.LEAVE),
    "waits for the next day": (("held", {"version": THIS, "UpdatedAt": ago(hours=12, minutes=30)}), Action.LEAVE),
    "the next day has come": (
        ("held", {"version": THIS, "UpdatedAt": ago(hours=12, minutes=30, milliseconds=1)}),
        Action.RELEASE,
    ),
    "many days have come": (("held", {"version": THIS, "UpdatedAt": ago(days=40)}), Action.RELEASE),
    **{
        f"{status} ({version}), and the source is still there": ((status, {"version": version}), Action.REPORT)
        for status in ("completed", "needs_review", "rejected")
        for version in (THIS, image_ids.NEWEST)
    },
    "its image is being erased": (("erased", {}), Action.ERASED),
    "another version, of an image that is being erased": (("erased", {"version": "gone"}), Action.ERASED),
}


@pytest.mark.parametrize(("known", "action"), ROWS.values(), ids=ROWS)
def test_what_happens_to_an_object_that_still_lies_under_input(
    aws: Cloud, known: tuple[str, dict[str, Any]] | None, action: Action
) -> None:
    version = stored(aws)
    if known:
        status, more = known
        record(aws, status, **more | ({"version": version.version_id} if more.get("version") == THIS else {}))
    before = aws.item()
    report = reconcile(RESOURCES, OVERDUE)
    waits = action is Action.TURN
    claimed_by = EXECUTION if known and known[0] == "processing" and action is Action.START else ""
    found = Finding(action, IMAGE_ID, KEY, version.version_id, text(version.modified), claimed_by)
    assert (report.findings, report.waiting) == ([] if waits else [found], int(waits))
    begins = action in (Action.START, Action.RELEASE)
    assert (report.started, report.closed) == (int(begins), 0)
    assert report.gap == (0 if action in (Action.TURN, Action.LEAVE, Action.RELEASE) else 1)
    again: dict[str, Any] = {"restart": True} if action is Action.RELEASE else {}
    assert aws.started() == ({name_of(): input_of(version, **again)} if begins else {})
    assert aws.item() == before, "only the claim of the execution changes the record"
    assert (aws.keys(), aws.notices()) == ([KEY], [])


# --- A form is for one picture: the second table ---------------------------------------------------------------------

FINAL = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.REJECTED)
# An image that failed because its version was gone; another one lies under its key.
NOT_FOUND: dict[str, Any] = {"Error": {"Error": "ImageNotFoundError", "Cause": ""}}


def names(found: InputVersion) -> dict[str, str]:
    return {"version": found.version_id}


def left_in_input(aws: Cloud) -> list[str]:
    return [found.version_id for found in image_versions.input_versions(BUCKET)]


def superseded(aws: Cloud, image_id: str = IMAGE_ID) -> int:
    return int(aws.item(image_id).get("Superseded", {"N": "0"})["N"])


@pytest.mark.parametrize("status", FINAL)
def test_later_uploads_of_a_finished_image_are_counted_and_removed(aws: Cloud, status: Status) -> None:
    first, second = stored(aws), stored(aws)
    record(aws, status, version="the one that was filed")
    report = reconcile(RESOURCES, OVERDUE)
    both = (second.version_id, first.version_id)
    expected = Finding(
        Action.SUPERSEDE, IMAGE_ID, KEY, both[0], text(second.modified), "", both, "the one that was filed"
    )
    assert report == Report(findings=[expected], superseded=2)
    assert (report.gap, aws.started(), aws.notices()) == (0, {}, [])
    assert (left_in_input(aws), superseded(aws)) == ([], 2)
    assert reconcile(RESOURCES, OVERDUE) == Report()
    stored(aws)
    reconcile(RESOURCES, OVERDUE)
    assert superseded(aws) == 3


@pytest.mark.parametrize("status", FINAL)
def test_the_version_that_a_final_record_names_is_not_removed(aws: Cloud, status: Status) -> None:
    older, own, newer = stored(aws), stored(aws), stored(aws)
    record(aws, status, version=own.version_id)
    report = reconcile(RESOURCES, OVERDUE)
    assert {finding.action: finding.version_id for finding in report.findings} == {
        Action.REPORT: own.version_id,
        Action.SUPERSEDE: newer.version_id,
    }
    assert (left_in_input(aws), superseded(aws), older.version_id in left_in_input(aws)) == ([own.version_id], 2, False)


@pytest.mark.parametrize("status", FINAL)
def test_a_final_record_that_names_no_version_keeps_them_all(aws: Cloud, status: Status) -> None:
    found = [stored(aws).version_id, stored(aws).version_id]
    record(aws, status, version=image_ids.NEWEST)
    assert [finding.action for finding in reconcile(RESOURCES, OVERDUE).findings] == [Action.REPORT]
    assert left_in_input(aws) == found[::-1]


def test_a_record_of_null_keeps_the_object_that_s3_calls_null(monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> None:
    record(aws, "completed", version="null")
    listed = [
        InputVersion(KEY, "later", NOON - timedelta(hours=1)),
        InputVersion(KEY, "null", NOON - timedelta(hours=1)),
    ]
    monkeypatch.setattr(image_versions, "input_versions", lambda *_: iter(listed))
    found = {finding.action: finding for finding in reconcile(RESOURCES, OVERDUE, dry_run=True).findings}
    assert found[Action.REPORT].version_id == "null"
    assert found[Action.SUPERSEDE].superseded == ("later",)


# Case: (status of the record, what differs; GONE: its version is not there), what is found about the key.
GONE = "a version that is gone"
STAYS: dict[str, tuple[tuple[str, dict[str, Any]] | None, list[Action]]] = {
    "no record": (None, [Action.START]),
    "uploading": (("uploading", {}), [Action.START]),
    "started by hand, at work": (
        ("processing", {"version": image_ids.NEWEST, "ClaimedAt": ago(minutes=1)}),
        [Action.WAIT],
    ),
    "started by hand, its execution has ended": (("processing", {"version": image_ids.NEWEST}), [Action.START]),
    "failed, started by hand": (("failed", {"version": image_ids.NEWEST}), [Action.LEAVE]),
    "held, started by hand": (("held", {"version": image_ids.NEWEST}), [Action.LEAVE]),
    "at work": (("processing", {"ClaimedAt": ago(minutes=1)}), [Action.WAIT]),
    "waits for its turn": (("processing", {"TurnAt": ago(hours=-2)}), []),
    "its execution has ended": (("processing", {}), [Action.START]),
    "at work, its object gone": (("processing", {"version": GONE, "ClaimedAt": ago(minutes=1)}), []),
    "its execution has ended, its object gone": (("processing", {"version": GONE}), [Action.CLOSE]),
    "held": (("held", {}), [Action.LEAVE]),
    "held since yesterday": (("held", {"UpdatedAt": ago(days=1)}), [Action.RELEASE]),
    "held, its object gone": (("held", {"version": GONE}), []),
    "failed": (("failed", {}), [Action.LEAVE]),
    "failed, its object gone": (("failed", {"version": GONE} | NOT_FOUND), [Action.LEAVE]),
    "failed otherwise, its object gone": (("failed", {"version": GONE}), [Action.LEAVE]),
    "failed when filed": (("failed", {"version": GONE, "SourceKey": f"cats/{IMAGE_ID}.jpg"}), [Action.LEAVE]),
    "dismissed": (("failed", {"version": GONE, "StatusShard": "dismissed#0"}), [Action.LEAVE]),
    "being erased": (("erased", {}), [Action.ERASED]),
    "being erased, its object gone": (("erased", {"version": GONE}), [Action.ERASED]),
}


@pytest.mark.parametrize(("known", "actions"), STAYS.values(), ids=STAYS)
def test_no_version_is_removed_before_the_image_is_final(
    aws: Cloud, known: tuple[str, dict[str, Any]] | None, actions: list[Action]
) -> None:
    """Three uploads with one form; the second one is the image, unless its version is gone."""
    versions = [stored(aws), stored(aws), stored(aws)]
    if known:
        status, more = known
        record(aws, status, **names(versions[1]) | more)
    report = reconcile(RESOURCES, OVERDUE)
    assert [finding.action for finding in report.findings] == actions
    assert (len(left_in_input(aws)), report.superseded, superseded(aws) if known else 0) == (3, 0, 0)
    begun = any(action in (Action.START, Action.RELEASE) for action in actions)
    assert list(aws.started()) == ([name_of()] if begun else []), "an image of a key has one execution"
    if begun and known and known[1].get("version") != image_ids.NEWEST and known[0] != "uploading":
        (started,) = aws.started().values()
        assert started["detail"]["object"]["version-id"] == versions[1].version_id, "of the version that it claimed"


def test_what_was_put_back_is_left_to_the_operator(aws: Cloud) -> None:
    version = stored(aws)
    record(aws, "failed", version=GONE, **NOT_FOUND)
    report = reconcile(RESOURCES, OVERDUE)
    assert report.findings == [Finding(Action.LEAVE, IMAGE_ID, KEY, version.version_id, text(version.modified))]
    assert (report.gap, aws.started()) == (0, {})


@pytest.mark.parametrize("status", ["completed", "failed", "processing", "held"])
def test_a_version_with_a_record_of_its_own_is_judged_by_that(aws: Cloud, status: str) -> None:
    """A person may start it by hand under the hash of key and version, and so did earlier releases."""
    version, other = stored(aws), stored(aws)
    hashed = image_ids.hashed_image_id(KEY, version.version_id)
    record(aws, status, version=GONE, TurnAt=ago(hours=-1))
    record(aws, "failed", version.version_id, image_id=hashed)
    found = {(finding.action, finding.image_id) for finding in reconcile(RESOURCES, OVERDUE).findings}
    assert (Action.LEAVE, hashed) in found
    assert version.version_id in left_in_input(aws)
    assert (other.version_id in left_in_input(aws)) == (status != "completed")


def test_versions_of_a_key_without_an_id_are_images_of_their_own(aws: Cloud) -> None:
    versions = [stored(aws, "input/latest.jpg") for _ in range(3)]
    ids = [image_ids.hashed_image_id(found.key, found.version_id) for found in versions]
    record(aws, "completed", versions[0].version_id, image_id=ids[0])
    found = {finding.image_id: finding.action for finding in reconcile(RESOURCES, OVERDUE).findings}
    assert found == {ids[0]: Action.REPORT, ids[1]: Action.START, ids[2]: Action.START}


def erased(aws: Cloud, image_id: str = IMAGE_ID) -> None:
    """The mark that an erasure leaves."""
    aws.write(image_id, ProcessingStatus="erased", ErasedAt=ago(minutes=1), ExpiresAt=AGES_AHEAD)


@pytest.mark.parametrize("key", [KEY, f"input/backfill/{IMAGE_ID}.jpg"])
def test_what_comes_for_an_erased_image_is_removed_and_is_no_gap(aws: Cloud, key: str) -> None:
    """Nothing of it stays, and nobody raises an alarm with a form that is still valid."""
    first, second = stored(aws, key), stored(aws, key)
    erased(aws)
    before = aws.item()
    report = reconcile(RESOURCES, OVERDUE)
    both = (second.version_id, first.version_id)
    assert report.findings == [Finding(Action.REMOVE, IMAGE_ID, key, both[0], text(second.modified), "", both)]
    assert (report.gap, report.superseded, aws.started()) == (0, 2, {})
    assert (left_in_input(aws), aws.item()) == ([], before)
    assert reconcile(RESOURCES, OVERDUE) == Report()


def test_of_an_erased_image_nothing_is_removed_in_a_dry_run_or_when_it_is_an_image_of_its_own(aws: Cloud) -> None:
    own, other = stored(aws), stored(aws)
    erased(aws)
    hashed = image_ids.hashed_image_id(KEY, own.version_id)
    record(aws, "failed", own.version_id, image_id=hashed)
    reconcile(RESOURCES, OVERDUE, dry_run=True)
    assert left_in_input(aws) == [other.version_id, own.version_id]
    found = {finding.image_id: finding.action for finding in reconcile(RESOURCES, OVERDUE).findings}
    assert found == {hashed: Action.LEAVE, IMAGE_ID: Action.REMOVE}
    assert left_in_input(aws) == [own.version_id]


def test_under_a_key_that_its_uploader_chose_nothing_of_an_erased_image_is_removed(aws: Cloud) -> None:
    version = stored(aws, "input/anna.jpg")
    erased(aws, image_ids.hashed_image_id(version.key, version.version_id))
    assert [finding.action for finding in reconcile(RESOURCES, OVERDUE).findings] == [Action.ERASED]
    assert left_in_input(aws) == [version.version_id]


def test_later_uploads_of_a_backfills_key_are_removed_too(aws: Cloud) -> None:
    stored(aws, f"input/backfill/{IMAGE_ID}.jpg")
    record(aws, "completed", version="the copy")
    assert reconcile(RESOURCES, OVERDUE).superseded == 1


@pytest.mark.parametrize("now", [("processing", GONE), ("completed", "another one"), None])
def test_what_the_record_no_longer_says_is_not_removed(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, now: tuple[str, str] | None
) -> None:
    """The record is erased, expires, or is written by a person between the reading and the removal."""
    stored(aws)
    record(aws, "completed", version=GONE)
    read = detection_logs.find_many(TABLE, [IMAGE_ID])
    aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": IMAGE_ID}})
    if now:
        record(aws, *now)
    monkeypatch.setattr(detection_logs, "find_many", lambda _, ids: read if IMAGE_ID in ids else {})
    report = reconcile(RESOURCES, OVERDUE)
    assert ([finding.action for finding in report.findings], report.superseded) == ([Action.SUPERSEDE], 0)
    assert len(left_in_input(aws)) == 1


@pytest.mark.parametrize("code", ["AccessDenied", "InternalError"])
def test_versions_that_cannot_be_removed_fail_the_run_and_stop_nothing(aws: Cloud, code: str) -> None:
    stored(aws)
    record(aws, "completed", version="the one that was filed")
    stored(aws, f"input/{'f' * 32}.jpg")
    with refusal(client("s3"), "DeleteObjects", code):
        report = reconcile(RESOURCES, OVERDUE)
    assert (report.superseded, report.started, isinstance(report.error, PetDetectorError)) == (0, 1, True)
    assert reconcile(RESOURCES, OVERDUE).superseded == 1


def test_a_record_of_a_person_without_times_stops_no_run(aws: Cloud) -> None:
    stored(aws)
    aws.write(ProcessingStatus="processing")
    held = stored(aws, f"input/{'1' * 32}.jpg")
    aws.write("1" * 32, ProcessingStatus="held", SourceVersion=held.version_id)
    found = {finding.image_id: finding.action for finding in reconcile(RESOURCES, OVERDUE).findings}
    assert found == {IMAGE_ID: Action.START, "1" * 32: Action.RELEASE}


def test_an_object_that_did_not_come_through_the_api_is_named_by_key_and_version(aws: Cloud) -> None:
    version = stored(aws, "input/tom's cat.jpg")
    image_id = image_ids.hashed_image_id(version.key, version.version_id)
    reconcile(RESOURCES, OVERDUE)
    assert aws.started() == {name_of(image_id): input_of(version, image_id)}


def test_only_uploads_older_than_asked_should_be_finished(aws: Cloud) -> None:
    age = NOON - stored(aws).modified
    assert reconcile(RESOURCES, age + timedelta(milliseconds=1)).findings == []
    assert reconcile(RESOURCES, age).started == 1


def test_what_is_finished_is_no_finding(aws: Cloud) -> None:
    record(aws, "completed")
    record(aws, "failed", image_id="1" * 32)
    record(aws, "processing", image_id="2" * 32, ClaimedAt=ago(minutes=119))
    aws.put(f"cats/{IMAGE_ID}.jpg", b"x")
    assert reconcile(RESOURCES, OVERDUE) == Report()


# --- Records whose object is gone -------------------------------------------------------------------------------------


def test_an_expired_record_without_an_object_is_closed_and_notified_once(aws: Cloud, logs: io.StringIO) -> None:
    record(aws, "processing")
    report = reconcile(RESOURCES, OVERDUE)
    assert report.findings == [Finding(Action.CLOSE, IMAGE_ID, KEY, "", "")]
    assert (report.started, report.closed, report.gap) == (0, 1, 1)
    closed = detection_logs.find(TABLE, IMAGE_ID)
    assert closed is not None
    assert (closed["ProcessingStatus"], closed["Error"]["Error"]) == ("failed", "ExecutionLost")
    (notice,) = aws.notices()
    assert closed["Error"]["Cause"] in notice["Message"]
    assert EXECUTION in notice["Message"]
    assert notice["MessageAttributes"]["CorrelationID"]["Value"] == CORRELATION
    assert "Record closed" in logs.getvalue()
    assert reconcile(RESOURCES, OVERDUE) == Report()
    assert aws.notices() == []


@pytest.mark.parametrize(("turn", "closed"), [(ago(hours=-2), 0), (ago(hours=2), 0), (ago(hours=2, milliseconds=1), 1)])
def test_the_record_of_an_image_that_waits_is_not_closed(aws: Cloud, turn: str, closed: int) -> None:
    record(aws, "processing", TurnAt=turn)
    report = reconcile(RESOURCES, OVERDUE)
    assert (report.closed, report.gap) == (closed, closed)


def test_an_expired_record_whose_object_is_there_is_started_and_not_closed(aws: Cloud) -> None:
    version = stored(aws)
    record(aws, "processing", version=version.version_id)
    report = reconcile(RESOURCES, OVERDUE)
    assert [finding.action for finding in report.findings] == [Action.START]
    assert report.closed == 0


@pytest.mark.parametrize("has_object", [True, False])
def test_an_execution_that_runs_on_keeps_its_image(aws: Cloud, has_object: bool) -> None:
    """Lambda may throttle its functions for hours: then its claim has expired, and nothing is wrong with it."""
    started = aws.states.start_execution(stateMachineArn=WORKFLOW, name="throttled")["executionArn"]
    version = stored(aws).version_id if has_object else "gone"
    record(aws, "processing", version=version, ExecutionArn=started)
    before = aws.item()
    report = reconcile(RESOURCES, OVERDUE)
    assert (report.started, report.closed, report.gap) == (0, 0, 1)
    assert (list(aws.started()), aws.notices(), aws.item()) == (["throttled"], [], before)
    aws.states.stop_execution(executionArn=started)
    report = reconcile(RESOURCES, OVERDUE)
    assert (report.started, report.closed) == (int(has_object), int(not has_object))


def test_an_expired_record_is_closed_though_a_newer_upload_has_its_key(aws: Cloud) -> None:
    stored(aws)
    record(aws, "processing", version="an older one")
    report = reconcile(RESOURCES, OVERDUE)
    assert [(finding.action, finding.image_id) for finding in report.findings] == [(Action.CLOSE, IMAGE_ID)]
    assert (report.started, report.closed) == (0, 1)
    assert [finding.action for finding in reconcile(RESOURCES, OVERDUE).findings] == [Action.LEAVE]


@pytest.mark.parametrize("code", ["Throttled", "InternalError"])
def test_a_notice_that_sns_refused_is_sent_by_the_next_run(aws: Cloud, code: str) -> None:
    record(aws, "processing")
    with refusal(client("sns"), "Publish", code):
        report = reconcile(RESOURCES, OVERDUE)
    assert (report.closed, isinstance(report.error, PetDetectorError)) == (0, True)
    assert reconcile(RESOURCES, OVERDUE).closed == 1
    assert len(aws.notices()) == 1


def test_a_run_that_ended_between_notice_and_record_is_finished_by_the_next_one(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(aws, "processing")

    def crash(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(detection_logs, "record_failure", crash)
        with pytest.raises(KeyboardInterrupt):
            reconcile(RESOURCES, OVERDUE)
    assert reconcile(RESOURCES, OVERDUE).closed == 1
    assert aws.item()["ProcessingStatus"]["S"] == "failed"
    assert len(aws.notices()) == 1


@pytest.mark.parametrize("status", [None, "completed", "failed"])
def test_a_record_that_was_finished_since_the_index_was_read_is_not_closed(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    if status:
        record(aws, status)
    before = aws.item()
    monkeypatch.setattr(detection_logs, "expired_claims", lambda *_: [{"ImageID": IMAGE_ID, "SourceKey": KEY}])
    report = reconcile(RESOURCES, OVERDUE)
    assert (report.gap, report.closed) == (1, 0)
    assert aws.item() == before
    assert aws.notices() == []


# --- However often it runs --------------------------------------------------------------------------------------------


def test_a_dry_run_finds_the_same_and_does_nothing(aws: Cloud) -> None:
    stored(aws)
    held = stored(aws, f"input/{'1' * 32}.jpg")
    record(aws, "held", held.version_id, image_id="1" * 32, UpdatedAt=ago(days=1))
    record(aws, "processing", image_id="2" * 32)
    before = aws.item("2" * 32)
    dry = reconcile(RESOURCES, OVERDUE, dry_run=True)
    assert {finding.action for finding in dry.findings} == {Action.START, Action.RELEASE, Action.CLOSE}
    assert (dry.gap, dry.started, dry.closed) == (2, 0, 0)
    assert (aws.started(), aws.notices(), aws.item("2" * 32)) == ({}, [], before)
    wet = reconcile(RESOURCES, OVERDUE)
    assert wet.findings == dry.findings
    assert (wet.started, wet.closed) == (2, 1)


def test_two_runs_within_an_hour_start_an_image_once(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(aws)
    reconcile(RESOURCES, OVERDUE)
    at(monkeypatch, NOON + timedelta(minutes=29))
    reconcile(RESOURCES, OVERDUE)
    (execution,) = aws.states.list_executions(stateMachineArn=WORKFLOW)["executions"]
    aws.states.stop_execution(executionArn=execution["executionArn"])
    assert reconcile(RESOURCES, OVERDUE).started == 0
    assert list(aws.started()) == [name_of()]
    at(monkeypatch, NOON + timedelta(minutes=30))
    assert reconcile(RESOURCES, OVERDUE).started == 1
    assert set(aws.started()) == {name_of(), name_of(hour=NOON + timedelta(hours=1))}


def test_a_run_starts_no_more_than_its_share_and_still_counts_the_rest(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconciler.MAX_STARTS == 1000
    monkeypatch.setattr(reconciler, "MAX_STARTS", 2)
    for digit in "123":
        stored(aws, f"input/{digit * 32}.jpg")
    record(aws, "processing", image_id="4" * 32)
    report = reconcile(RESOURCES, OVERDUE)
    assert (report.gap, report.started, report.closed) == (4, 2, 1)
    assert set(aws.started()) == {name_of("1" * 32), name_of("2" * 32)}
    for digit in "12":  # their executions claimed them
        record(aws, "processing", image_id=digit * 32, ClaimedAt=ago(minutes=1))
    assert reconcile(RESOURCES, OVERDUE).started == 1
    assert len(aws.started()) == 3


def test_a_run_closes_no_more_than_it_has_time_for(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reconciler.MAX_CLOSES == 200
    monkeypatch.setattr(reconciler, "MAX_CLOSES", 2)
    for digit in "123":
        record(aws, "processing", image_id=digit * 32)
    assert [(run.gap, run.closed) for run in (reconcile(RESOURCES, OVERDUE), reconcile(RESOURCES, OVERDUE))] == [
        (3, 2),
        (1, 1),
    ]


def test_a_run_tries_no_more_starts_than_it_has_time_for(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "MAX_STARTS", 2)
    for digit in "123":
        stored(aws, f"input/{digit * 32}.jpg")
    with refusal(client("stepfunctions"), "StartExecution", "AccessDeniedException") as fault:
        assert reconcile(RESOURCES, OVERDUE).gap == 3
    assert fault.happened == 2


def test_what_was_done_before_a_failure_stays_done(aws: Cloud) -> None:
    stored(aws)
    record(aws, "processing", image_id="1" * 32)
    with refusal(client("dynamodb"), "Query", "ThrottlingException"), pytest.raises(ThrottledError):
        reconcile(RESOURCES, OVERDUE)
    assert list(aws.started()) == [name_of()]


def test_what_cannot_be_started_does_not_keep_the_rest_from_its_end(aws: Cloud) -> None:
    stored(aws)
    record(aws, "processing", image_id="1" * 32)
    with refusal(client("stepfunctions"), "StartExecution", "AccessDeniedException"):
        report = reconcile(RESOURCES, OVERDUE)
    assert (report.gap, report.started, report.closed) == (2, 0, 1)
    assert isinstance(report.error, AccessDeniedError)


def test_an_object_that_is_too_young_to_be_overdue_keeps_its_record_open(aws: Cloud) -> None:
    stored(aws)
    record(aws, "processing")
    assert reconcile(RESOURCES, timedelta(days=3)).findings == []
    assert aws.item()["ProcessingStatus"]["S"] == "processing"


def test_an_object_that_is_too_young_keeps_the_record_of_its_own_version_open(aws: Cloud) -> None:
    version = stored(aws)
    hashed = image_ids.hashed_image_id(KEY, version.version_id)
    record(aws, "completed", version="an older one")
    record(aws, "processing", version=version.version_id, image_id=hashed)
    assert reconcile(RESOURCES, timedelta(days=3)).findings == []
    assert aws.item(hashed)["ProcessingStatus"]["S"] == "processing"


def test_what_was_claimed_again_since_the_listing_is_not_closed(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    record(aws, "processing")
    listed = list(detection_logs.expired_claims(TABLE, "9"))
    record(aws, "processing", ClaimedAt=ago(minutes=1))
    monkeypatch.setattr(detection_logs, "expired_claims", lambda *_: iter(listed))
    assert reconcile(RESOURCES, OVERDUE).closed == 0
    assert aws.item()["ProcessingStatus"]["S"] == "processing"
    assert aws.notices() == []


# --- A burst ----------------------------------------------------------------------------------------------------------


class Burst:
    """Objects that came hours ago, and their records; `calls` counts what is asked of AWS.

    Whatever is started claims its image, and its turn is hours away.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, **record: Any) -> None:
        came = NOON - timedelta(hours=20)
        versions = [InputVersion(f"input/{number:032x}.jpg", "v1", came) for number in range(count)]
        monkeypatch.setattr(image_versions, "input_versions", lambda *_: iter(versions))
        common = {"SourceVersion": "v1", "ClaimedAt": ago(hours=20), "UpdatedAt": ago(hours=20)} | record
        self.records = {f"{number:032x}": dict(common) for number in range(count)} if record else {}
        self.calls: Counter[str] = Counter()
        for service, called in ((client("dynamodb"), "dynamodb"), (client("stepfunctions"), "sfn")):
            events: Any = service.meta.events
            events.register(f"before-call.{called}", self._answer)

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, dict[str, Any]]:
        self.calls[model.name] += 1
        body = json.loads(params["body"])
        answers = {"BatchGetItem": self._read, "Query": lambda _: {"Items": []}, "StartExecution": self._claim}
        return SimpleNamespace(status_code=200), answers[model.name](body)

    def _read(self, body: dict[str, Any]) -> dict[str, Any]:
        keys = [key["ImageID"]["S"] for key in body["RequestItems"][TABLE]["Keys"]]
        found = [{"ImageID": image_id} | self.records[image_id] for image_id in keys if image_id in self.records]
        return {"Responses": {TABLE: [{name: {"S": value} for name, value in item.items()} for item in found]}}

    def _claim(self, body: dict[str, Any]) -> dict[str, Any]:
        image_id = json.loads(body["input"])["imageId"]
        times = {"ClaimedAt": ago(), "UpdatedAt": ago(), "TurnAt": ago(hours=-9)}
        self.records[image_id] = {"SourceVersion": "v1", "ProcessingStatus": "processing"} | times
        return {"executionArn": EXECUTION, "startDate": NOON}


@pytest.mark.parametrize(
    ("status", "more", "waiting"),
    [("processing", {"TurnAt": ago(hours=-2)}, 10_000), ("failed", {}, 0), ("held", {"UpdatedAt": ago(hours=1)}, 0)],
)
def test_10_000_images_that_wait_are_read_in_a_hundred_calls_and_no_gap(
    monkeypatch: pytest.MonkeyPatch, status: str, more: dict[str, str], waiting: int
) -> None:
    burst = Burst(monkeypatch, 10_000, ProcessingStatus=status, **more)
    report = reconcile(RESOURCES, OVERDUE)
    assert burst.calls == {"BatchGetItem": 100, "Query": image_ids.SHARDS}
    assert (report.waiting, report.gap, report.started, report.closed) == (waiting, 0, 0, 0)
    assert {finding.action for finding in report.findings} == (set() if waiting else {Action.LEAVE})


def test_many_lost_events_are_all_counted_and_started_run_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "MAX_STARTS", 100)
    burst = Burst(monkeypatch, 1_000)
    assert [reconcile(RESOURCES, OVERDUE).gap for _ in range(11)] == [*range(1_000, -1, -100)]
    assert burst.calls == {"BatchGetItem": 11 * 10, "Query": 11 * image_ids.SHARDS, "StartExecution": 1_000}


def test_many_held_images_are_released_run_by_run_and_wait_for_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "MAX_RELEASES", 100)
    burst = Burst(monkeypatch, 1_000, ProcessingStatus="held")
    for run in range(12):
        at(monkeypatch, NOON + run * timedelta(minutes=15))
        report = reconcile(RESOURCES, OVERDUE)
        assert (report.started, report.waiting) == (100 if run < 10 else 0, min(run, 10) * 100)
        assert report.gap == 0
    assert burst.calls["StartExecution"] == 1_000


# --- A form that is posted very often ---------------------------------------------------------------------------------


class Flood:
    """A bucket with very many versions of some keys, answered page by page as S3 does; `pages` counts them.

    `inclusive`: like some that speak S3's language, it begins with the key of the marker and not behind it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, versions: dict[str, int], *, inclusive: bool = False) -> None:
        self.versions = {key: [f"v{number}" for number in range(count, 0, -1)] for key, count in versions.items()}
        self.inclusive = inclusive
        self.pages = 0
        service = client("s3")
        monkeypatch.setattr(service, "list_object_versions", self._page)
        monkeypatch.setattr(service, "delete_objects", self._delete)

    def _page(self, Bucket: str, Prefix: str, KeyMarker: str = "", VersionIdMarker: str = "") -> dict[str, Any]:
        assert (Bucket, Prefix) == (BUCKET, "input/")
        self.pages += 1
        every = [(key, version) for key in sorted(self.versions) for version in self.versions[key]]
        if VersionIdMarker:
            rest = every[every.index((KeyMarker, VersionIdMarker)) + 1 :]
        else:
            rest = [found for found in every if found[0] > KeyMarker or (self.inclusive and found[0] == KeyMarker)]
        page = rest[:1000]
        more = {"NextKeyMarker": page[-1][0], "NextVersionIdMarker": page[-1][1]} if len(rest) > 1000 else {}
        came = NOON - timedelta(hours=1)
        listed = [{"Key": key, "VersionId": version, "LastModified": came} for key, version in page]
        return {"Versions": listed, "IsTruncated": bool(more), **more}

    def _delete(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        assert len(Delete["Objects"]) <= 1000, "S3 takes no more in one call"
        for found in Delete["Objects"]:
            self.versions[found["Key"]].remove(found["VersionId"])
        return {}


def key_of(number: int) -> str:
    return f"input/{number:032x}.jpg"


@pytest.mark.parametrize("inclusive", [False, True])
def test_one_form_and_1200_posts_make_one_image_and_keep_nobody_waiting(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, inclusive: bool
) -> None:
    flood = Flood(monkeypatch, {key_of(1): 1_200, key_of(2): 1}, inclusive=inclusive)
    flood.versions[key_of(1)].remove("v1")  # the first one was filed
    record(aws, "completed", "v1", image_id=f"{1:032x}")
    runs = [reconcile(RESOURCES, OVERDUE) for _ in range(3)]
    assert [run.superseded for run in runs] == [1000, 199, 0]
    assert runs[0].started == 1, "the honest upload behind it"
    assert [len(aws.started()), superseded(aws, f"{1:032x}")] == [1, 1_199]
    assert (flood.versions[key_of(1)], flood.pages) == ([], 2 + 1 + 1)


@pytest.mark.parametrize(("number", "pages"), [(1_000, 2), (1_001, 2), (50_000, 2)])
def test_a_key_with_very_many_versions_costs_a_page(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, number: int, pages: int
) -> None:
    flood = Flood(monkeypatch, {key_of(1): number, key_of(2): 1, "input/zz.jpg": 1})
    record(aws, "failed", "v1", image_id=f"{1:032x}")
    assert reconcile(RESOURCES, OVERDUE).started == 2
    assert flood.pages == pages


def test_a_key_whose_versions_begin_in_the_middle_of_a_page_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 deletes no more than 1,000 with one call."""
    Flood(monkeypatch, {key_of(0): 300, key_of(1): 1_200, key_of(2): 5})
    found = Counter(version.key for version in image_versions.input_versions(BUCKET))
    assert found == {key_of(0): 300, key_of(1): 1_000, key_of(2): 5}


def test_all_versions_of_a_key_without_an_id_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = Flood(monkeypatch, {"input/latest.jpg": 2_500, key_of(2): 1_000})
    found = Counter(version.key for version in image_versions.input_versions(BUCKET))
    assert (found, flood.pages) == ({"input/latest.jpg": 2_500, key_of(2): 1_000}, 4)


@pytest.mark.parametrize(
    ("status", "more", "action"),
    [
        ("held", {"UpdatedAt": ago(days=1)}, Action.RELEASE),
        ("processing", {}, Action.START),
        ("processing", {"ClaimedAt": ago(minutes=1)}, None),
        ("processing", {"TurnAt": ago(hours=-1)}, None),
        ("held", {}, None),
    ],
)
def test_an_image_behind_1000_later_uploads_is_taken_up_by_what_its_record_says(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, status: str, more: dict[str, Any], action: Action | None
) -> None:
    Flood(monkeypatch, {key_of(1): 1_200})
    record(aws, status, "v1", image_id=f"{1:032x}", SourceKey=key_of(1), **more)
    report = reconcile(RESOURCES, OVERDUE)
    assert [finding.action for finding in report.findings] == ([action] if action else [])
    versions = [started["detail"]["object"]["version-id"] for started in aws.started().values()]
    assert versions == (["v1"] if action else [])


def test_a_run_whose_time_is_over_says_where_it_stopped_and_the_next_begins_there(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = Flood(monkeypatch, {key_of(number): 1_100 for number in range(5)} | {key_of(9): 1})
    for number in range(5):
        record(aws, "completed", "filed", image_id=f"{number:032x}")
    record(aws, "processing", image_id="7" * 32, SourceKey=f"input/{'7' * 32}.jpg")  # nothing lies there
    clock = iter(range(1_000))
    monkeypatch.setattr(reconciler, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    first = reconcile(RESOURCES, OVERDUE, seconds=2.5)
    assert (first.stopped_at, first.superseded, first.started) == (key_of(2), 3_000, 0)
    assert first.closed == 0, "where it did not look there may be an object"
    second = reconcile(RESOURCES, OVERDUE, begin_after=first.stopped_at, seconds=60)
    assert (second.stopped_at, second.superseded, second.started, second.closed) == ("", 2_000, 1, 1)
    assert [len(flood.versions[key_of(number)]) for number in range(5)] == [100] * 5


def test_the_function_begins_where_the_last_run_stopped(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, float]] = []
    stops = iter([key_of(5), key_of(8), "", ""])

    def run(*_: Any, begin_after: str, seconds: float) -> Report:
        begun.append((begin_after, seconds))
        return Report(stopped_at=next(stops))

    monkeypatch.setattr(reconciler, "reconcile", run)
    for _ in range(4):
        lambda_handler({}, context)
    assert begun == [("", 200.0), (key_of(5), 200.0), (key_of(8), 200.0), ("", 200.0)]


def test_held_images_do_not_keep_back_what_was_lost(monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> None:
    monkeypatch.setattr(reconciler, "MAX_RELEASES", 1)
    monkeypatch.setattr(reconciler, "MAX_STARTS", 1)
    for digit in "123":
        held = stored(aws, f"input/{digit * 32}.jpg")
        record(aws, "held", held.version_id, image_id=digit * 32, UpdatedAt=ago(days=1))
    stored(aws, f"input/{'f' * 32}.jpg")
    assert reconcile(RESOURCES, OVERDUE).started == 2
    assert set(aws.started()) == {name_of("1" * 32), name_of("f" * 32)}


def test_many_held_images_of_one_owner_keep_back_no_other_owners(monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> None:
    monkeypatch.setattr(reconciler, "MAX_RELEASES", 4)
    for digit, owner in zip("1234567", ("a", "a", "a", "a", "a", "b", "c"), strict=True):
        held = stored(aws, f"input/{digit * 32}.jpg")
        record(aws, "held", held.version_id, image_id=digit * 32, UpdatedAt=ago(days=1), UploadedBy=owner)
    assert reconcile(RESOURCES, OVERDUE).started == 4
    assert set(aws.started()) == {name_of(digit * 32) for digit in "1672"}


# --- The function -----------------------------------------------------------------------------------------------------


def test_the_function_publishes_the_gap_and_logs_what_it_did(
    aws: Cloud, context: LambdaContext, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(aws)
    stored(aws, f"input/{'1' * 32}.jpg")
    record(aws, "failed", image_id="1" * 32)
    record(aws, "processing", image_id="2" * 32)
    assert lambda_handler({}, context) == {"gap": 2, "started": 1, "closed": 1}
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["ReconcileGap"] for document in documents if "ReconcileGap" in document] == [[2]]
    line = json.loads(logs.getvalue().splitlines()[-1])
    assert (line["message"], line["gap"], line["started"], line["closed"]) == ("Reconciled", 2, 1, 1)


def test_a_run_that_could_not_start_everything_publishes_the_gap_and_fails(
    aws: Cloud, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(aws)
    with (
        refusal(client("stepfunctions"), "StartExecution", "AccessDeniedException"),
        pytest.raises(AccessDeniedError),
    ):
        lambda_handler({}, context)
    assert json.loads(capsys.readouterr().out)["ReconcileGap"] == [1]


def test_a_gap_of_nothing_is_published_too(
    aws: Cloud, context: LambdaContext, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(aws)
    monkeypatch.setenv("OVERDUE_MINUTES", "3000")
    assert lambda_handler({}, context) == {"gap": 0, "started": 0, "closed": 0}
    assert json.loads(capsys.readouterr().out)["ReconcileGap"] == [0]


# --- The digest of withheld notices -----------------------------------------------------------------------------------


def test_a_run_sends_the_digest(aws: Cloud, context: LambdaContext) -> None:
    aws.withhold("ImageProcessingFailed", 1)
    lambda_handler({}, context)
    lambda_handler({}, context)
    (notice,) = aws.notices()
    assert notice["Subject"] == "[dev] 1 image failed"


def test_a_run_whose_digest_is_refused_fails_and_has_done_everything_else(aws: Cloud, context: LambdaContext) -> None:
    aws.withhold("ImageUncertain", 7)
    record(aws, "processing", ClaimedAt=ago(hours=3))
    stored(aws)
    with refusal(client("sns"), "Publish", "Throttled"), pytest.raises(ThrottledError):
        lambda_handler({}, context)
    assert aws.started().keys() == {name_of()}


def test_a_run_that_cannot_list_uploads_sends_the_digest(aws: Cloud, context: LambdaContext) -> None:
    aws.withhold("ImageUncertain", 1)
    with refusal(client("s3"), "ListObjectVersions", "AccessDenied"), pytest.raises(AccessDeniedError):
        lambda_handler({}, context)
    (notice,) = aws.notices()
    assert notice["Subject"] == "[dev] 1 image needs review"
