"""Step Functions: a Distributed Map as the backfill uses it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.waiting import eventually

from .conftest import ROLE


def bucket_with(engine: Any, *keys: str) -> str:
    """A bucket with those objects."""
    name = f"b-{uuid.uuid4().hex}"
    engine.client("s3").create_bucket(Bucket=name)
    for key in keys:
        engine.client("s3").put_object(Bucket=name, Key=key, Body=b"1")
    return name


def machine(states: dict[str, Any], **of_map: Any) -> dict[str, Any]:
    """A machine whose map lists a/ of the bucket in its input, and runs these states, the first one first."""
    return {
        "QueryLanguage": "JSONata",
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:listObjectsV2",
                    "Arguments": {"Bucket": "{% $states.input.bucket %}", "Prefix": "a/"},
                },
                "ItemSelector": {"key": "{% $states.context.Map.Item.Value.Key %}"},
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": next(iter(states)),
                    "States": states,
                },
                "End": True,
                **of_map,
            }
        },
    }


def start(engine: Any, definition: dict[str, Any], *keys: str) -> str:
    client = engine.client("stepfunctions")
    name = f"m-{uuid.uuid4().hex[:8]}"
    arn = client.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)["stateMachineArn"]
    document = json.dumps({"bucket": bucket_with(engine, *keys)})
    return str(client.start_execution(stateMachineArn=arn, input=document)["executionArn"])


def ended(engine: Any, execution: str) -> dict[str, Any]:
    def description() -> Any:
        found = engine.client("stepfunctions").describe_execution(executionArn=execution)
        return found if found["status"] != "RUNNING" else None

    result: dict[str, Any] = eventually(description, "the execution ends", 10)
    return result


def map_run(engine: Any, execution: str) -> dict[str, Any]:
    client = engine.client("stepfunctions")
    runs = client.list_map_runs(executionArn=execution)["mapRuns"]
    assert runs, "no map run"
    found: dict[str, Any] = client.describe_map_run(mapRunArn=runs[0]["mapRunArn"])
    return found


PASS = {"Pass": {"Type": "Pass", "End": True}}


def test_reader_and_selector_are_jsonata(gap_engine: Any) -> None:
    found = ended(gap_engine, start(gap_engine, machine(PASS), "a/1", "a/2", "b/3"))
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"]) == [{"key": "a/1"}, {"key": "a/2"}]


def test_items_come_in_batches_and_are_counted(gap_engine: Any) -> None:
    batcher = {"MaxItemsPerBatch": 2, "BatchInput": {"run": "{% $states.context.Execution.Name %}"}}
    execution = start(gap_engine, machine(PASS, ItemBatcher=batcher), "a/1", "a/2", "a/3")
    found = ended(gap_engine, execution)
    assert found["status"] == "SUCCEEDED"
    shared = {"BatchInput": {"run": found["name"]}}
    first, second = json.loads(found["output"])
    assert first == shared | {"Items": [{"key": "a/1"}, {"key": "a/2"}]}
    assert second == shared | {"Items": [{"key": "a/3"}]}
    run = map_run(gap_engine, execution)
    assert (run["itemCounts"]["succeeded"], run["executionCounts"]["succeeded"]) == (3, 2)


def test_a_child_knows_itself_and_not_its_parents_variables(gap_engine: Any) -> None:
    me = {"Type": "Pass", "Output": "{% $states.context.Execution.Name %}", "End": True}
    found = ended(gap_engine, start(gap_engine, machine({"Me": me}), "a/1"))
    assert found["status"] == "SUCCEEDED"
    (name,) = json.loads(found["output"])
    assert name != found["name"]


def test_succeed_and_map_put_out_what_they_say(gap_engine: Any) -> None:
    done = {"Done": {"Type": "Succeed", "Output": "{% 0 %}"}}
    counted = {"Output": "{% {'batches': $count($states.result)} %}"}
    found = ended(gap_engine, start(gap_engine, machine(done, **counted), "a/1", "a/2"))
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"]) == {"batches": 2}


def fail_at(key: str) -> dict[str, Any]:
    wrong = {"Condition": f"{{% $states.input.key = '{key}' %}}", "Next": "Wrong"}
    return {
        "Right?": {"Type": "Choice", "Choices": [wrong], "Default": "Right"},
        "Right": {"Type": "Succeed"},
        "Wrong": {"Type": "Fail", "Error": "Wrong"},
    }


def test_failures_are_tolerated_and_counted(gap_engine: Any) -> None:
    execution = start(gap_engine, machine(fail_at("a/2"), ToleratedFailurePercentage=50), "a/1", "a/2")
    assert ended(gap_engine, execution)["status"] == "SUCCEEDED"
    counts = map_run(gap_engine, execution)["itemCounts"]
    assert (counts["total"], counts["succeeded"], counts["failed"]) == (2, 1, 1)


def test_too_many_failures_end_it(gap_engine: Any) -> None:
    execution = start(gap_engine, machine(fail_at("a/2"), ToleratedFailurePercentage=10), "a/1", "a/2")
    found = ended(gap_engine, execution)
    assert (found["status"], found["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    assert map_run(gap_engine, execution)["itemCounts"]["failed"] == 1


def test_children_end_with_their_parent_and_no_more_begin(gap_engine: Any) -> None:
    waiting = {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}
    execution = start(gap_engine, machine(waiting, MaxConcurrency=2), "a/1", "a/2", "a/3")
    client = gap_engine.client("stepfunctions")
    eventually(
        lambda: (
            client.list_map_runs(executionArn=execution)["mapRuns"]
            and map_run(gap_engine, execution)["executionCounts"]["running"] == 2
        ),
        "two children wait",
        10,
    )
    client.stop_execution(executionArn=execution)
    run = map_run(gap_engine, execution)
    assert run["status"] == "ABORTED"
    children = client.list_executions(mapRunArn=run["mapRunArn"])["executions"]
    assert [child["status"] for child in children] == ["ABORTED", "ABORTED"]
    assert (run["itemCounts"]["running"], run["itemCounts"]["aborted"]) == (0, 3)
