"""`petdetect prune`, after many releases."""

from __future__ import annotations

from ops.releases import number_of
from tests.release.report import Numbers
from tests.release.stage import Stage
from tests.release.test_mixing import waiting

RELEASES = 6


def test_old_versions_go_and_what_an_execution_runs_stays(stage: Stage, numbers: Numbers) -> None:
    old = stage.version
    with stage.queue(3600):
        image_id = stage.put()
        waiting(stage, [image_id])
    named = stage.named_by(old)
    for number in range(RELEASES):  # without CloudFormation, which is slow and no part of this
        stage.configure("ImageProcessorFunction", DAILY_ANALYSIS_LIMIT=str(9000 + number))

    planned = stage.petdetect("prune", "--dry-run", "--json")
    pruned = stage.petdetect("prune", "--yes", "--json")
    again = stage.petdetect("prune", "--yes", "--json")

    assert (planned.code, pruned.code, again.code) == (0, 0, 0), pruned.err
    assert pruned.json["deleted"] == planned.json["surplus"]
    assert pruned.json["deleted"]
    assert again.json["surplus"] == []
    versions = stage.sfn.list_state_machine_versions(stateMachineArn=stage.workflow)["stateMachineVersions"]
    left = {number_of(version["stateMachineVersionArn"]) for version in versions}
    assert left >= {*range(stage.version, stage.version - 5, -1), old}
    for name, number in named.items():  # with these it ends, in an hour
        stage.functions_client.get_function(FunctionName=name, Qualifier=str(number))
    fresh = stage.put()
    assert stage.all_final([fresh]).keys() <= {"completed", "needs_review"}
    assert stage.petdetect("rollback", "--yes").code == 0
    numbers.say(f"petdetect prune: {len(pruned.json['deleted'])} versions deleted, {len(left)} of the workflow left")
