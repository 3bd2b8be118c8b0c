"""A backfill that is killed three times, and its price against what really ran.

`python -m tests.faults.backfill [N [PACE]]` takes minutes for 1,000 pictures: Rekognition's turns come at PACE a
second. The price depends on how many images wait for their turn: the machine should keep up with the pace.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from local.terminal import run_command
from ops.environment import LOCAL, STACK_PREFIX
from pet_detector.rules.prices import prices
from tests.support.backfills import URL, Backfills
from tests.support.deployment import Deployment
from tests.support.starter import running
from tests.support.waiting import eventually

REPEATED = 10  # pictures whose bytes are another one's
TOLERANCE = 0.05
PACE = 2.0


def main(arguments: list[str]) -> int:
    """Print what happens; 1 when a picture was done twice or not at all, or the price was another one."""
    count = int(arguments[0]) if arguments else 1000
    pace = float(arguments[1]) if len(arguments) > 1 else PACE
    scratch = tempfile.TemporaryDirectory(prefix="pet-detector-backfill-")
    with scratch as directory, running(Path(directory) / "engine") as engine:
        return _backfill(Backfills(Deployment(engine)), count, pace)


def _backfill(backfills: Backfills, count: int, pace: float) -> int:
    deployment = backfills.deployment
    backfills.fill(count, REPEATED)
    _smaller_batches(backfills)
    megabytes = sum(source.size for source in backfills.sources) / count / 1024**2
    _set_pace(deployment, pace)
    preview = backfills.run("backfill", URL, "--dry-run", "--uncertain", "0%")["preview"]
    _say(f"{count} pictures, {preview['distinct']} different, {pace:g} turns a second")
    begun = time.monotonic()
    _killed_three_times(backfills, count)
    after = backfills.run("backfill", URL, "--yes", "--uncertain", "0%", codes=(0, 3))
    _say(f"run again: {after['backfill']['status']}, {json.dumps(after['after']['images'])}")
    backfills.settle()
    _say(f"all final after {time.monotonic() - begun:.0f} s: {dict(backfills.statuses())}")
    problems = backfills.problems()
    actual: Any = eventually(lambda: _actual(backfills, megabytes, count), "the metrics have arrived", 60)
    calls = actual["counts"]["RekognitionCall"]
    _say(f"Rekognition was asked {calls} times about {backfills.distinct} different pictures")
    if calls != backfills.distinct:
        problems.append("a picture was paid for twice, or never")
    _say(f"executions of the workflow: {len(deployment.execution_arns())} for {count} images")
    problems += _price(backfills, preview, actual)
    for problem in problems:
        _say(f"PROBLEM {problem}")
    _say("every picture once, at the previewed price" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


def _set_pace(deployment: Deployment, pace: float) -> None:
    """Deploy with this RekognitionCallsPerSecond."""
    cloudformation, name = deployment.engine.client("cloudformation"), STACK_PREFIX + LOCAL
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    given = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack["Parameters"]}
    given["RekognitionCallsPerSecond"] = f"{pace:g}"
    cloudformation.update_stack(
        StackName=name,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    cloudformation.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def _smaller_batches(backfills: Backfills) -> None:
    """So that each kill meets a backfill in the middle: of the deployed definition, only these numbers change."""
    found = backfills.deployment.sfn.describe_state_machine(stateMachineArn=backfills.machine)["definition"]
    definition = json.loads(found)
    each = definition["States"]["Register Every Object"]
    each["MaxConcurrency"], each["ItemBatcher"]["MaxItemsPerBatch"] = 3, 10
    backfills.deployment.sfn.update_state_machine(stateMachineArn=backfills.machine, definition=json.dumps(definition))


def _killed_three_times(backfills: Backfills, count: int) -> None:
    sfn = backfills.deployment.sfn
    with backfills.far_ahead():
        execution = _started(backfills)
        waiting = backfills.wait_for_batches_that_wait(execution)
        sfn.stop_execution(executionArn=execution)
    _say(f"1 stopped while {waiting} batches waited for the schedule: {backfills.statuses().total()} images")
    execution = _started(backfills)
    command = backfills.start("backfill", "--resume")
    _wait_until(backfills, count // 4)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    assert backfills.running() == execution
    _say(f"2 the command was killed (SIGKILL), {backfills.statuses().total()} images; its execution goes on")
    _wait_until(backfills, count // 2)
    sfn.stop_execution(executionArn=execution)
    killed = backfills.kill_workers("RegisterImagesFunction")
    _say(
        f"3 the execution was stopped with {len(backfills.children(execution))} batches begun, and {killed} processes "
        f"of RegisterImages were killed (SIGKILL): {dict(backfills.statuses())}"
    )


def _started(backfills: Backfills) -> str:
    """A backfill that a command has started, and was killed at once."""
    command = backfills.start("backfill", URL, "--yes", "--uncertain", "0%")
    execution = eventually(backfills.running, "the backfill runs", 120)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    return execution


def _wait_until(backfills: Backfills, count: int) -> None:
    eventually(lambda: backfills.statuses().total() >= count, f"{count} images are registered", 600)


def _actual(backfills: Backfills, megabytes: float, count: int) -> Any:
    """What `petdetect cost --actual` says, when every picture is in its metrics."""
    found = backfills.run("cost", "--actual", "--size", f"{megabytes:.4f}MB")
    return found if found["imagesFinished"] >= count else None


def _price(backfills: Backfills, preview: Any, actual: Any) -> list[str]:
    """Preview against what really ran, line by line; the workflow's transitions also by its histories."""
    spent = {line["name"]: line["dollars"] for line in actual["lines"]}
    expected = {line["name"]: line["perImage"] * preview["toDo"] for line in preview["lines"]}
    for name in dict.fromkeys([*expected, *spent]):
        _say(f"  {name:36} preview ${expected.get(name, 0):.6f}  actual ${spent.get(name, 0):.6f}")
    off = preview["total"] / actual["total"] - 1
    _say(f"  {'Total':36} preview ${preview['total']:.6f}  actual ${actual['total']:.6f}  ({off:+.2%})")
    entered = sum(len(backfills.deployment.states_entered(arn)) for arn in backfills.deployment.execution_arns())
    counted = entered * prices()["states_standard_transition"]
    differs = spent["Step Functions"] / counted - 1
    _say(f"  transitions of the workflow by the histories: {entered}, ${counted:.6f} (actual {differs:+.2%})")
    found = [f"the price differs by {off:+.2%}"] if abs(off) > TOLERANCE else []
    return found + (
        [f"the transitions that --actual computes differ by {differs:+.2%}"] if abs(differs) > TOLERANCE else []
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    run_command(lambda: sys.exit(main(sys.argv[1:])))
