"""State transitions of an image, which Step Functions bills, counted in the histories of real executions."""

from __future__ import annotations

import uuid

from tests.benchmarks.measure import Measure
from tests.integration.application import Application
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT

MOST_OF_A_CERTAIN_IMAGE = 8


def measure(application: Application) -> list[Measure]:
    """One execution for each way through the workflow."""
    executions = {
        "certain cat": _execution(application, application.upload(CERTAIN_CAT)),
        "certain dog": _execution(application, application.upload(CERTAIN_DOG)),
        "certain other": _execution(application, application.upload(CERTAIN_OTHER)),
        "uncertain": _execution(application, application.upload(UNCERTAIN_CAT)),
        "rejected": _execution(application, application.client.upload("letter.jpg", "image/jpeg", b"A letter.")),
        "failed": application.start_execution({"detail": {"object": {"key": f"input/{uuid.uuid4().hex}.jpg"}}}),
    }
    executions["delivered again"] = application.start_execution(application.input_of(executions["certain cat"]))
    return [_measured(application, case, execution) for case, execution in executions.items()]


def _execution(application: Application, image_id: str) -> str:
    application.finished(image_id)
    return str(application.item(image_id)["ExecutionArn"]["S"])


def _measured(application: Application, case: str, execution: str) -> Measure:
    end = application.ended(execution)
    count = transitions_of(application, execution)
    is_certain = case.startswith("certain")
    return Measure(
        f"transitions, {case}",
        f"{count}, to {end}",
        target=f"<= {MOST_OF_A_CERTAIN_IMAGE}" if is_certain else "",
        is_met=not is_certain or count <= MOST_OF_A_CERTAIN_IMAGE,
    )


def transitions_of(application: Application, execution: str) -> int:
    """Each state that was entered, and each retry: what AWS bills."""
    events = application.sfn.get_execution_history(executionArn=execution, maxResults=1000)["events"]
    entered = sum("stateEnteredEventDetails" in event for event in events)
    retries = sum(attempts - 1 for attempts in application.attempts(execution).values() if attempts > 1)
    return entered + retries
