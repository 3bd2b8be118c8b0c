"""Step Functions: a Distributed Map whose fields are JSONata, with batches, and children that end with their parent.

What MiniStack has of it in JSONPath stays as it is. Still missing: ResultWriter, redrive of a map run, and JSONata's
`Items`; nothing here uses them.
"""

from __future__ import annotations

import contextvars
import copy
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ministack.services import stepfunctions

from local.ministack_ext.step_functions import EndedError

_COUNTS = (
    "pending",
    "running",
    "succeeded",
    "failed",
    "timedOut",
    "aborted",
    "total",
    "resultsWritten",
    "failuresNotRedrivable",
    "pendingRedrive",
)
_AT_ONCE = 64  # children without a MaxConcurrency; AWS runs 10,000


def install() -> None:
    """Apply this module's patches."""
    _fields_are_jsonata_and_items_come_in_batches()
    _children_end_with_their_parent()


def _fields_are_jsonata_and_items_come_in_batches() -> None:
    """ItemReader's Arguments and ItemSelector may be JSONata, ItemBatcher groups the items, Output is JSONata.

    AWS: a child gets `{"BatchInput": ..., "Items": [...]}`, knows itself as `$states.context.Execution`, and none of
    its parent's variables; the map run counts items and children. MiniStack: takes JSONata for JSONPath, hands out
    single items, and lets a child take its parent for itself.
    """
    run = stepfunctions._run_distributed_map

    def run_map(state: Any, data: Any, effective: Any, iterator: Any, execution: Any, context: Any) -> Any:
        if stepfunctions._state_query_language(state, context) != "JSONata":
            return run(state, data, effective, iterator, execution, context)
        inputs = list(_inputs(state, data, context))
        found = _MapRun(state, data, iterator, execution, context, inputs)
        results = found.results()
        output = stepfunctions._apply_jsonata_output(state, data, context, result=results, default=results)
        stepfunctions._apply_state_assign(state, data, context, result=results)
        return output, stepfunctions._next_or_end(state)

    stepfunctions._run_distributed_map = run_map


def _inputs(state: dict[str, Any], data: Any, context: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    """Each child's input, and how many items it holds."""
    reader = dict(state["ItemReader"])
    for part in ("Arguments", "ReaderConfig"):
        reader[part] = stepfunctions._apply_jsonata_template(reader.get(part) or {}, data, context)
    items = stepfunctions._read_map_items(reader, data, context)
    if "ItemSelector" in state:
        items = [_selected(state["ItemSelector"], data, context, index, item) for index, item in enumerate(items)]
    if "ItemBatcher" not in state:
        yield from ((item, 1) for item in items)
        return
    batcher = stepfunctions._apply_jsonata_template(state["ItemBatcher"], data, context)
    size = int(batcher["MaxItemsPerBatch"])
    shared = {"BatchInput": batcher["BatchInput"]} if "BatchInput" in batcher else {}
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        yield {**shared, "Items": batch}, len(batch)


def _selected(selector: Any, data: Any, context: dict[str, Any], index: int, item: Any) -> Any:
    of_item = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
    return stepfunctions._apply_jsonata_template(selector, data, of_item)


def _no_counts(total: int) -> dict[str, int]:
    return {**dict.fromkeys(_COUNTS, 0), "total": total, "pending": total}


@dataclass
class _MapRun:
    """One run of a Distributed Map; its children are threads."""

    state: dict[str, Any]
    data: Any
    iterator: dict[str, Any]
    parent: dict[str, Any]
    context: dict[str, Any]
    inputs: list[tuple[Any, int]]
    outputs: list[Any] = field(default_factory=list)

    def results(self) -> list[Any]:
        """The outputs of the children that succeeded, when all have ended."""
        _, _, _, region, account, _, machine = self.parent["stateMachineArn"].split(":")
        label = self.state.get("Label") or stepfunctions.new_uuid()
        self._children = f"arn:aws:states:{region}:{account}:{{}}:{machine}/{label}"
        items = sum(size for _, size in self.inputs)
        self._tolerated = float(self._field("ToleratedFailurePercentage")) * items / 100
        concurrency = int(self._field("MaxConcurrency"))
        self._run: dict[str, Any] = {
            "mapRunArn": f"{self._children.format('mapRun')}:{stepfunctions.new_uuid()}",
            "executionArn": self.parent["executionArn"],
            "status": "RUNNING",
            "startDate": stepfunctions.now_iso(),
            "maxConcurrency": concurrency,
            "toleratedFailurePercentage": float(self._field("ToleratedFailurePercentage")),
            "toleratedFailureCount": 0,
            "itemCounts": _no_counts(items),
            "executionCounts": _no_counts(len(self.inputs)),
            "redriveCount": 0,
            "_stateMachineArn": self._children.format("stateMachine"),
        }
        stepfunctions._map_runs[self._run["mapRunArn"]] = self._run
        self._lock, self._next = threading.Lock(), iter(enumerate(self.inputs))
        self.outputs = [None] * len(self.inputs)
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(self._work,), daemon=True)
            for _ in range(min(concurrency or _AT_ONCE, len(self.inputs)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._end()

    def _field(self, name: str) -> Any:
        return stepfunctions._apply_jsonata_template(self.state.get(name, 0), self.data, self.context)

    def _end(self) -> list[Any]:
        with self._lock:
            if self._run["status"] == "RUNNING":
                self._run.update(status="SUCCEEDED", stopDate=stepfunctions.now_iso())
        if self.parent["status"] != "RUNNING":
            raise EndedError(self.parent["executionArn"])
        if self._run["status"] == "FAILED":
            raise stepfunctions._ExecutionError(
                "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
            )
        return [output for output in self.outputs if output is not None]

    def _work(self) -> None:
        while True:
            with self._lock:
                following = next(self._next, None) if self._run["status"] == "RUNNING" else None
                if following is None:
                    return
                index, (child_input, size) = following
                child = self._child(child_input, size)
                _move(self._run, size, "pending", "running")
            self._run_child(index, child)

    def _child(self, child_input: Any, size: int) -> dict[str, Any]:
        name = stepfunctions.new_uuid()
        child = {
            "executionArn": f"{self._children.format('execution')}:{name}",
            "stateMachineArn": self._run["_stateMachineArn"],
            "name": name,
            "status": "RUNNING",
            "startDate": stepfunctions.now_iso(),
            "stopDate": None,
            "input": json.dumps(child_input),
            "inputDetails": {"included": True},
            "output": None,
            "outputDetails": {"included": True},
            "mapRunArn": self._run["mapRunArn"],
            "events": [],
            "testCase": self.parent.get("testCase"),
            "mockAttempts": {},
            "items": size,
        }
        stepfunctions._executions[child["executionArn"]] = child
        return child

    def _run_child(self, index: int, child: dict[str, Any]) -> None:
        child_input = json.loads(child["input"])
        itself = {
            **self.context["Execution"],
            "Id": child["executionArn"],
            "Name": child["name"],
            "Input": child_input,
            "StartTime": child["startDate"],
        }
        context = {**copy.deepcopy(self.context), "Execution": itself, "variables": {}}
        ended: dict[str, Any]
        try:
            output = stepfunctions._run_sub_machine(
                self.iterator["States"], self.iterator["StartAt"], child_input, child, context
            )
            self.outputs[index] = output
            ended = {"status": "SUCCEEDED", "output": json.dumps(output)}
        except EndedError:
            return  # it was aborted, and counted then
        except stepfunctions._ExecutionError as error:
            ended = {"status": "FAILED", "error": error.error, "cause": error.cause}
        except Exception as error:  # whatever it is, it is the child's
            ended = {"status": "FAILED", "error": "States.Runtime", "cause": str(error)}
        with self._lock:
            if child["status"] != "RUNNING":
                return
            child.update(ended, stopDate=stepfunctions.now_iso())
            _move(self._run, child["items"], "running", ended["status"].lower())
            if self._run["itemCounts"]["failed"] > self._tolerated:
                _abort(self._run, "FAILED")


def _move(run: dict[str, Any], items: int, before: str, after: str) -> None:
    for counts, number in ((run["itemCounts"], items), (run["executionCounts"], 1)):
        counts[before] -= number
        counts[after] += number


def _abort(run: dict[str, Any], status: str) -> None:
    """End a map run and its running children."""
    run.update(status=status, stopDate=stepfunctions.now_iso())
    for child in list(stepfunctions._executions.values()):
        if child.get("mapRunArn") == run["mapRunArn"] and child["status"] == "RUNNING":
            child.update(status="ABORTED", stopDate=stepfunctions.now_iso())
            _move(run, child.get("items", 1), "running", "aborted")
    for counts in (run["itemCounts"], run["executionCounts"]):
        counts["aborted"] += counts["pending"]
        counts["pending"] = 0


def _children_end_with_their_parent() -> None:
    """StopExecution of the parent ends its map runs and their children; nothing more is started.

    AWS: so, all are ABORTED. MiniStack: the children go on, and new ones start.
    """
    stop = stepfunctions._stop_execution

    def stop_all(data: dict[str, Any]) -> Any:
        answer = stop(data)
        execution = stepfunctions._executions.get(data.get("executionArn"))
        for run in list(stepfunctions._map_runs.values()):
            if execution and run["executionArn"] == execution["executionArn"] and run["status"] == "RUNNING":
                _abort(run, "ABORTED")
        return answer

    stepfunctions._stop_execution = stop_all
