"""What the code and the state machine (or the template) both say, in two languages: it must be the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pet_detector.aws import analyses, detection_logs
from pet_detector.rules import image_ids
from pet_detector.rules.execution_input import kind_of, subject_of
from pet_detector.use_cases import analyser
from tests.support.definitions import EVENTS, machines, passed_on, resources, source
from tests.support.local_aws import local_aws_python

from .test_state_machines import longest, waits

(MACHINE,) = (machine for machine in machines() if machine.name == "ImageWorkflow")
STATES: dict[str, Any] = MACHINE.definition["States"]

# --- Numbers ----------------------------------------------------------------------------------------------------------


def test_a_claim_lasts_longer_than_an_execution_works_on_an_image_before_or_after_its_wait() -> None:
    assert longest(MACHINE.definition) < detection_logs.CLAIM_SECONDS


def test_an_execution_may_wait_far_longer_than_a_claim_lasts() -> None:
    assert MACHINE.definition["TimeoutSeconds"] > 100 * detection_logs.CLAIM_SECONDS


def test_a_lease_outlives_the_function_that_asks_for_it() -> None:
    assert resources("AWS::Lambda::Function")["ImageProcessorFunction"]["Timeout"] < analyses.LEASE_SECONDS


def test_who_waits_for_a_lease_waits_longer_than_it_lasts() -> None:
    """Full jitter waits half of each longest wait on average."""
    (retrier,) = [r for r in STATES["Analyze Image"]["Retry"] if "AnalysisInProgressError" in r["ErrorEquals"]]
    assert sum(waits(retrier)) / 2 > 2 * analyses.LEASE_SECONDS


def test_a_function_waits_for_a_turn_as_short_as_a_wait_of_whole_seconds_allows() -> None:
    """A second, and half of one to be in time. Longer would use up Lambda's concurrency."""
    assert 1 < analyser.SLEEP_SECONDS <= 1.5


def test_others_come_back_for_an_analysis_while_its_owner_still_has_the_lease() -> None:
    """Else they would ask Rekognition about the same bytes. The owner may be late by as much as its turn is kept."""
    assert analyser.ASKED_SECONDS + analyser.SLEEP_SECONDS < analyses.LEASE_SECONDS < analyses.TURN_KEPT_SECONDS


def test_the_pace_is_below_the_largest_quota_of_any_region() -> None:
    pace = source()["Parameters"]["RekognitionCallsPerSecond"]
    assert 0.8 * 50 <= pace["Default"] < 50
    assert 0 < pace["MinValue"] < 5  # the quota of most regions


# --- The ImageID ------------------------------------------------------------------------------------------------------

# The engine's JSONata, with the functions that Step Functions adds to it.
PROGRAM = """
import json, sys
from ministack.services.stepfunctions import _evaluate_jsonata
for line in sys.stdin:
    expression, given, context, result = json.loads(line)
    try:
        answer = {"value": _evaluate_jsonata(expression, given, context, result)}
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""
CONTEXT = {
    "Execution": {"Id": "arn:aws:states:us-east-1:000000000000:execution:ImageWorkflow:name", "Name": "name"},
    "State": {"EnteredTime": "2026-11-21T09:30:00.000Z"},
}


class Jsonata:
    """A process that evaluates expressions of the state machine."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def value(self, expression: str, document: Any, result: Any = None, **variables: Any) -> Any:
        """What `{% expression %}` makes of a state's input and result; None when it raises an error."""
        text = expression.strip().removeprefix("{%").removesuffix("%}").replace("${RecordRetentionDays}", "365")
        self._stdin.write(json.dumps([text, document, CONTEXT | {"variables": variables}, result]) + "\n")
        self._stdin.flush()
        return json.loads(self._stdout.readline()).get("value")


@pytest.fixture(scope="module")
def jsonata() -> Iterator[Jsonata]:
    """The evaluator, for all tests here."""
    command = [str(local_aws_python()), "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Jsonata(process)


hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
almost_ours = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(
        ["input/", "input/", "input/backfill/", "input/backfill//", "Input/", "input//", "\ninput/", "samples/", ""]
    ),
    hexadecimal | hexadecimal.map(str.upper) | st.text("0123456789abcdefg", min_size=30, max_size=34),
    st.sampled_from([".jpg", ".png", ".", "", ".JPG", ".jp2", ".tar.gz", "/x.jpg"]),
    st.sampled_from(["", "", "", "\n", "\r", "\u2028", " ", ".jpg"]),
)
keys = almost_ours | names.map("input/{}".format)
HEX = "0123456789abcdef" * 2


@settings(deadline=None, max_examples=150)
@given(key=keys, version=names | st.none(), source=st.sampled_from(["aws.s3", "aws.s4", None]))
@example(key=f"input/{HEX}.jpg", version=None, source=None)
@example(key=f"input/{HEX}.jpg", version=None, source="aws.s3")
@example(key=f"input/{HEX}.jpg\n", version="v1", source=None)
@example(key=f"input/backfill/{HEX}.jpg", version="v1", source="aws.s3")
@example(key=f"input/backfill/{HEX}.jpg\n", version="v1", source="aws.s3")
@example(key=f"input/Backfill/{HEX}.jpg", version="v1", source="aws.s3")
@example(key=f"input/backfill/x/{HEX}.jpg", version="v1", source="aws.s3")
@example(key="input/ü 🐈.jpg", version="null", source=None)
@example(key="input/x.jpg", version=None, source=None)
@example(key="input/x.jpg", version=None, source="aws.s3")
def test_functions_and_machine_give_an_object_version_the_same_id(
    jsonata: Jsonata, key: str, version: str | None, source: str | None
) -> None:
    found = {"key": key} if version is None else {"key": key, "version-id": version}
    document = {"detail": {"object": found}} | ({"source": source} if source else {})
    subject = subject_of(json.dumps(document))

    claim = jsonata.value(STATES["Claim Upload"]["Arguments"], document)

    if subject is None:
        assert claim is None
        return
    assert claim["Key"] == {"ImageID": {"S": subject.image_id}}
    assert claim["ExpressionAttributeValues"][":shard"] == {"S": image_ids.shard_of(subject.image_id)}
    assert claim["ExpressionAttributeValues"][":version"] == {"S": subject.version_id}


@pytest.mark.parametrize("key", [f"input/{HEX}.jpg", 'input/a "b" \\ <key> é\n.jpg'])
@pytest.mark.parametrize("version", ["v1", "null", None])
def test_what_the_rule_passes_on_is_claimed_as_the_whole_event_would_be(
    jsonata: Jsonata, key: str, version: str | None
) -> None:
    """Without a version in the event, the version that the rule passes on is an empty text."""
    happened = json.loads((EVENTS / "s3_object_created.json").read_text())
    happened["detail"]["object"] = {"key": key} | ({"version-id": version} if version else {})
    passed = passed_on("ImageUploadedRule", happened)

    claims = [jsonata.value(STATES["Claim Upload"]["Arguments"], document) for document in (happened, passed)]

    assert claims[0] == claims[1]
    assert claims[0]["ExpressionAttributeValues"][":version"] == {"S": version or "null"}
    assert subject_of(json.dumps(passed)) == subject_of(json.dumps(happened))
    assert kind_of("any", json.dumps(passed)) == "event"


def test_machine_and_reconciler_give_an_object_without_a_version_the_same_id(jsonata: Jsonata) -> None:
    """S3 lists it as version null."""
    document = {"source": "aws.s3", "detail": {"object": {"key": "input/x.jpg"}}}
    claim = jsonata.value(STATES["Claim Upload"]["Arguments"], document)

    assert claim["Key"] == {"ImageID": {"S": image_ids.image_id_of("input/x.jpg", "null")}}


@pytest.mark.parametrize("digit", "0123456789abcdef")
def test_functions_and_machine_give_an_id_the_same_shard(jsonata: Jsonata, digit: str) -> None:
    image_id = digit * 32
    claim = jsonata.value(STATES["Claim Upload"]["Arguments"], {"detail": {"object": {"key": f"input/{image_id}.jpg"}}})
    assert claim["ExpressionAttributeValues"][":shard"] == {"S": image_ids.shard_of(image_id)}


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", " "])
def test_machine_takes_no_id_with_an_invisible_end(jsonata: Jsonata, end: str) -> None:
    document = {"imageId": HEX + end, "detail": {"object": {"key": "input/x.jpg", "version-id": "v1"}}}

    assert jsonata.value(STATES["Claim Upload"]["Arguments"], document) is None


# --- The backfill -----------------------------------------------------------------------------------------------------

BATCH: dict[str, Any] = dict(next(machine for machine in machines() if machine.name == "BackfillWorkflow").states())
WAITING = {"outcome": "wait", "until": "2026-11-21T09:30:00.000Z"}
BUSY = WAITING | {"outcome": "busy"}


def after(jsonata: Jsonata, *answers: Any) -> list[str]:
    """The state that follows on `All Registered?` after each answer of RegisterImages to one batch."""
    batch: Any = {"BatchInput": {"bucket": "b"}, "Items": [1]}
    found, choice = [], BATCH["All Registered?"]
    for answer in answers:
        batch = jsonata.value(BATCH["Register Images"]["Output"], batch, {"Payload": answer})
        assert (batch["BatchInput"], batch["Items"]) == ({"bucket": "b"}, [1])
        rules = (rule for rule in choice["Choices"] if jsonata.value(rule["Condition"], batch, registration=answer))
        found.append(next(rules, {"Next": choice["Default"]})["Next"])
    return found


def test_a_batch_waits_for_the_schedule_as_often_as_it_must(jsonata: Jsonata) -> None:
    assert set(after(jsonata, *[WAITING] * 50)) == {"Wait for the Schedule"}
    assert after(jsonata, WAITING, {"outcome": "registered"}) == ["Wait for the Schedule", "Batch Registered"]


def test_a_batch_that_stays_busy_fails(jsonata: Jsonata) -> None:
    """A picture that AWS fails whenever it is tried is busy in between."""
    assert after(jsonata, *[WAITING, BUSY] * 6) == ["Wait for the Schedule"] * 11 + ["Batch Failed"]


def test_what_cannot_be_read_is_counted(jsonata: Jsonata) -> None:
    output = BATCH["Batch Registered"]["Output"]
    assert jsonata.value(output, {}, registration={"counts": {"registered": 48, "denied": 2}}) == 2
    assert jsonata.value(output, {}, registration={"counts": {"registered": 50}}) == 0
    output = BATCH["Objects Registered"]["Output"]
    assert jsonata.value(output, [0, 2, {"Error": "AccessDeniedError"}, 3]) == {"batches": 4, "denied": 5}
    assert jsonata.value(output, []) == {"batches": 0, "denied": 0}
