"""`petdetect backfill` on moto: the preview, what is skipped, known and refused, a folder, --move. The state machine
runs in tests/operator/test_backfill.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from click.testing import Result

from ops import backfill, backfill_output, cli, cost, definitions
from ops.cost import Load
from ops.environment import Deployment
from ops.sources import Prefix, Survey
from pet_detector.aws import image_bucket, turns
from pet_detector.aws.clients import client
from pet_detector.rules.backfill import Source
from pet_detector.rules.lanes import Lane
from pet_detector.use_cases.analyser import SLEEP_SECONDS
from tests.support.moto_world import ANALYSES, BACKFILL_WORKFLOW, BUCKET, SOURCE, Cloud, breakdown, refusal
from tests.support.pictures import jpeg

LOST = ReadTimeoutError(endpoint_url="https://s3")
URL = f"s3://{SOURCE}/2024/"
Petdetect = Callable[..., Result]


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """The application, deployed so that it may read the source."""
    return replace(deployment, parameters={"BackfillBucket": SOURCE, "RekognitionCallsPerSecond": "5"})


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping takes no time, but time passes."""
    pauses: list[float] = []
    now = time.time
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "time", lambda: now() + sum(pauses))
    return pauses


def put(aws: Cloud, *names: str, data: bytes | None = None) -> list[Source]:
    """Pictures under 2024/ of the source, each of its own bytes unless `data` is given."""
    found = []
    for name in names:
        content = data or jpeg() + name.encode()
        found.append(Source(SOURCE, f"2024/{name}", aws.put_source(f"2024/{name}", content), len(content)))
    return found


def document(result: Result) -> Any:
    """Standard output, which must be one JSON document."""
    return json.loads(result.stdout)


def preview(petdetect: Petdetect, source: str = URL, *more: str) -> Any:
    result = petdetect("backfill", source, "--dry-run", "--json", *more)
    assert result.exit_code == 0, result.stderr
    return document(result)["preview"]


def started(aws: Cloud) -> list[dict[str, Any]]:
    """Input of every backfill that was started."""
    arns = [e["executionArn"] for e in aws.states.list_executions(stateMachineArn=BACKFILL_WORKFLOW)["executions"]]
    return [json.loads(aws.states.describe_execution(executionArn=arn)["input"]) for arn in arns]


# --- The preview ------------------------------------------------------------------------------------------------------


def test_the_preview_counts_and_does_nothing(aws: Cloud, petdetect: Petdetect) -> None:
    first, *_ = put(aws, "a.jpg", "b.JPEG", "c.png")
    put(aws, "d.jpg", "e.jpg", data=b"twice the same bytes")
    put(aws, "notes.txt", "movie.mp4")
    aws.put_source("2024/empty.jpg", b"")
    aws.put_source("2023/other.jpg", b"another prefix")
    aws.write(first.image_id, ProcessingStatus="completed")

    found = preview(petdetect)

    assert (found["objects"], found["known"], found["toDo"], found["distinct"]) == (8, 1, 4, 3)
    assert found["skipped"] == {"NOT_A_PICTURE": 2, "EMPTY": 1}
    assert found["images"] == {"completed": 1}
    assert started(aws) == []
    assert aws.keys() == []


def test_the_price_is_that_of_the_cost_model(aws: Cloud, petdetect: Petdetect, deployment: Deployment) -> None:
    put(aws, "a.jpg", "b.HEIF", "c.webp")  # two to be converted
    put(aws, "d.jpg", "e.jpg", data=bytes(2 * 1024**2))

    found = preview(petdetect, URL, "--uncertain", "20%")

    megabytes = found["toDoBytes"] / 5 / 1024**2
    load = Load(5, megabytes, 0.2, analysed=4 / 5, waiting=0.0, converted=2 / 5, registered=1.0, mapped=1.0)
    lines = cost.bill(load, definitions.defaults() | deployment.parameters)
    assert {line["name"]: line["perImage"] for line in found["lines"]} == {line.name: line.per_image for line in lines}
    assert found["total"] == pytest.approx(5 * cost.total(lines))
    assert (found["callsPerSecond"], found["seconds"]) == (5, 4 / 5)


def test_pictures_beyond_the_first_moments_wait_for_their_turn(aws: Cloud, deployment: Deployment) -> None:
    survey = Survey(to_do=1000, distinct=800, to_do_bytes=1000)
    found = backfill.preview(deployment, Prefix(SOURCE, ""), survey, 0.05)
    assert found.load.waiting == (800 - 5 * SLEEP_SECONDS) / 1000
    assert found.seconds == 160


@pytest.mark.parametrize("lane", list(Lane))
def test_it_begins_behind_those_that_wait_already(aws: Cloud, deployment: Deployment, lane: Lane) -> None:
    turns.take(ANALYSES, lane, 5, earliest=time.time() + 3600)
    found = backfill.preview(deployment, Prefix(SOURCE, ""), Survey(to_do=1000, distinct=800, to_do_bytes=1000), 0.05)
    assert found.seconds == pytest.approx(3600 + 160, abs=30)


@pytest.mark.parametrize(("limit", "seconds"), [(0, 160), (800, 160), (799, 86400), (100, 7 * 86400)])
def test_the_limit_of_the_day_makes_it_take_days(
    aws: Cloud, deployment: Deployment, limit: int, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = replace(deployment, parameters=deployment.parameters | {"DailyAnalysisLimit": str(limit)})
    place, survey = Prefix(SOURCE, ""), Survey(to_do=1000, distinct=800, to_do_bytes=1000)
    found = backfill.preview(limited, place, survey, 0.05)
    assert found.seconds == seconds
    backfill_output.show_preview("dev", place, found)
    assert ("DailyAnalysisLimit" in capsys.readouterr().out) is (seconds > 160)


def test_a_person_reads_what_will_happen(aws: Cloud, petdetect: Petdetect) -> None:
    put(aws, "a.jpg", "notes.txt")
    text = petdetect("backfill", URL, "--dry-run").stdout
    words = (
        URL,
        "to do",
        ".jpg, .jpeg, .png, .webp, .avif, .heic or .heif",
        "Rekognition",
        "Total",
        "at 5 calls",
        "Live uploads go first",
    )
    for expected in words:
        assert expected in text


def test_it_asks_before_it_starts(aws: Cloud, petdetect: Petdetect) -> None:
    put(aws, "a.jpg")
    result = petdetect("backfill", URL, typed="n\n")
    assert result.exit_code == 1
    assert "Register 1 images in dev for about $" in result.stderr
    assert started(aws) == []


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s3://another/x"], "deploy it with BackfillBucket=another"),
        ([f"s3://{BUCKET}/"], "name another prefix"),
        ([f"s3://{BUCKET}/cats/2024"], "name another prefix"),
        ([f"s3://{BUCKET}/inp"], "name another prefix"),
        (["s3:///x"], "names no bucket"),
        (["/no/such/folder"], "neither a folder nor a URL"),
        (["--stop"], "No backfill is running"),
        (["--resume"], "No backfill has run"),
    ],
)
def test_what_cannot_be_is_refused(petdetect: Petdetect, arguments: list[str], words: str) -> None:
    result = petdetect("backfill", *arguments, "--yes")
    assert result.exit_code == 1
    assert words in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [URL, "--json"],
        [URL, "--stop"],
        ["--stop", "--resume"],
        ["--stop", "--dry-run"],
        ["--resume", "--dry-run"],
        ["--resume", "--move", "--json"],
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(petdetect: Petdetect, arguments: list[str]) -> None:
    assert petdetect("backfill", *arguments).exit_code == 2


def test_a_bucket_that_is_not_there_is_named(petdetect: Petdetect) -> None:
    result = petdetect("backfill", URL, "--dry-run")
    assert (result.exit_code, f"There is no bucket {SOURCE}" in result.stderr) == (1, True)


def test_a_bucket_of_another_region_is_refused(aws: Cloud, petdetect: Petdetect) -> None:
    aws.s3.create_bucket(Bucket=SOURCE, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    result = petdetect("backfill", URL, "--dry-run")
    assert (result.exit_code, f"{SOURCE} is in eu-west-1" in result.stderr) == (1, True)


def test_the_local_aws_may_read_every_bucket(
    aws: Cloud, petdetect: Petdetect, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(aws, "a.jpg")
    monkeypatch.setattr(cli, "connect", lambda _: replace(deployment, environment="local", parameters={}))
    assert preview(petdetect)["toDo"] == 1


def test_more_than_the_state_machine_can_list_is_refused(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(aws, "a.jpg", "b.jpg")
    monkeypatch.setattr(backfill, "MAX_OBJECTS", 1)
    assert "name longer prefixes" in petdetect("backfill", URL, "--yes").stderr


# --- The state machine's execution ------------------------------------------------------------------------------------


@pytest.fixture
def map_runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the map run counts; moto has none."""
    counts = {"total": 2, "succeeded": 1, "failed": 0}
    look = backfill._states

    class States:
        def __getattr__(self, name: str) -> Any:
            return getattr(look(), name)

        def list_map_runs(self, **_: str) -> Any:
            return {"mapRuns": [{"mapRunArn": "old", "startDate": 1}, {"mapRunArn": "new", "startDate": 2}]}

        def describe_map_run(self, mapRunArn: str) -> Any:
            return {"itemCounts": counts if mapRunArn == "new" else {}}

    monkeypatch.setattr(backfill, "_states", States)
    return counts


@pytest.mark.usefixtures("map_runs")
def test_one_backfill_runs_at_a_time(aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, "a.jpg", "b.jpg")

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)  # Ctrl-C while it shows the progress
    result = petdetect("backfill", URL, "--yes")
    assert (result.exit_code, started(aws)) == (3, [{"bucket": SOURCE, "prefix": "2024/", "concurrency": 10}])
    assert "goes on: 1 of 2 objects" in result.stdout
    assert "--resume" in result.stdout
    assert "--stop" in result.stdout
    again = petdetect("backfill", f"s3://{SOURCE}/", "--yes")
    assert (again.exit_code, len(started(aws))) == (1, 1)
    assert f"A backfill of {URL} is running" in again.stderr


@pytest.mark.usefixtures("map_runs")
@pytest.mark.parametrize(("concurrency", "batches"), [(10, 1), (35, 3), (1000, 10), (None, 2)])
def test_batches_at_once_leave_most_of_lambda_to_others(
    aws: Cloud, deployment: Deployment, quotas: dict[str, Any], concurrency: int | None, batches: int
) -> None:
    answer = {"AccountLimit": {"ConcurrentExecutions": concurrency}} if concurrency else "AccessDeniedException"
    quotas["get_account_settings"] = answer
    backfill.start(deployment, Prefix(SOURCE, "2024/"))
    assert started(aws) == [{"bucket": SOURCE, "prefix": "2024/", "concurrency": batches}]


def test_it_can_be_shown_again_and_stopped(
    aws: Cloud, petdetect: Petdetect, map_runs: dict[str, int], end_executions: Callable[[str], int]
) -> None:
    first, _ = put(aws, "a.jpg", "b.jpg")
    text = json.dumps({"bucket": SOURCE, "prefix": "2024/"})
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-1", input=text)
    aws.write(first.image_id, ProcessingStatus="completed")
    result = petdetect("backfill", "--stop", "--json")
    assert (result.exit_code, document(result)["backfill"]["status"]) == (0, "ABORTED")
    shown = petdetect("backfill", "--resume", typed="n\n")
    assert shown.exit_code == 1
    assert "backfill-1 was stopped: 1 of 2 objects" in shown.stdout
    assert "Register 1 images" in shown.stderr
    assert petdetect("backfill", "--resume", "--json").exit_code == 2
    assert len(started(aws)) == 1
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-2", input=text)
    end_executions("SUCCEEDED")
    map_runs["failed"] = 1
    assert "1 objects are in batches that failed" in petdetect("backfill", "--resume").stdout


@pytest.mark.usefixtures("map_runs")
def test_one_that_was_stopped_goes_on(aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    put(aws, "a.jpg", "b.jpg")
    text = json.dumps({"bucket": SOURCE, "prefix": "2024/"})
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-1", input=text)
    petdetect("backfill", "--stop")
    monkeypatch.setattr(time, "sleep", interrupted)
    assert petdetect("backfill", "--resume", typed="y\n").exit_code == 3  # Ctrl-C, while the second one runs
    assert [(sent["bucket"], sent["prefix"]) for sent in started(aws)] == [(SOURCE, "2024/")] * 2


@pytest.mark.usefixtures("map_runs")
def test_objects_that_cannot_be_read_are_counted_at_the_end(
    aws: Cloud, petdetect: Petdetect, end_executions: Callable[..., int]
) -> None:
    put(aws, "a.jpg")
    text = json.dumps({"bucket": SOURCE, "prefix": "2024/"})
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-1", input=text)
    end_executions("SUCCEEDED", {"batches": 1, "denied": 7})
    shown = petdetect("backfill", "--resume")
    assert (shown.exit_code, "7 objects cannot be read" in shown.stdout) == (3, True)


@pytest.mark.usefixtures("map_runs")
def test_what_was_announced_and_perhaps_never_copied_is_said(
    aws: Cloud, petdetect: Petdetect, end_executions: Callable[..., int]
) -> None:
    on_the_way, unsure = put(aws, "a.jpg", "b.jpg")
    text = json.dumps({"bucket": SOURCE, "prefix": "2024/"})
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-1", input=text)
    end_executions("SUCCEEDED")
    for source in (on_the_way, unsure):
        aws.write(source.image_id, ProcessingStatus="uploading", CopyEnds=int(time.time()) + 100)
        shown = petdetect("backfill", "--resume")
        assert shown.exit_code == (3 if source is on_the_way else 0)  # first, the other one is not registered
    aws.write(unsure.image_id, ProcessingStatus="uploading", CopyEnds=int(time.time()) - 1)
    shown = petdetect("backfill", "--resume")
    assert (shown.exit_code, "perhaps not copied" in shown.stdout) == (3, True)
    assert f"Run `petdetect backfill {URL}` again" in " ".join(shown.stdout.split())
    after = document(petdetect("backfill", "--resume", "--json"))["after"]
    assert (after["toDo"], after["announced"], after["unsure"]) == (2, 1, 1)


# --- A folder ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, two of the same bytes, and a text."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.jpg").write_bytes(jpeg() + b"a")
    (tmp_path / "deeper" / "b.PNG").write_bytes(jpeg() + b"b")
    (tmp_path / "deeper" / "same as a.jpeg").write_bytes(jpeg() + b"a")
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def ids(*contents: bytes) -> list[str]:
    return [hashlib.sha256(jpeg() + content).hexdigest()[:32] for content in contents]


def test_a_folder_is_registered_by_the_command(aws: Cloud, petdetect: Petdetect, folder: Path) -> None:
    result = petdetect("backfill", str(folder), "--yes", "--json")
    a, b = ids(b"a", b"b")
    assert result.exit_code == 0, result.stderr
    assert document(result)["files"] == {"registered": 2}
    assert aws.keys() == sorted([f"input/backfill/{a}.jpg", f"input/backfill/{b}.png"])
    assert aws.item(b)["OriginalFilename"] == {"S": "b.PNG"}
    assert document(result)["after"]["announced"] == 2
    assert (document(result)["after"]["repeated"], len(list(folder.rglob("*.*")))) == (1, 4)
    assert started(aws) == []


def test_a_folder_again_registers_what_is_missing(aws: Cloud, petdetect: Petdetect, folder: Path) -> None:
    with breakdown(client("s3"), "PutObject", LOST, done=False):  # as if it was killed at the first one
        petdetect("backfill", str(folder), "--yes", "--json")
    petdetect("backfill", str(folder), "--yes", "--json")
    result = petdetect("backfill", str(folder), "--yes", "--json")
    assert document(result)["files"] == {"known": 2}
    assert len(aws.s3.list_object_versions(Bucket=BUCKET)["Versions"]) == 2


def test_a_folder_waits_for_the_schedule(
    aws: Cloud,
    petdetect: Petdetect,
    folder: Path,
    slept: list[float],
) -> None:
    turn = {"ContentHash": {"S": "turns#backfill"}, "NextTurn": {"N": str(time.time() + 660)}}
    aws.dynamodb.put_item(TableName=ANALYSES, Item=turn)
    assert petdetect("backfill", str(folder), "--yes").exit_code == 0
    assert 59 < sum(slept) < 70
    assert len(aws.keys()) == 2


def test_a_file_that_aws_fails_is_left_for_another_run(aws: Cloud, petdetect: Petdetect, folder: Path) -> None:
    with refusal(client("s3"), "PutObject", "InternalError", 500):
        result = petdetect("backfill", str(folder), "--yes", "--json")
    assert (result.exit_code, document(result)["files"]) == (3, {"busy": 2})
    assert aws.keys() == []


def test_a_slow_line_has_a_quarter_of_an_hour_for_a_file(
    aws: Cloud, petdetect: Petdetect, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = image_bucket.store

    def slow(*arguments: Any) -> None:
        claimed = [float(record["CopyEnds"]["N"]) - time.time() for record in aws.records()]
        assert max(claimed) == pytest.approx(900, abs=30)
        store(*arguments)

    monkeypatch.setattr(image_bucket, "store", slow)
    assert petdetect("backfill", str(folder), "--yes").exit_code == 0
    assert len(aws.keys()) == 2


def test_a_file_name_that_is_no_utf_8_keeps_nothing_back(aws: Cloud, petdetect: Petdetect, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"na\xefve.jpg")).write_bytes(jpeg() + b"a")
    result = petdetect("backfill", str(tmp_path), "--yes", "--json")
    assert (result.exit_code, document(result)["files"]) == (0, {"registered": 1})
    assert aws.item(ids(b"a")[0])["OriginalFilename"] == {"S": "na\N{REPLACEMENT CHARACTER}ve.jpg"}


def test_what_cannot_be_read_is_counted_and_the_rest_is_registered(
    aws: Cloud, petdetect: Petdetect, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable, listed = Path.read_bytes, os.scandir

    def read_bytes(path: Path) -> bytes:
        if path.name == "a.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return readable(path)

    def scandir(path: Any) -> Any:
        if os.fspath(path).endswith("private"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    (folder / "private").mkdir()
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr("os.scandir", scandir)
    found = preview(petdetect, str(folder))
    assert (found["toDo"], found["skipped"]) == (2, {"NOT_A_PICTURE": 1, "UNREADABLE": 2})


# --- Moving -----------------------------------------------------------------------------------------------------------


def finish(aws: Cloud, image_id: str, content: bytes, status: str = "completed") -> None:
    """Let an image be finished and filed."""
    aws.put(f"cats/{image_id}.jpg", content)
    aws.write(image_id, ProcessingStatus=status, S3Location=f"s3://{BUCKET}/cats/{image_id}.jpg")


def left(aws: Cloud) -> list[str]:
    return [found["Key"] for found in aws.s3.list_objects_v2(Bucket=SOURCE).get("Contents", [])]


def test_sources_are_deleted_only_when_asked_and_when_their_image_is_finished(aws: Cloud, petdetect: Petdetect) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    statuses = ("completed", "needs_review", "rejected", "failed", "processing")
    for source, name, status in zip(put(aws, *names), names, statuses, strict=True):
        finish(aws, source.image_id, jpeg() + name.encode(), status)
    petdetect("backfill", URL, "--yes")
    assert len(left(aws)) == 5
    result = petdetect("backfill", URL, "--yes", "--move", "--json")
    assert (document(result)["moved"], left(aws)) == (2, [f"2024/{name}" for name in names[2:]])
    assert document(petdetect("backfill", URL, "--yes", "--move", "--json"))["moved"] == 0


def test_a_source_stays_unless_its_picture_is_filed(aws: Cloud, petdetect: Petdetect) -> None:
    gone, cut, nowhere, filed, cleaned, other = put(aws, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg")
    for source in (gone, cut, filed):
        finish(aws, source.image_id, b"x" * source.size)
    aws.s3.delete_object(Bucket=BUCKET, Key=f"cats/{gone.image_id}.jpg")
    aws.put(f"cats/{cut.image_id}.jpg", b"x")
    aws.write(nowhere.image_id, ProcessingStatus="completed")
    # Filed without metadata: the object says how many bytes it was made of.
    for source, size in ((cleaned, cleaned.size), (other, other.size + 1)):
        finish(aws, source.image_id, b"")
        aws.put(f"cats/{source.image_id}.jpg", b"x", Metadata={"uploaded-bytes": str(size)})
    assert document(petdetect("backfill", URL, "--yes", "--move", "--json"))["moved"] == 2
    assert left(aws) == [f"2024/{name}" for name in ("a.jpg", "b.jpg", "c.jpg", "f.jpg")]


def test_moving_asks_even_if_nothing_is_left_to_register(aws: Cloud, petdetect: Petdetect) -> None:
    (source,) = put(aws, "a.jpg")
    finish(aws, source.image_id, jpeg() + b"a.jpg")
    result = petdetect("backfill", URL, "--move", typed="n\n")
    assert (result.exit_code, len(left(aws))) == (1, 1)
    assert "delete each source when its image is finished?" in result.stderr


@pytest.mark.usefixtures("map_runs")
def test_moving_at_the_end_of_a_backfill_that_is_shown_again_asks(
    aws: Cloud, petdetect: Petdetect, end_executions: Callable[[str], int]
) -> None:
    (source,) = put(aws, "a.jpg")
    finish(aws, source.image_id, jpeg() + b"a.jpg")
    text = json.dumps({"bucket": SOURCE, "prefix": "2024/"})
    aws.states.start_execution(stateMachineArn=BACKFILL_WORKFLOW, name="backfill-1", input=text)
    end_executions("SUCCEEDED")
    assert petdetect("backfill", "--resume", "--move", "--dry-run").exit_code == 2
    assert petdetect("backfill", "--resume", "--move", "--json").exit_code == 2
    asked = petdetect("backfill", "--resume", "--move", typed="n\n")
    assert (asked.exit_code, f"Delete each source under {URL}" in asked.stderr, len(left(aws))) == (1, True, 1)
    assert petdetect("backfill", "--resume", "--move", "--yes").exit_code == 0
    assert left(aws) == []


def test_an_object_that_changed_meanwhile_is_not_deleted(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = put(aws, "a.jpg")
    finish(aws, source.image_id, jpeg() + b"a.jpg")
    known = Prefix.remove

    def changed(place: Any, candidate: Any) -> bool:
        aws.put_source("2024/a.jpg", b"a new picture")
        return known(place, candidate)

    monkeypatch.setattr(Prefix, "remove", changed)
    assert document(petdetect("backfill", URL, "--yes", "--move", "--json"))["moved"] == 0
    assert len(left(aws)) == 1


def test_a_files_bytes_decide_whether_it_is_deleted(aws: Cloud, petdetect: Petdetect, folder: Path) -> None:
    for image_id, content in zip(ids(b"a", b"b"), (b"a", b"b"), strict=True):
        finish(aws, image_id, jpeg() + content)
    assert document(petdetect("backfill", str(folder), "--yes", "--move", "--json"))["moved"] == 2
    # A second file of the same bytes is the same image: another run takes it.
    assert [file.name for file in folder.rglob("*.*")] == ["notes.txt", "same as a.jpeg"]
    assert document(petdetect("backfill", str(folder), "--yes", "--move", "--json"))["moved"] == 1
