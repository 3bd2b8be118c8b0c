"""The definitions of the state machines: whole graphs, bounded attempts, errors that exist, and written budgets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from statelint.config import Config
from statelint.linter import Linter
from statelint.problem import ProblemType

from pet_detector.rules import errors
from tests.support.definitions import Machine, invoked_function, machines, resources
from tests.support.handler_runs import observe
from tests.support.paths import REPOSITORY

# What AWS itself throws into a state machine, beside what the functions raise. From the developer guide of AWS Step
# Functions ("Handling errors", "Lambda service integration") and from botocore's model of DynamoDB. Step Functions puts
# the service before the name of the error in its own SDK (Java, version 1). What that SDK does not model, such as the
# throttle of an on-demand table or a denied access, is DynamoDB.AmazonDynamoDBException. The names that the local AWS
# sends instead (DynamoDB.ThrottlingException and its like) are retried as well.
AWS_ERRORS = {
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.ItemReaderFailed",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultWriterFailed",
    "States.TaskFailed",
    "States.Timeout",
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Sandbox.Timedout",
    "Runtime.ExitError",
    "DynamoDB.AmazonDynamoDBException",
    "DynamoDB.ConditionalCheckFailedException",
    "DynamoDB.InternalServerError",
    "DynamoDB.InternalServerErrorException",
    "DynamoDB.ProvisionedThroughputExceededException",
    "DynamoDB.RequestLimitExceeded",
    "DynamoDB.RequestLimitExceededException",
    "DynamoDB.SdkClientException",
    "DynamoDB.ServiceUnavailableException",
    "DynamoDB.ThrottlingException",
    "DynamoDB.TransactionConflictException",
}
DOMAIN_ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PetDetectorError) and kind is not errors.PetDetectorError
}
# The others need a person, or another day: no wait helps.
RETRIED_DOMAIN_ERRORS = {
    "ThrottledError",
    "ServiceError",
    "AnalysisInProgressError",
    "ImageNotFoundError",  # in a bucket whose versioning is new it may not be visible yet
}

# A new account may run ten functions at once: what Lambda throttles is tried again for hours.
LAMBDA_THROTTLES = ["Lambda.TooManyRequestsException"]

ENDS = {"Succeed", "Fail"}

MACHINES = machines()
each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
each_task = pytest.mark.parametrize(
    ("machine", "name", "task"),
    [pytest.param(machine, name, task, id=name) for machine in MACHINES for name, task in machine.tasks()],
)


def successors(state: dict[str, Any]) -> list[str]:
    """Where a state may lead, errors included."""
    leads = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return [lead["Next"] for lead in leads if "Next" in lead] + ([state["Default"]] if "Default" in state else [])


def waits(retrier: dict[str, Any]) -> list[float]:
    """Longest wait in seconds before each attempt of a retrier; full jitter waits between zero and this."""
    return [
        min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempt, retrier["MaxDelaySeconds"])
        for attempt in range(retrier["MaxAttempts"])
    ]


def budget(task: dict[str, Any], *, throttled: bool = False) -> float:
    """The most seconds that a task may take, without what Lambda's throttles add unless it is `throttled`.

    Each retrier counts its own attempts, so that in the worst case all of them are used up, whatever their order:
    TimeoutSeconds x (1 + sum of MaxAttempts) + sum of all waits.
    """
    retriers = [r for r in task.get("Retry", []) if throttled or r["ErrorEquals"] != LAMBDA_THROTTLES]
    attempts = 1 + sum(retrier["MaxAttempts"] for retrier in retriers)
    return float(task["TimeoutSeconds"] * attempts + sum(sum(waits(retrier)) for retrier in retriers))


# What an execution enters once at most, though the graph has a way back to it: its function takes no JPEG.
ONCE, AFTERWARDS = frozenset({"Convert Image"}), "Analyze Image"


def longest(graph: dict[str, Any], *, throttled: bool = False, once: frozenset[str] = ONCE) -> float:
    """Seconds of the slowest way through a graph, or to or from a state that waits for a time of its own.

    Fails the test when there is another way round in circles.
    """
    states = graph["States"]
    on_the_way: set[str] = set()

    @cache
    def from_here(name: str) -> float:
        if name == AFTERWARDS and name in on_the_way:
            return 0  # only from there, where it is counted
        assert name not in on_the_way, f"{name} leads back to itself"
        state = states[name]
        if (state["Type"] == "Wait" and "Timestamp" in state) or name in ONCE - once:
            return 0
        if name in once:
            rest = longest(graph | {"StartAt": AFTERWARDS}, throttled=throttled, once=once - {name})
            return budget(state, throttled=throttled) + rest
        on_the_way.add(name)
        own: float = state.get("Seconds", 0)
        if state["Type"] == "Task":
            own = budget(state, throttled=throttled)
        inner = [*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])]
        own += max((longest(part, throttled=throttled) for part in inner), default=0)
        total = own + max(map(from_here, successors(state)), default=0)
        on_the_way.remove(name)
        return total

    after_a_wait = [state["Next"] for state in states.values() if state["Type"] == "Wait" and "Timestamp" in state]
    return max(map(from_here, [graph["StartAt"], *after_a_wait]))


def on_one_line(value: Any) -> Any:
    """statelint knows JSONata only within one line, and not as the Timestamp of a Wait."""
    if isinstance(value, dict):
        if value.get("Type") == "Wait" and str(value.get("Timestamp")).startswith("{%"):
            value = value | {"Timestamp": "2026-11-21T09:30:00Z"}
        return {key: on_one_line(child) for key, child in value.items()}
    if isinstance(value, list):
        return [on_one_line(child) for child in value]
    return value.replace("\n", " ") if isinstance(value, str) else value


@each_machine
def test_statelint_finds_nothing(machine: Machine) -> None:
    # It takes an integer for no number: BackoffRate 2.
    problems = Linter.validate(on_one_line(machine.definition), Config(ignored_problem_types={ProblemType.FLOAT}))
    # Nor does it know that a Map's MaxConcurrency may be JSONata.
    jsonata = '.MaxConcurrency is "{% $states.input.concurrency %}" but should be numeric'
    assert [problem for problem in problems if not problem.endswith(jsonata)] == []


@each_machine
def test_every_state_can_be_reached_and_every_path_ends(machine: Machine) -> None:
    for graph in machine.graphs():
        states = graph["States"]
        reached, frontier = set(), {graph["StartAt"]}
        while frontier:
            reached |= frontier
            frontier = {follower for name in frontier for follower in successors(states[name])} - reached
        assert reached == set(states)
        ending = {name for name, state in states.items() if state["Type"] in ENDS or state.get("End")}
        while grown := {name for name in states.keys() - ending if ending.intersection(successors(states[name]))}:
            ending |= grown
        assert ending == set(states)
        for name, state in states.items():
            assert state["Type"] != "Choice" or "Default" in state, f"{name} has no Default"


@each_machine
def test_every_state_says_what_it_is_for(machine: Machine) -> None:
    for name, state in [("the machine", machine.definition), *machine.states()]:
        assert len(state.get("Comment", "").strip()) > 20, name


@each_task
def test_task_has_a_timeout_bounded_retries_and_a_last_catch(machine: Machine, name: str, task: dict[str, Any]) -> None:
    assert isinstance(task["TimeoutSeconds"], int)
    assert task["Retry"], "no Retry"
    for retrier in task["Retry"]:
        assert retrier["JitterStrategy"] == "FULL"
        assert {"IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds"} <= retrier.keys()
        assert retrier["MaxAttempts"] > 0
        assert retrier["IntervalSeconds"] <= retrier["MaxDelaySeconds"]
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@each_task
def test_task_retries_named_errors_that_exist_each_once(machine: Machine, name: str, task: dict[str, Any]) -> None:
    retried = [error for retrier in task["Retry"] for error in retrier["ErrorEquals"]]
    caught = [error for catcher in task["Catch"] for error in catcher["ErrorEquals"]]
    assert len(retried) == len(set(retried))
    assert len(caught) == len(set(caught))
    assert {*retried, *caught} <= AWS_ERRORS | DOMAIN_ERRORS
    assert not {"States.ALL", "States.TaskFailed"}.intersection(retried), "retries what no wait can fix"


@each_task
def test_task_retries_just_the_domain_errors_that_a_wait_can_fix(
    machine: Machine, name: str, task: dict[str, Any]
) -> None:
    retried = {error for retrier in task["Retry"] for error in retrier["ErrorEquals"]}
    function = invoked_function(task)
    handler = resources("AWS::Lambda::Function")[function]["Handler"] if function else None
    raised = {type(error).__name__ for error in observe(handler).raised} if handler else set()
    assert retried & DOMAIN_ERRORS == raised & RETRIED_DOMAIN_ERRORS


@each_task
def test_task_that_calls_dynamodb_retries_what_step_functions_calls_an_error_without_a_name(
    machine: Machine, name: str, task: dict[str, Any]
) -> None:
    retried = {error for retrier in task["Retry"] for error in retrier["ErrorEquals"]}
    assert ("DynamoDB.AmazonDynamoDBException" in retried) is (":dynamodb:" in task["Resource"])


@each_task
def test_task_that_writes_to_dynamodb_retries_what_meets_the_transaction_of_a_verdict(
    machine: Machine, name: str, task: dict[str, Any]
) -> None:
    """It is written together with a look at the record (aws/reviews.py). A GetItem is never refused for it."""
    retried = {error for retrier in task["Retry"] for error in retrier["ErrorEquals"]}
    is_write = ":dynamodb:" in task["Resource"] and not task["Resource"].endswith(":getItem")
    assert ("DynamoDB.TransactionConflictException" in retried) is is_write


@each_task
def test_task_outlives_the_function_that_it_runs(machine: Machine, name: str, task: dict[str, Any]) -> None:
    function = invoked_function(task)
    if function is None:
        pytest.skip("runs no function")
    # Else a second attempt could begin while the first still works.
    assert resources("AWS::Lambda::Function")[function]["Timeout"] < task["TimeoutSeconds"]


@each_task
def test_budget_beside_the_retries_is_what_they_may_take(machine: Machine, name: str, task: dict[str, Any]) -> None:
    assert machine.budget_comments()[name] == budget(task)


@each_machine
def test_machine_may_run_as_long_as_its_slowest_path(machine: Machine) -> None:
    """Though Lambda throttles every function for as long as it is tried again. What is left is for waits."""
    assert machine.definition["TimeoutSeconds"] >= 2 * longest(machine.definition, throttled=True)


@each_task
def test_what_lambda_throttles_is_tried_again_for_half_a_day(machine: Machine, name: str, task: dict[str, Any]) -> None:
    """Full jitter waits half of each longest wait on average."""
    if invoked_function(task) is None:
        pytest.skip("runs no function")
    (retrier,) = [r for r in task["Retry"] if set(LAMBDA_THROTTLES) & set(r["ErrorEquals"])]
    assert retrier["ErrorEquals"] == LAMBDA_THROTTLES, "other errors would be tried as long"
    assert sum(waits(retrier)) / 2 > 12 * 60 * 60


@pytest.mark.parametrize("file", sorted((REPOSITORY / "statemachine").iterdir()), ids=lambda file: file.name)
def test_the_definition_has_no_anchor_alias_or_merge_key(file: Path) -> None:
    """CloudFormation gets the file byte for byte and resolves none of them; PyYAML would, and hide it."""
    assert anchors_in(file.read_text()) == []


def test_an_anchor_an_alias_and_a_merge_key_would_be_found() -> None:
    text = "a: &x {b: 1}\nc: *x\nd: {<<: {e: 2}}\nf: '{% $x & *y %}' # & * <<\n"

    assert anchors_in(text) == ["&x in line 1", "*x in line 2", "<< in line 3"]


def anchors_in(text: str) -> list[str]:
    """Every anchor, alias and merge key of a YAML document."""
    found = []
    for event in yaml.parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            found.append(f"*{event.anchor} in line {line}")
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            found.append(f"&{event.anchor} in line {line}")
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None:
            found.append(f"<< in line {line}")
    return found


@each_machine
def test_substitutions_are_those_that_the_definition_uses(machine: Machine) -> None:
    assert set(re.findall(r"\$\{(\w+)\}", machine.text)) == set(machine.substitutions)


def test_every_function_that_a_machine_may_run_is_run_by_it() -> None:
    for machine in MACHINES:
        run = {invoked_function(task) for _, task in machine.tasks()} - {None}
        assert run == {name for name in machine.substitutions if name.endswith("Function")}
