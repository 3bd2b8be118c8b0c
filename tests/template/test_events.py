"""The events that tests, `sam local invoke` and the docs share are what their senders send: states of the workflow, the
gateway, rules, schedules and streams of the template. What the functions make of them: tests/unit/test_events.py.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.definitions import EVENTS, invoked_function, machines, passed_on, references, resources, source

WORKFLOW_EVENTS = ["console_execution", "s3_object_created"]


def event(name: str) -> dict[str, Any]:
    """The event of a file in events/."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


def sender_of(happened: dict[str, Any]) -> str:
    """Logical id of the state machine that sent an event, from the execution that it names; "" when it names none."""
    arn = happened.get("executionArn") or happened.get("detail", {}).get("executionArn", "")
    return arn.split(":")[6] if arn else ""


def payloads(name: str, sender: str) -> list[dict[str, Any]]:
    """The payloads that states of a machine (of all, when it is "") send to the function whose name an event's file
    begins with.
    """
    return [
        task["Arguments"]["Payload"]
        for machine in machines()
        if sender in ("", machine.name)
        for _, task in machine.tasks()
        if (function := invoked_function(task)) and name.startswith(folder_of(function))
    ]


def folder_of(function: str) -> str:
    """`ImageProcessorFunction` -> `image_processor`."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in function)
    return words.strip("_").removesuffix("_function")


def receives(properties: dict[str, Any], file: Path) -> bool:
    """Whether a rule, a schedule or a stream of the template leads to the function that an event's file is for."""
    named = references([properties.get("Targets"), properties.get("Target"), properties.get("FunctionName")])
    return any(file.stem.startswith(folder_of(name)) for name in named & set(resources("AWS::Lambda::Function")))


def leaves(value: Any) -> Iterator[str]:
    """The texts of a property, on either side of its conditions."""
    if isinstance(value, str):
        yield value
    else:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)


def is_selected(pattern: Any, value: Any) -> bool:
    """Whether a rule's pattern takes an event; what the pattern names of this stack (a Ref) may be anything."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(is_selected(part, value.get(name)) for name, part in pattern.items())
    return any(
        value == choice
        if isinstance(choice, str)
        else isinstance(value, str)
        and (
            "Ref" in choice
            or value.startswith(choice.get("prefix", "\0"))
            or fnmatch.fnmatchcase(value, choice.get("wildcard", "\0"))
        )
        for choice in pattern
    )


def rules_that_take(happened: dict[str, Any]) -> set[str]:
    """Logical ids of the rules that select an event."""
    rules = resources("AWS::Events::Rule").items()
    return {name for name, rule in rules if is_selected(rule["EventPattern"], happened)}


def receivers_of(happened: dict[str, Any]) -> set[str]:
    """Logical ids of what the rules start for an event."""
    rules = resources("AWS::Events::Rule")
    return {
        name
        for rule in rules_that_take(happened)
        for target in rules[rule]["Targets"]
        for name in references(target["Arn"])
    }


@pytest.mark.parametrize("file", sorted(EVENTS.iterdir()), ids=lambda file: file.stem)
def test_event_is_what_its_sender_sends(file: Path) -> None:
    """A state of the machine whose execution it names sends just these keys; the gateway sends what the template routes
    to the function; and rules, schedules and streams lead to the function that the file is named after.
    """
    happened = json.loads(file.read_text())
    if "httpMethod" in happened:
        routes = {
            (route["Properties"]["Path"], route["Properties"]["Method"])
            for name, resource in source()["Resources"].items()
            if file.stem.startswith(folder_of(name))
            for route in resource["Properties"].get("Events", {}).values()
        }
        assert (happened["resource"], happened["httpMethod"]) in routes
    elif schedules := [found for found in resources("AWS::Scheduler::Schedule").values() if receives(found, file)]:
        (schedule,) = schedules
        if inputs := list(leaves(schedule["Target"].get("Input", []))):
            assert {frozenset(json.loads(text)) for text in inputs if text.startswith("{")} == {frozenset(happened)}
        else:
            assert happened["source"] == "aws.scheduler"
    elif happened.get("source") == "aws.states":
        (rule,) = rules_that_take(happened)
        assert receives(resources("AWS::Events::Rule")[rule], file)
    elif "Records" in happened:
        assert {record["eventSource"] for record in happened["Records"]} == {"aws:dynamodb"}
        assert any(receives(mapping, file) for mapping in resources("AWS::Lambda::EventSourceMapping").values())
    elif sent := payloads(file.stem, sender_of(happened)):
        same = [payload for payload in sent if payload.get("kind") == happened.get("kind")]
        assert [set(payload) for payload in same] == [set(happened)]
    else:
        assert file.stem in WORKFLOW_EVENTS
        assert happened["detail"]["object"]["key"]


def test_each_machine_that_calls_a_function_in_its_own_way_has_an_event() -> None:
    """FileManager is called with an upload by one workflow, and with a picture that is filed by the other."""
    sent = {
        (function, frozenset(task["Arguments"]["Payload"]))
        for machine in machines()
        for _, task in machine.tasks()
        if (function := invoked_function(task))
    }
    there = {file.stem: frozenset(json.loads(file.read_text())) for file in EVENTS.iterdir()}
    missing = [
        (function, sorted(keys))
        for function, keys in sent
        if not any(stem.startswith(folder_of(function)) and has == keys for stem, has in there.items())
    ]
    assert missing == []


def test_s3_event_is_one_that_starts_the_workflow() -> None:
    happened = event("s3_object_created")
    assert receivers_of(happened) == {"ImageWorkflow"}
    assert happened["detail"]["object"]["version-id"]


def test_the_workflow_gets_nothing_of_an_upload_but_what_it_reads() -> None:
    """Its input stays in the history of executions for 90 days: no address and no requester, and no ETag (an MD5)."""
    happened = event("s3_object_created")
    assert "192.0.2.1" in json.dumps(happened)
    version = happened["detail"]["object"]["version-id"]
    assert passed_on("ImageUploadedRule", happened) == {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "id": happened["id"],
        "time": happened["time"],
        "detail": {"object": {"key": happened["detail"]["object"]["key"], "version-id": version}},
    }


def test_of_the_executions_that_succeed_only_duplicates_are_measured() -> None:
    happened = event("metrics_publisher_duplicate")
    assert receivers_of(happened) == {"MetricsPublisherFunction"}
    for output in ('{"notice":"sent"}', '{"notice":"claimed"}', "{}", None):
        assert not rules_that_take(happened | {"detail": happened["detail"] | {"output": output}})


@pytest.mark.parametrize(
    ("status", "recorded"), [("RUNNING", False), ("FAILED", True), ("TIMED_OUT", True), ("ABORTED", True)]
)
def test_every_way_to_fail_is_recorded(status: str, recorded: bool) -> None:
    happened = event("failure_recorder_timed_out")
    happened["detail"]["status"] = status
    assert receivers_of(happened) == ({"FailureRecorderFunction"} if recorded else set())


def test_samples_start_nothing_by_themselves() -> None:
    """They wait for an execution or a function that is started by hand."""
    (key,) = resources("AWS::Events::Rule")["ImageUploadedRule"]["EventPattern"]["detail"]["object"]["key"]
    keys = {json.loads(file.read_text()).get("key", "samples/") for file in EVENTS.iterdir()}
    keys.add(event("console_execution")["detail"]["object"]["key"])
    assert not [sample for sample in keys if sample.startswith(key["prefix"])]


def test_events_hold_no_secret_and_no_account() -> None:
    for file in EVENTS.iterdir():
        text = file.read_text()
        assert not [word for word in ("x-api-key", "X-Api-Key", "AKIA", "Signature", "Authorization") if word in text]
        assert file.stat().st_size < 4096, file.name
