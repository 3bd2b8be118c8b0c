"""What is no change of code: a parameter, a timeout, nothing at all; and a rollback by hand."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from tests.release.report import Numbers
from tests.release.stage import Stage

ANALYSING = {"ImageProcessorFunction", "RegisterImagesFunction"}
API = {"UploadApiFunction", "ImagesApiFunction", "ErasureApiFunction", "ReviewApiFunction", "FiguresApiFunction"}


def newer(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """What has a newer version than before."""
    return {name for name in after if after[name] > before[name]}


def test_a_changed_parameter_becomes_a_version_of_just_what_depends_on_it(stage: Stage, numbers: Numbers) -> None:
    before = stage.published()
    stage.tree.give(DailyAnalysisLimit="4321", AllowedOrigin="https://pets.example.org")
    seconds = stage.release()
    after = stage.published()
    assert newer(before, after) == {*ANALYSING, *API, "ImageWorkflow"}
    assert stage.shares() == {after["ImageWorkflow"]: 100}
    name = stage.functions["ImageProcessorFunction"]
    number = stage.named_by(stage.version)[name]
    assert number == after["ImageProcessorFunction"]
    for qualifier, limit in ((number, "4321"), (number - 1, "0")):
        found = stage.functions_client.get_function_configuration(FunctionName=name, Qualifier=str(qualifier))
        assert found["Environment"]["Variables"]["DAILY_ANALYSIS_LIMIT"] == limit
    new = ", ".join(sorted(newer(before, after)))
    numbers.say(f"DailyAnalysisLimit and AllowedOrigin changed: live after {seconds:.1f} s; new versions of {new}")


def test_a_parameter_of_the_definition_and_a_changed_property_become_versions(stage: Stage, numbers: Numbers) -> None:
    before = stage.published()
    stage.tree.give(RecordRetentionDays="99")  # also of ErasureApi
    file_manager = "Move Image - files the picture without its metadata, verifies, and deletes the upload last."
    stage.tree.change("template.yaml", f"{file_manager}\n", f"{file_manager}\n      EphemeralStorage: {{Size: 600}}\n")
    seconds = stage.release()
    after = stage.published()
    assert newer(before, after) == {"ErasureApiFunction", "FileManagerFunction", "ImageWorkflow"}
    assert stage.shares() == {after["ImageWorkflow"]: 100}
    image_id = stage.put()
    stage.all_final([image_id])
    expires = datetime.fromtimestamp(int(stage.item(image_id)["ExpiresAt"]["N"]), UTC)
    assert (expires - datetime.now(UTC)).days in (98, 99)
    numbers.say(f"RecordRetentionDays and a property in the template changed: live after {seconds:.1f} s")


def test_numbers_of_the_policy_need_no_version(stage: Stage, numbers: Numbers) -> None:
    before = stage.published()
    stage.tree.give(MinimumConfidence="77")
    seconds = stage.release()
    assert stage.published() == before
    policy = stage.ssm.get_parameter(Name=stage.outputs["PolicyParameterName"])["Parameter"]["Value"]
    assert json.loads(policy)["minimum"] == 77
    numbers.say(f"MinimumConfidence changed: in its SSM parameter after {seconds:.1f} s, no version")


def test_a_deployment_that_changes_nothing_publishes_nothing(stage: Stage) -> None:
    before, live = stage.published(), stage.shares()
    stage.release()
    assert (stage.published(), stage.shares()) == (before, live)


def test_a_rollback_by_hand_is_one_command(stage: Stage, numbers: Numbers) -> None:
    if max(stage.shares("UploadApiFunction")) == 1:  # nothing was released before this test
        stage.tree.give(DailyAnalysisLimit="1234", AllowedOrigin="https://pets.example.com")
        stage.release()
    newest = stage.version
    (newest_of_api,) = stage.shares("UploadApiFunction")

    shown = stage.petdetect("rollback", "--dry-run")
    began = time.monotonic()
    back = stage.petdetect("rollback", "--yes", "--json")
    seconds = time.monotonic() - began

    assert (shown.code, back.code) == (0, 0), back.err
    before = back.json["to"]
    assert stage.shares() == {before: 100}
    image_id = stage.put()
    stage.all_final([image_id])
    (execution,) = stage.executions_of(image_id)
    assert stage.version_of(execution) == before
    assert set(stage.called_by(execution)) <= set(stage.named_by(before).items())
    assert f"version {before}, not the newest, {newest}" in stage.petdetect("status").out
    assert f", version {before}" in stage.petdetect("explain", image_id).out
    numbers.say(
        f"petdetect rollback: version {newest} to {before} in {seconds:.1f} s, of which the call took "
        f"{back.json['seconds']} s"
    )

    # A function of the API goes back, and forward, by itself.
    api = stage.petdetect("rollback", "--function", "UploadApi", "--yes", "--json")
    assert (stage.shares("UploadApiFunction"), stage.version) == ({api.json["to"]: 100}, before)
    assert api.json["to"] < newest_of_api
    forward = stage.petdetect("rollback", "--function", "UploadApi", "--to", str(newest_of_api), "--yes")
    assert (forward.code, stage.shares("UploadApiFunction")) == (0, {newest_of_api: 100})

    stage.tree.give(DailyAnalysisLimit="1235")  # the next deployment goes on from what is live
    stage.release()
    assert stage.shares() == {newest + 1: 100}
