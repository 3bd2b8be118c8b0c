"""What an image may cost with the prices as they are, and how many transitions it may need."""

from __future__ import annotations

from typing import Any

import pytest

from ops import cost, definitions
from ops.cost import Load, bill
from pet_detector.rules.prices import REVIEW_TRANSITIONS, TRANSITIONS, image_cost


def test_orchestration_stays_under_a_fifth_of_rekognitions_price() -> None:
    for environment in definitions.environments():
        lines = bill(Load(), definitions.parameters(environment))
        assert cost.orchestration(lines) <= 0.20 * cost.line(lines, "Rekognition")


def test_transitions_do_not_rise() -> None:
    assert definitions.transitions(definitions.CERTAIN) <= 7
    assert definitions.transitions(definitions.REJECTED) <= 7
    assert definitions.transitions(definitions.UNCERTAIN) <= 8
    assert definitions.transitions(definitions.HELD) <= 5
    assert definitions.transitions(definitions.DUPLICATE) <= 2


def test_the_metric_knows_the_transitions_of_the_deployed_workflow() -> None:
    assert definitions.transitions(definitions.CERTAIN) == definitions.transitions(definitions.REJECTED) == TRANSITIONS
    assert definitions.transitions(definitions.UNCERTAIN) == TRANSITIONS + REVIEW_TRANSITIONS


def test_the_metric_is_the_bill_of_rekognition_and_transitions() -> None:
    for uncertain in (False, True):
        lines = bill(Load(uncertain=float(uncertain), retried=0.0), definitions.parameters("prod"))
        expected = cost.line(lines, "Rekognition") + cost.line(lines, "Step Functions")
        assert image_cost(analysed=True, uncertain=uncertain) == pytest.approx(expected)


# --- The routes through a workflow ------------------------------------------------------------------------------------


def _definition(**states: Any) -> dict[str, Any]:
    return {"StartAt": "Start", "States": {"Image Classified": {"Type": "Succeed"}, **states}}


def test_the_longest_branch_counts() -> None:
    definition = _definition(
        Start={"Type": "Choice", "Choices": [{"Next": "Detour"}], "Default": "Image Classified"},
        Detour={"Type": "Pass", "Next": "Image Classified"},
    )

    assert definitions.states_on(definitions.CERTAIN, definition) == ["Start", "Detour", "Image Classified"]


def test_errors_are_followed_only_where_they_are_asked_for() -> None:
    definition = _definition(
        **{"Start": {"Type": "Task", "Catch": [{"Next": "Already Claimed"}], "Next": "Image Classified"}},
        **{"Already Claimed": {"Type": "Succeed"}},
    )

    assert definitions.states_on(definitions.DUPLICATE, definition) == ["Start", "Already Claimed"]
    with pytest.raises(ValueError, match="no route to Image Rejected"):
        definitions.states_on(definitions.REJECTED, definition)


def test_every_function_of_the_workflow_has_an_assumed_duration() -> None:
    functions = set(definitions.functions(definitions.UNCERTAIN)) | set(definitions.functions(definitions.FAILED))

    assert {"ImageProcessorFunction", "FileManagerFunction"} <= functions <= set(cost.MILLISECONDS)
