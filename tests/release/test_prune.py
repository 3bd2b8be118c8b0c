"""`petdetect prune`, after many releases."""

from __future__ import annotations

from tests.release.conftest import Numbers
from tests.release.stage import Stage
from tests.release.test_mixing import waiting

RELEASES = 6


def test_old_versions_go_and_what_an_execution_runs_stays(stage: Stage, numbers: Numbers) -> None:
    old = stage.version
    with stage.queue(3600):
        image_id = stage.put()
        execution = waiting(stage, [image_id])[image_id]
    named = stage.named_by(old)
    for number in range(RELEASES):
        stage.tree.give(DailyAnalysisLimit=str(9000 + number))
        stage.release()

    planned = stage.petdetect("prune", "--dry-run", "--json")
    pruned = stage.petdetect("prune", "--yes", "--json")
    again = stage.petdetect("prune", "--yes", "--json")

    assert (planned.code, pruned.code, again.code) == (0, 0, 0), pruned.err
    assert pruned.json["deleted"] == planned.json["surplus"]
    assert again.json["surplus"] == []
    left = [
        int(version["stateMachineVersionArn"].rpartition(":")[2])
        for version in stage.sfn.list_state_machine_versions(stateMachineArn=stage.workflow)["stateMachineVersions"]
    ]
    assert left == sorted({*range(stage.version, stage.version - 5, -1), old}, reverse=True)
    # It goes on with what it began with.
    stage.sfn.stop_execution(executionArn=execution)
    stage.settled(image_id)
    with stage.queue(0):
        pass
    assert stage.petdetect("redrive", image_id).code == 0
    for name, number in named.items():
        stage.functions_client.get_function(FunctionName=name, Qualifier=str(number))
    fresh = stage.put()
    assert stage.all_final([fresh]).keys() <= {"completed", "needs_review"}
    numbers.say(f"petdetect prune: {len(pruned.json['deleted'])} versions deleted, {len(left)} of the workflow left")
