"""60 executions, and a release in the middle: none runs code of both."""

from __future__ import annotations

from collections import Counter

from tests.release.report import Numbers
from tests.release.stage import SETTLE_SECONDS, Stage
from tests.support.deployment import CERTAIN_CAT, never_seen
from tests.support.waiting import eventually

EACH = 30


def waiting(stage: Stage, images: list[str]) -> dict[str, str]:
    """Wait until each image has an execution that waits for its turn -> the execution's ARN by image."""
    found: dict[str, str] = {}

    def all_wait() -> bool:
        for image_id in images:
            item = stage.item(image_id)
            if image_id not in found and "TurnAt" in item:
                found[image_id] = item["ExecutionArn"]["S"]
        return len(found) == len(images)

    eventually(all_wait, f"{len(images)} images wait for their turns", SETTLE_SECONDS)
    for arn in found.values():
        eventually(lambda arn=arn: stage.states_entered(arn)[-1] == "Wait for Turn", "it waits")  # type: ignore[misc]
    return found


def test_executions_run_one_version_to_their_end(stage: Stage, numbers: Numbers) -> None:
    old = stage.version
    with stage.queue(1.5 * stage.release_seconds + 20):  # longer than this one: they end after it, on what they began
        before = [stage.put(number) for number in range(EACH)]
        executions = waiting(stage, before)
    stopped, lost, *rest = before
    stage.sfn.stop_execution(executionArn=executions[stopped])
    eventually(lambda: stage.status(stopped) == "failed", "the failure of the stopped one is recorded")
    version_id = stage.item(lost)["SourceVersion"]["S"]
    stage.s3.delete_object(Bucket=stage.bucket, Key=f"input/{lost}.jpg", VersionId=version_id)

    stage.tree.change("functions/pet_detector/rules/policy.py", "RULES_VERSION = 2", "RULES_VERSION = 3")  # all zips
    after: list[str] = []
    with stage.releasing() as shift:
        while len(shift.history) == 1 and not shift.seconds:
            if len(after) < EACH // 2:
                after.append(stage.put(len(after)))
            eventually(lambda: stage.status(after[-1]), "it has begun")
        crossing = [arn for arn in executions.values() if stage.is_running(arn)]
        after += [stage.put(number) for number in range(EACH - len(after))]
    assert shift.refusal == ""
    new = stage.version
    assert (shift.history, new > old) == ([{old: 100}, {new: 100}], True)
    assert crossing, "the release took longer than the executions"

    assert set(stage.all_final([*rest, *after])) <= {"completed", "needs_review"}
    assert stage.all_final([stopped, lost]) == {"failed": 2}

    # Redriven by Step Functions: the same execution, which goes on with what it began with.
    stage.sfn.redrive_execution(executionArn=executions[stopped])
    eventually(lambda: stage.status(stopped) in ("completed", "needs_review"), "the stopped one is redriven")
    stage.ended(executions[stopped])
    # Redriven by petdetect: a new execution, of the release that is live.
    with stage.uploads_ignored():
        stage.put_object(f"input/{lost}.jpg", never_seen(CERTAIN_CAT))
    redriven = stage.petdetect("redrive", lost)
    assert redriven.code == 0, redriven.out + redriven.err
    (failed_one,) = [arn for arn in stage.executions_of(lost) if arn == executions[lost]]
    (second,) = [arn for arn in stage.executions_of(lost) if arn != executions[lost]]
    assert (stage.version_of(failed_one), stage.version_of(second)) == (old, new)

    ran = Counter[int]()
    for image_id in [*before, *after]:
        for arn in stage.executions_of(image_id):
            version = stage.version_of(arn)
            calls = stage.called_by(arn)
            named = stage.named_by(version)
            assert calls, arn
            assert set(calls) <= set(named.items()), f"{arn} ran {calls}, and version {version} names {named}"
            ran[version] += 1
        rules = stage.item(image_id)["PolicyVersion"]["S"].partition(":")[0]
        of_last = stage.version_of(stage.item(image_id)["ExecutionArn"]["S"])
        assert rules == ("2" if of_last == old else "3"), image_id
    assert all(stage.version_of(arn) == old for arn in executions.values())
    assert {stage.version_of(stage.executions_of(image_id)[0]) for image_id in after} == {old, new}
    assert ran.keys() == {old, new}
    assert stage.wrong([*before, *after]) == []
    numbers.say(
        f"{sum(ran.values())} executions of {2 * EACH} images around a release of {shift.seconds:.0f} s: {ran[old]} "
        f"ran version {old}, {ran[new]} version {new}, 0 both; {len(crossing)} in flight ended on version {old}, 1 "
        "of them redriven by Step Functions; 1 redriven by petdetect ended on the new one"
    )
