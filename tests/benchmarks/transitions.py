"""State transitions of an image, which Step Functions bills, counted in the histories of real executions."""

from __future__ import annotations

import uuid

from tests.benchmarks.measure import Measure
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT, Deployment, never_seen

MOST_OF_A_CERTAIN_IMAGE = 6
MOST_OF_A_WAIT = 3
QUEUE_SECONDS = 5


def measure(application: Deployment) -> list[Measure]:
    """One execution for each way through the workflow."""
    executions = {
        "certain cat": _execution(application, application.upload(CERTAIN_CAT)),
        "certain dog": _execution(application, application.upload(CERTAIN_DOG)),
        "certain other": _execution(application, application.upload(CERTAIN_OTHER)),
        "uncertain": _execution(application, application.upload(UNCERTAIN_CAT)),
        "rejected": _execution(application, application.client.upload("letter.jpg", "image/jpeg", b"A letter.")),
        "failed": application.start_execution({"detail": {"object": {"key": f"input/{uuid.uuid4().hex}.jpg"}}}),
    }
    with application.queue(QUEUE_SECONDS):
        waiting = application.client.upload("waits.jpg", "image/jpeg", never_seen(CERTAIN_CAT))
        executions["certain, after a wait"] = _execution(application, waiting)
    executions["delivered again"] = application.start_execution(application.input_of(executions["certain cat"]))
    return [_measured(application, case, execution) for case, execution in executions.items()]


def _execution(application: Deployment, image_id: str) -> str:
    application.settled(image_id)
    return str(application.item(image_id)["ExecutionArn"]["S"])


def _measured(application: Deployment, case: str, execution: str) -> Measure:
    end = application.ended(execution)
    count = transitions_of(application, execution)
    is_certain = case.startswith("certain")
    waits = application.states_entered(execution).count("Wait for Turn")
    most = MOST_OF_A_CERTAIN_IMAGE + waits * MOST_OF_A_WAIT
    return Measure(
        f"transitions, {case}",
        f"{count}, to {end}",
        target=f"<= {most}" if is_certain else "",
        is_met=not is_certain or count <= most,
    )


def transitions_of(application: Deployment, execution: str) -> int:
    """Each state that was entered, and each retry: what AWS bills."""
    entered = application.states_entered(execution)
    retries = sum(count - entered.count(state) for state, count in application.attempts(execution).items() if count)
    return len(entered) + retries
