"""What the workflow writes to DetectionLogs: whole records, under the names that the mission fixes, and when it may."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pet_detector.aws import detection_logs
from pet_detector.aws.detection_logs import CLAIM_SECONDS, format_time
from tests.support.handler_runs import new_function

from .answers import ANALYSES, ORIGINAL_LOCATION, REJECTIONS
from .cases import CASES, FOREIGN_KEY
from .detection_logs import DetectionLogs
from .executions import IMAGE_ID, KEY, RETENTION_DAYS, SHARD, TABLE, VERSION_ID, Run, definition

DYNAMODB_TASKS = {n for n, s in definition()["States"].items() if ":dynamodb:" in s.get("Resource", "")}

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def replay(table: DetectionLogs, run: Run) -> dict[str, Any]:
    """The record after all that an execution wrote, its moments checked and left out."""
    record: dict[str, Any] | None = None
    for state in run.path:
        if state in DYNAMODB_TASKS:
            record = table.update(run.arguments[state])
            assert record is not None, f"{state} was refused"
    assert record is not None
    moments = {"ClaimedAt", "ReceivedAt", "UpdatedAt", "CreatedAt", "Timestamp"} & record.keys()
    assert all(MOMENT.fullmatch(record.pop(name)) for name in moments)
    return record


def claim_of(run: Run) -> dict[str, Any]:
    """What every record holds from its claim on, but for the moments."""
    now = datetime.fromisoformat(values(run, "Claim Upload")[":now"]["S"])
    return {
        "ImageID": IMAGE_ID,
        "Shard": SHARD,
        "ExecutionArn": run.recording,
        "Executions": {run.recording},
        "CorrelationId": name_of(run),
        "SourceKey": KEY,
        "SourceVersion": VERSION_ID,
        "OriginalFilename": f"{IMAGE_ID}.jpg",
        "UploadedBy": "s3",
        "OwnerShard": f"s3#{SHARD}",
        "ListedAt": f"{values(run, 'Claim Upload')[':now']['S']}#{IMAGE_ID}",
        "ExpiresAt": int((now + timedelta(days=RETENTION_DAYS)).timestamp()),
    }


def name_of(run: Run) -> str:
    """The execution's name: what an input without an id of its own is traced by."""
    return run.recording.rpartition(":")[2]


def values(run: Run, state: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = run.arguments[state]["ExpressionAttributeValues"]
    return found


def decimal(number: float) -> Decimal:
    return Decimal(str(number))


def facts_of(analysis: dict[str, Any], status: str, location: str) -> dict[str, Any]:
    return {
        "ProcessingStatus": status,
        "StatusShard": f"{status}#{SHARD}",
        "S3Location": f"s3://images/{location}",
        "SourceVersion": analysis["versionId"],
        "FileSize": analysis["fileSize"],
        "ImageFormat": analysis["imageFormat"],
        "ContentHash": analysis["contentHash"],
        "Reason": analysis["reason"],
    }


# --- Whole records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "status", "location"),
    [
        ("Cat", "completed", f"cats/{IMAGE_ID}.jpg"),
        ("Dog", "completed", f"dogs/{IMAGE_ID}.png"),
        ("Other", "completed", f"others/{IMAGE_ID}.jpg"),
        ("Uncertain", "needs_review", f"others/{IMAGE_ID}.jpg"),
        ("Reused", "completed", f"cats/{IMAGE_ID}.jpg"),
    ],
)
def test_record_of_a_classified_image_is_whole(
    runs: dict[str, Run], table: DetectionLogs, case: str, status: str, location: str
) -> None:
    analysis = ANALYSES["cat" if case == "Reused" else case.lower()]

    assert replay(table, runs[case]) == {
        **claim_of(runs[case]),
        **facts_of(analysis, status, location),
        "DetectedAnimal": analysis["animal"],
        "AnimalShard": f"{analysis['animal']}#{SHARD}",
        "ConfidenceScore": decimal(analysis["confidence"]),
        "Certain": analysis["certain"],
        "Scores": {animal: decimal(score) for animal, score in analysis["scores"].items()},
        "Labels": [{"Name": la["name"], "Confidence": decimal(la["confidence"])} for la in analysis["labels"]],
        "PolicyVersion": analysis["policyVersion"],
        "ModelVersion": analysis["modelVersion"],
        "AnalysisReused": case == "Reused",
    }


def test_record_of_an_image_that_was_found_safe_says_by_which_model(runs: dict[str, Run], table: DetectionLogs) -> None:
    assert replay(table, runs["FoundSafe"])["ModerationVersion"] == "7.0"


@pytest.mark.parametrize(("case", "kept"), [("Converted", ""), ("ConvertedAndKept", ORIGINAL_LOCATION)])
def test_record_of_a_converted_image_says_what_was_uploaded(
    runs: dict[str, Run], table: DetectionLogs, case: str, kept: str
) -> None:
    record = replay(table, runs[case])
    upload = {"SourceKey": KEY, "SourceVersion": VERSION_ID, "ImageFormat": "heic"}
    assert upload.items() <= record.items()
    assert (record["ConvertedHash"], record.get("OriginalLocation", "")) == ("c" * 64, kept)
    assert record["ContentHash"] == ANALYSES["cat"]["contentHash"]
    assert record["S3Location"] == f"s3://images/cats/{IMAGE_ID}.jpg"


def test_record_of_what_cannot_be_decoded_has_its_reason(runs: dict[str, Run], table: DetectionLogs) -> None:
    record = replay(table, runs["NotConverted"])
    assert (record["ProcessingStatus"], record["ReasonCode"], record["ImageFormat"]) == ("rejected", "DAMAGED", "heic")
    assert "ConvertedHash" not in record


@pytest.mark.parametrize("reason", REJECTIONS)
def test_record_of_a_rejected_image_has_its_reason_and_no_animal(
    runs: dict[str, Run], table: DetectionLogs, reason: str
) -> None:
    analysis = ANALYSES[reason]

    assert replay(table, runs[f"Rejected{reason}"]) == {
        **claim_of(runs[f"Rejected{reason}"]),
        **facts_of(analysis, "rejected", f"rejected/{IMAGE_ID}.bin"),
        "ReasonCode": analysis["reasonCode"],
    }


def test_record_of_a_held_image_waits(runs: dict[str, Run], table: DetectionLogs) -> None:
    assert replay(table, runs["Held"]) == {
        **claim_of(runs["Held"]),
        "ProcessingStatus": "held",
        "StatusShard": f"held#{SHARD}",
    }


def test_record_of_an_image_that_waited_says_when_its_turn_was(runs: dict[str, Run], table: DetectionLogs) -> None:
    run, turn = runs["Waiting"], "2026-11-21T09:30:00.000Z"
    assert table.update(run.arguments["Claim Upload"])
    table.change(TurnAt=turn)  # by ImageProcessor

    record = table.update(run.arguments["Log Detection"])

    assert record is not None
    assert (record["ProcessingStatus"], record["TurnAt"]) == ("completed", turn)


def test_record_of_an_uncertain_image_is_not_final_when_its_reviewers_cannot_be_notified(
    runs: dict[str, Run], table: DetectionLogs
) -> None:
    run = runs["NotifyReviewersUnknownError"]
    before = replay(table, run)

    sent = run.arguments["Record Failure"]["Payload"]["detail"]
    with new_function():
        failed = detection_logs.record_failure(
            TABLE, IMAGE_ID, execution_arn=sent["executionArn"], key=KEY, version_id=VERSION_ID, error=sent["error"],
            cause=sent["cause"], expires_at=4_000_000_000,
        )  # fmt: skip

    assert before["ProcessingStatus"] == "processing"
    assert failed
    assert table.record()["ProcessingStatus"] == "failed"


@pytest.mark.parametrize("case", CASES)
def test_dynamodb_is_sent_no_value_that_is_undefined_or_of_a_wrong_type(runs: dict[str, Run], case: str) -> None:
    for state in DYNAMODB_TASKS & runs[case].arguments.keys():
        arguments = runs[case].arguments[state]
        assert arguments["TableName"] == TABLE
        for value in [*arguments["Key"].values(), *arguments["ExpressionAttributeValues"].values()]:
            check_attribute(value)


def check_attribute(value: Any) -> None:
    assert isinstance(value, dict)
    ((kind, content),) = value.items()
    types = {"S": "str", "N": "str", "BOOL": "bool", "M": "dict", "L": "list", "SS": "list"}
    assert type(content).__name__ == types[kind], value
    if kind == "N":
        assert Decimal(content).is_finite()
    if kind == "SS":
        assert content
        assert all(isinstance(text, str) for text in content)
    parts: Iterable[Any] = content.values() if kind == "M" else content if kind == "L" else ()
    for part in parts:
        check_attribute(part)


@pytest.mark.parametrize("case", CASES)
def test_dynamodb_expressions_use_exactly_the_names_and_values_that_they_define(
    runs: dict[str, Run], case: str
) -> None:
    for state in DYNAMODB_TASKS & runs[case].arguments.keys():
        arguments = runs[case].arguments[state]
        used = set(re.findall(r"[:#]\w+", f"{arguments['UpdateExpression']} {arguments['ConditionExpression']}"))
        defined = {*arguments.get("ExpressionAttributeNames", {}), *arguments["ExpressionAttributeValues"]}
        assert used == defined, state


# --- Who may write, and when ------------------------------------------------------------------------------------------


def test_second_execution_cannot_claim_what_the_first_is_processing(runs: dict[str, Run], table: DetectionLogs) -> None:
    assert table.update(runs["Cat"].arguments["Claim Upload"])

    assert table.update(runs["Dog"].arguments["Claim Upload"]) is None


def test_owner_whose_answer_was_lost_claims_again(runs: dict[str, Run], table: DetectionLogs) -> None:
    assert table.update(runs["Cat"].arguments["Claim Upload"]) == table.update(runs["Cat"].arguments["Claim Upload"])


@pytest.mark.parametrize("known", [VERSION_ID, "newest"])
def test_claim_of_the_same_version_that_has_expired_is_taken_over(
    runs: dict[str, Run], table: DetectionLogs, known: str
) -> None:
    claim = runs["Cat"].arguments["Claim Upload"]
    now = datetime.fromisoformat(values(runs["Cat"], "Claim Upload")[":now"]["S"])
    seconds = timedelta(seconds=CLAIM_SECONDS)
    valid, expired = (format_time(now - seconds - timedelta(milliseconds=late)) for late in (0, 1))

    table.change(ProcessingStatus="processing", ExecutionArn="another", ClaimedAt=valid, SourceVersion=known)
    assert table.update(claim) is None
    table.change(ClaimedAt=expired, SourceVersion="another")
    assert table.update(claim) is None
    table.change(SourceVersion=known)
    taken = table.update(claim)

    assert taken is not None
    assert taken["ExecutionArn"] == runs["Cat"].recording


def test_claim_of_an_image_that_waits_for_its_turn_expires_two_hours_after_the_turn(
    runs: dict[str, Run], table: DetectionLogs
) -> None:
    claim = runs["Cat"].arguments["Claim Upload"]
    now = datetime.fromisoformat(values(runs["Cat"], "Claim Upload")[":now"]["S"])
    tomorrow, *late = (format_time(now + by) for by in (timedelta(days=1), *_AROUND_THE_END_OF_A_CLAIM))
    claimed = {"ClaimedAt": "2000-01-01T00:00:00.000Z", "SourceVersion": VERSION_ID, "ExecutionArn": "another"}

    table.change(ProcessingStatus="processing", TurnAt=tomorrow, **claimed)
    assert table.update(claim) is None
    table.change(TurnAt=late[0])
    assert table.update(claim) is None
    table.change(TurnAt=late[1])
    taken = table.update(claim)

    assert taken is not None
    assert taken["ExecutionArn"] == runs["Cat"].recording
    assert "TurnAt" not in taken, "that was another execution's turn"


# Two hours are over just now, and a millisecond ago.
_AROUND_THE_END_OF_A_CLAIM = [timedelta(seconds=-CLAIM_SECONDS, milliseconds=-late) for late in (0, 1)]


def test_claim_that_was_made_after_the_turn_is_valid_from_then_on(runs: dict[str, Run], table: DetectionLogs) -> None:
    """A restart forgets the turn of the execution before; should it not, the claim's own time counts."""
    claim = runs["Cat"].arguments["Claim Upload"]
    moment = values(runs["Cat"], "Claim Upload")[":now"]["S"]
    table.change(
        ProcessingStatus="processing", ExecutionArn="another", SourceVersion=VERSION_ID, ClaimedAt=moment,
        TurnAt="2000-01-01T00:00:00.000Z",
    )  # fmt: skip

    assert table.update(claim) is None


def test_claim_without_a_version_takes_over_an_expired_claim_of_any_version(
    runs: dict[str, Run], table: DetectionLogs
) -> None:
    claim = runs["input without a version"].arguments["Claim Upload"]
    table.change(
        ProcessingStatus="processing",
        ExecutionArn="another",
        ClaimedAt="2000-01-01T00:00:00.000Z",
        SourceVersion=VERSION_ID,
    )

    assert table.update(claim) is not None


def test_claim_keeps_what_the_api_wrote_when_it_promised_a_place(runs: dict[str, Run], table: DetectionLogs) -> None:
    promised = {
        "CreatedAt": "2026-11-21T09:30:00.000Z",
        "ListedAt": f"2026-11-21T09:30:00.000Z#{IMAGE_ID}",
        "UploadedBy": "api",
        "OwnerShard": f"api#{SHARD}",
        "OriginalFilename": "Whiskers.jpg",
    }
    table.change(ProcessingStatus="uploading", **promised)

    record = table.update(runs["Cat"].arguments["Claim Upload"])

    assert record is not None
    assert record["ProcessingStatus"] == "processing"
    assert {name: record[name] for name in promised} == promised


@pytest.mark.parametrize("status", ["completed", "needs_review", "rejected"])
@pytest.mark.parametrize("case", ["Cat", "input of a restart"])
def test_finished_image_is_never_claimed_again(
    runs: dict[str, Run], table: DetectionLogs, status: str, case: str
) -> None:
    table.change(ProcessingStatus=status, ClaimedAt="2000-01-01T00:00:00.000Z")

    assert table.update(runs[case].arguments["Claim Upload"]) is None


@pytest.mark.parametrize("case", ["Cat", "input with restart as text"])
@pytest.mark.parametrize("status", ["failed", "held"])
def test_failed_or_held_image_is_not_claimed_without_a_restart(
    runs: dict[str, Run], table: DetectionLogs, status: str, case: str
) -> None:
    table.change(ProcessingStatus=status)

    assert table.update(runs[case].arguments["Claim Upload"]) is None


def test_restart_claims_a_failed_image_and_forgets_its_error(runs: dict[str, Run], table: DetectionLogs) -> None:
    table.change(ProcessingStatus="failed", Error="ServiceError", ExecutionArn="another")

    record = table.update(runs["input of a restart"].arguments["Claim Upload"])

    assert record is not None
    assert record["ProcessingStatus"] == "processing"
    assert "Error" not in record


@pytest.mark.parametrize("case", ["input of a restart", "input of a release"])
def test_restart_claims_a_held_image(runs: dict[str, Run], table: DetectionLogs, case: str) -> None:
    table.change(ProcessingStatus="held", ExecutionArn="another")

    record = table.update(runs[case].arguments["Claim Upload"])

    assert record is not None
    assert record["ProcessingStatus"] == "processing"


def test_restart_keeps_the_images_story(runs: dict[str, Run], table: DetectionLogs) -> None:
    first, second = runs["input from S3"], runs["input of a restart"]
    key = {"Key": {"ImageID": {"S": IMAGE_ID}}}  # the fixture's image has another
    before = table.update(first.arguments["Claim Upload"] | key)
    assert before is not None
    table.change(ProcessingStatus="failed")

    after = table.update(second.arguments["Claim Upload"])

    assert after is not None
    assert after["Executions"] == {first.recording, second.recording}
    assert [after[name] for name in ("ReceivedAt", "CorrelationId", "CreatedAt")] == [
        before[name] for name in ("ReceivedAt", "CorrelationId", "CreatedAt")
    ]


@pytest.mark.parametrize("case", ["Cat", "Uncertain", "RejectedEmpty"])
def test_detection_is_logged_twice_by_its_owner_and_never_by_another(
    runs: dict[str, Run], table: DetectionLogs, case: str
) -> None:
    log = runs[case].arguments["Log Detection"]
    assert table.update(log) is None  # nobody claimed it
    assert table.update(runs[case].arguments["Claim Upload"])

    assert table.update(log)
    assert table.update(log)

    table.change(ExecutionArn="another")
    assert table.update(log) is None


def test_image_is_held_twice_by_its_owner_and_never_by_another(runs: dict[str, Run], table: DetectionLogs) -> None:
    hold = runs["Held"].arguments["Hold Image"]
    assert table.update(hold) is None  # nobody claimed it
    assert table.update(runs["Held"].arguments["Claim Upload"])

    assert table.update(hold)
    assert table.update(hold)

    table.change(ExecutionArn="another")
    assert table.update(hold) is None


@pytest.mark.parametrize("status", ["completed", "needs_review", "rejected", "uploading"])
def test_hold_never_turns_a_record_back(runs: dict[str, Run], table: DetectionLogs, status: str) -> None:
    table.change(ProcessingStatus=status, ExecutionArn=runs["Held"].recording)

    assert table.update(runs["Held"].arguments["Hold Image"]) is None


@pytest.mark.parametrize("status", ["held", "rejected", "uploading"])
def test_detection_never_turns_a_record_back(runs: dict[str, Run], table: DetectionLogs, status: str) -> None:
    table.change(ProcessingStatus=status, ExecutionArn=runs["Cat"].recording)

    assert table.update(runs["Cat"].arguments["Log Detection"]) is None


@pytest.mark.parametrize("status", ["completed", "needs_review"])
def test_nothing_overwrites_what_people_have_decided(runs: dict[str, Run], table: DetectionLogs, status: str) -> None:
    """Not the same execution, redriven, nor a later one, nor a restart; an undone verdict counts too."""
    tried: set[str] = set()
    for case in ("Cat", "Uncertain", "input of a restart", "Held"):
        run = runs[case]
        table.change(ProcessingStatus=status, ExecutionArn=run.recording, VerdictSequence="1", DetectedAnimal="dog")
        for state in DYNAMODB_TASKS & run.arguments.keys():
            assert table.update(run.arguments[state]) is None, (case, state)
            tried.add(state)
    assert tried == {"Claim Upload", "Log Detection", "Hold Image"}
    assert table.record()["DetectedAnimal"] == "dog"


@pytest.mark.parametrize(("case", "state"), [("Cat", "Log Detection"), ("Held", "Hold Image")])
def test_execution_that_was_stopped_and_is_redriven_by_the_console_takes_back_its_failure(
    runs: dict[str, Run], table: DetectionLogs, case: str, state: str
) -> None:
    table.change(ProcessingStatus="failed", ExecutionArn=runs[case].recording, Error="ABORTED")

    written = table.update(runs[case].arguments[state])

    assert written is not None
    assert "Error" not in written


# --- Which record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "image_id", "version", "name"),
    [
        ("Cat", IMAGE_ID, VERSION_ID, f"{IMAGE_ID}.jpg"),
        ("input without a version", IMAGE_ID, "newest", f"{IMAGE_ID}.jpg"),
        ("input with an empty version", IMAGE_ID, "newest", f"{IMAGE_ID}.jpg"),
        ("input with null as version", IMAGE_ID, "newest", f"{IMAGE_ID}.jpg"),
        ("input from S3 without a version", IMAGE_ID, "null", f"{IMAGE_ID}.jpg"),
        # The same as the Reconciler gives the object: printf %s 'input/...+1.jpg@null' | sha256sum
        (
            "input from S3 of a foreign key without a version",
            "2e6b9ec967bb255440839a40c4e0fdce",
            "null",
            FOREIGN_KEY.removeprefix("input/"),
        ),
        # printf %s 'input/<IMAGE_ID>.jpg@<VERSION_ID>' | sha256sum
        ("input with an id", "f5cb2ac443ea2a1a62a2385f2107c9d0", VERSION_ID, f"{IMAGE_ID}.jpg"),
        ("input of a backfill", IMAGE_ID, VERSION_ID, f"backfill/{IMAGE_ID}.jpg"),
        # printf %s 'input/backfill/2019/<IMAGE_ID>.jpg@<VERSION_ID>' | sha256sum
        (
            "input of a foreign key of a backfill",
            "0553f327b57792fdd91096d5926e05ef",
            VERSION_ID,
            f"backfill/2019/{IMAGE_ID}.jpg",
        ),
        # printf %s 'input/holiday pictures/Mitzi & Rex+1.jpg@3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY' | sha256sum
        ("input of a foreign key", "239dfe5ba231f99ad0d38a5ffefd2c82", VERSION_ID, FOREIGN_KEY.removeprefix("input/")),
    ],
)
def test_claim_names_the_record(runs: dict[str, Run], case: str, image_id: str, version: str, name: str) -> None:
    claim = runs[case].arguments["Claim Upload"]
    sent = values(runs[case], "Claim Upload")

    assert claim["Key"] == {"ImageID": {"S": image_id}}
    assert sent[":shard"]["S"] == str(int(image_id[0], 16) % 4)
    assert sent[":version"]["S"] == version
    assert sent[":name"]["S"] == name
    assert claim["ReturnValues"] == "ALL_NEW"


@pytest.mark.parametrize(
    ("case", "received"),
    [
        ("input from S3", "2026-11-21T09:30:00.000Z"),
        ("input with a time of another zone", "2026-11-21T09:30:00.500Z"),
        ("Cat", None),
        ("input from the console", None),
    ],
)
def test_claim_says_when_the_object_was_stored(runs: dict[str, Run], case: str, received: str | None) -> None:
    """Not said, it is now."""
    sent = values(runs[case], "Claim Upload")

    assert sent[":received"]["S"] == (received or sent[":now"]["S"])


@pytest.mark.parametrize("case", ["input from S3", "Cat", "input with a number as event's id"])
def test_claim_is_traced_by_the_events_id_or_the_executions_name(runs: dict[str, Run], case: str) -> None:
    named = CASES[case].input.get("id")

    expected = named if isinstance(named, str) else name_of(runs[case])
    assert values(runs[case], "Claim Upload")[":correlation"]["S"] == expected


def test_console_fixture_names_its_record_itself(runs: dict[str, Run]) -> None:
    case = "input from the console"

    assert runs[case].arguments["Claim Upload"]["Key"]["ImageID"]["S"] == CASES[case].input["imageId"]
