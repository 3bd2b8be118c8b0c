"""What an image may cost with the prices as they are, and how many transitions it may need."""

from __future__ import annotations

from typing import Any

import pytest

from ops import cost, definitions
from ops.cost import Load, bill
from pet_detector.rules.prices import REVIEW_TRANSITIONS, TRANSITIONS, WAIT_TRANSITIONS, image_cost

# The workflow before images waited for turns had 7 transitions, and cost 18.5 % of Rekognition's price.
BEFORE_TURNS = 7


def test_orchestration_costs_no_more_than_before_images_waited_for_turns() -> None:
    for environment in definitions.environments():
        lines = bill(Load(), definitions.parameters(environment))
        assert cost.orchestration(lines) <= 0.185 * cost.line(lines, "Rekognition")


def test_orchestration_of_a_burst_stays_under_a_quarter_of_rekognitions_price() -> None:
    lines = bill(Load(waiting=1.0), definitions.parameters("prod"))
    assert cost.orchestration(lines) <= 0.25 * cost.line(lines, "Rekognition")


def test_transitions_do_not_rise() -> None:
    assert definitions.transitions(definitions.CERTAIN) <= 6
    assert definitions.transitions(definitions.REJECTED) <= 6
    assert definitions.transitions(definitions.UNCERTAIN) <= 7
    assert definitions.transitions(definitions.HELD) <= 5
    assert definitions.transitions(definitions.DUPLICATE) <= 2


def test_an_image_of_a_burst_has_at_most_two_transitions_more_than_before_images_waited_for_turns() -> None:
    wait = len(definitions.states_of_a_wait())
    assert definitions.transitions(definitions.CERTAIN) + wait <= BEFORE_TURNS + 2


def test_the_metric_knows_the_transitions_of_the_deployed_workflow() -> None:
    assert definitions.transitions(definitions.CERTAIN) == definitions.transitions(definitions.REJECTED) == TRANSITIONS
    assert definitions.transitions(definitions.UNCERTAIN) == TRANSITIONS + REVIEW_TRANSITIONS
    assert len(definitions.states_of_a_wait()) == WAIT_TRANSITIONS


@pytest.mark.parametrize("uncertain", [False, True])
@pytest.mark.parametrize("waited", [False, True])
def test_the_metric_is_the_bill_of_rekognition_and_transitions(uncertain: bool, waited: bool) -> None:
    load = Load(uncertain=float(uncertain), waiting=float(waited), retried=0.0)
    lines = bill(load, definitions.parameters("prod"))

    expected = cost.line(lines, "Rekognition") + cost.line(lines, "Step Functions")
    assert image_cost(analysed=True, uncertain=uncertain, waited=waited) == pytest.approx(expected)


# --- The routes through a workflow ------------------------------------------------------------------------------------


def _definition(**states: Any) -> dict[str, Any]:
    return {"StartAt": "Start", "States": {"Log Detection": {"Type": "Task", "End": True}, **states}}


def test_the_longest_branch_counts() -> None:
    definition = _definition(
        Start={"Type": "Choice", "Choices": [{"Next": "Detour"}], "Default": "Log Detection"},
        Detour={"Type": "Pass", "Next": "Log Detection"},
    )

    assert definitions.states_on(definitions.CERTAIN, definition) == ["Start", "Detour", "Log Detection"]


def test_errors_are_followed_only_where_they_are_asked_for() -> None:
    definition = _definition(
        **{"Start": {"Type": "Task", "Catch": [{"Next": "Already Claimed"}], "Next": "Log Detection"}},
        **{"Already Claimed": {"Type": "Succeed"}},
    )

    assert definitions.states_on(definitions.DUPLICATE, definition) == ["Start", "Already Claimed"]
    with pytest.raises(ValueError, match="no route to Image Held"):
        definitions.states_on(definitions.HELD, definition)


def test_a_wait_is_the_way_round_to_itself() -> None:
    definition = _definition(
        Start={"Type": "Task", "Next": "Ask"},
        Ask={"Type": "Task", "Catch": [{"Next": "Log Detection"}], "Next": "Turn?"},
        **{"Turn?": {"Type": "Choice", "Choices": [{"Next": "Wait for Turn"}], "Default": "Log Detection"}},
        **{"Wait for Turn": {"Type": "Wait", "Next": "Ask"}},
    )

    assert definitions.states_of_a_wait(definition) == ["Ask", "Turn?", "Wait for Turn"]
    assert definitions.states_on(definitions.CERTAIN, definition) == ["Start", "Ask", "Turn?", "Log Detection"]


def test_a_wait_runs_the_function_that_the_bill_counts_for_it() -> None:
    states = definitions.document(definitions.WORKFLOW)["States"]
    run = [
        states[name]["Arguments"]["FunctionName"] for name in definitions.states_of_a_wait() if name == "Analyze Image"
    ]

    assert run == [f"${{{cost.WAITING_FUNCTION}}}"]


def test_every_function_of_the_workflow_has_an_assumed_duration() -> None:
    functions = set(definitions.functions(definitions.UNCERTAIN)) | set(definitions.functions(definitions.FAILED))

    assert {"ImageProcessorFunction", "FileManagerFunction"} <= functions <= set(cost.MILLISECONDS)
