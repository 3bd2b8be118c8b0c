"""A second engine judges the state machine: the reference implementation of JSONata, and a second validator.

Both come from npm (`make test` installs them). Where node or its packages are missing, these tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.templates import load

from .evaluations import NODE_TOOLS, Evaluation, reference
from .executions import definition


@pytest.fixture(autouse=True, scope="module")
def _node() -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE_TOOLS / "node_modules").is_dir():
        pytest.skip("the packages for node are not installed: run `make .engine/node/.installed`")


def expressions(value: Any) -> Iterator[str]:
    """Every JSONata expression in a part of the definition."""
    if isinstance(value, str) and value.startswith("{%"):
        yield value[2:-2].strip()
    elif isinstance(value, dict):
        for child in value.values():
            yield from expressions(child)
    elif isinstance(value, list):
        for child in value:
            yield from expressions(child)


def test_every_state_machine_is_judged() -> None:
    files = {file.name for file in (REPOSITORY / "statemachine").iterdir()}
    assert files == {"image_workflow.asl.yaml", "backfill.asl.yaml", "review.asl.yaml"}, "evaluate the new one too"


# What the expressions of the backfill read, and what they should give, by a part of them.
_BATCH = {"BatchInput": {"bucket": "photos", "backfill": "one"}, "Items": [{"key": "a.jpg"}]}
_BACKFILL: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        {"input": {"bucket": "photos", "prefix": "2024/", "concurrency": 3}},
        {},
        {"input.bucket": "photos", "input.prefix": "2024/", "input.concurrency": 3},
    ),
    (
        {
            "context": {
                "Execution": {"Name": "one"},
                "Map": {"Item": {"Value": {"Key": "a b.jpg", "Size": 7, "Etag": '"e"', "StorageClass": "STANDARD"}}},
            }
        },
        {},
        {
            "Value.Key": "a b.jpg",
            "Value.Size": 7,
            "Value.Etag": '"e"',
            "StorageClass": "STANDARD",
            "Execution.Name": "one",
        },
    ),
    (
        {"input": _BATCH, "result": {"Payload": {"outcome": "busy"}}},
        {},
        {
            "BatchInput.bucket": "photos",
            "BatchInput.backfill": "one",
            "input.Items": [{"key": "a.jpg"}],
            "$states.result.Payload %": {"outcome": "busy"},
            "$merge": {**_BATCH, "rounds": 1},
        },
    ),
    (
        {"input": {**_BATCH, "rounds": 6}, "result": {"Payload": {"outcome": "wait"}}},
        {"registration": {"outcome": "busy", "until": "2026-11-29T18:00:00Z"}},
        {
            "$merge": {**_BATCH, "rounds": 6},
            "rounds > 5": True,
            "in ['wait', 'busy']": True,
            "registration.until": "2026-11-29T18:00:00Z",
        },
    ),
    (
        {"input": {**_BATCH, "rounds": 5}, "errorOutput": {"Error": "E", "Cause": "C"}},
        {"registration": {"outcome": "busy", "counts": {"denied": 2}}, "failure": {"Error": "E", "Cause": "c" * 1001}},
        {
            "rounds > 5": False,
            "counts.denied": 2,
            "errorOutput": {"Error": "E", "Cause": "C"},
            "$failure.Error": "E",
            "$failure.Cause": "c" * 1000,
        },
    ),
    (
        {"input": _BATCH},
        {"registration": {"outcome": "registered", "counts": {}}, "failure": {"Error": "States.Timeout"}},
        {"in ['wait', 'busy']": False, "counts.denied": 0, "$failure.Cause": ""},
    ),
    ({"input": [0, 2, {"a failed": "batch"}]}, {}, {"'batches'": {"batches": 3, "denied": 2}}),
    ({"input": []}, {}, {"'batches'": {"batches": 0, "denied": 0}}),
]


def test_the_reference_implementation_gives_what_the_backfill_expects() -> None:
    unread = set(expressions(load(REPOSITORY / "statemachine" / "backfill.asl.yaml")))
    everything = set(unread)
    for states, variables, expected in _BACKFILL:
        for part, value in expected.items():
            (expression,) = [text for text in everything if part.removesuffix(" %") in text and _is_whole(part, text)]
            unread.discard(expression)
            assert reference([Evaluation(expression, states, variables, {})]) == [{"value": value}], expression
    assert unread == set()


def _is_whole(part: str, expression: str) -> bool:
    """Of a part that ends in " %" the whole expression is meant, as others contain it."""
    return not part.endswith(" %") or part.removesuffix(" %") == expression


def test_every_expression_of_the_definition_is_evaluated(evaluations: list[Evaluation]) -> None:
    assert set(expressions(definition())) - {evaluation.expression for evaluation in evaluations} == set()


def test_the_reference_implementation_gives_what_the_engine_gave(evaluations: list[Evaluation]) -> None:
    judged = dict.fromkeys(expressions(definition()))
    chosen = [evaluation for evaluation in evaluations if evaluation.expression in judged]

    differences = [
        (evaluation, answer)
        for evaluation, answer in zip(chosen, reference(chosen), strict=True)
        if answer != expected_of(evaluation)
    ]

    print(f"{len(judged)} expressions, {len(chosen)} evaluations, {len(differences)} differences")
    assert differences == []
    assert len(chosen) > len(judged)


def expected_of(evaluation: Evaluation) -> dict[str, Any]:
    """The reference's answer to an evaluation when both agree."""
    code = evaluation.error_code
    if code is None:
        return {"value": evaluation.outcome["value"]}
    return {"undefined": True} if code == "undefined" else {"code": code}


def test_the_reference_implementation_can_disagree(evaluations: list[Evaluation]) -> None:
    """Else the comparison above would prove nothing."""
    (asked, *_) = [evaluation for evaluation in evaluations if evaluation.error_code is None]

    assert reference([Evaluation("1 + 1", asked.states, {}, {"value": 3})]) == [{"value": 2}]
    assert reference([Evaluation("$error('no')", {}, {}, {}), Evaluation("$nothing", {}, {}, {})]) == [
        {"code": "D3137"},
        {"undefined": True},
    ]


def test_asl_validator_finds_nothing(tmp_path: Path) -> None:
    assert problems_of(definition(), tmp_path) == ""


def test_asl_validator_can_find_something(tmp_path: Path) -> None:
    broken = definition()
    broken["States"]["Analyze Image"]["Next"] = "Nowhere"

    assert "Nowhere" in problems_of(broken, tmp_path)


def problems_of(machine: dict[str, Any], directory: Path) -> str:
    """What asl-validator says of a definition; "" when it is valid."""
    file = directory / "machine.asl.json"
    file.write_text(json.dumps(_on_one_line(machine)))
    command: list[str | Path] = [
        "node",
        NODE_TOOLS / "node_modules" / "asl-validator" / "dist" / "bin" / "asl-validator.js",
    ]
    done = subprocess.run([*command, "--json-path", file], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _on_one_line(value: Any) -> Any:
    """It knows JSONata only within one line."""
    return json.loads(json.dumps(value).replace("\\n", " "))
