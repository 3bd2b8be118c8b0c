"""The workflows as they are written: who may do what, what is promoted, and that every `run` is run by a test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.templates import load
from tests.support.workflows import FOLDER, Step, steps, workflows

Job = dict[str, Any]


def jobs() -> Iterator[tuple[str, str, Job]]:
    for workflow, content in workflows().items():
        for name, job in content["jobs"].items():
            yield workflow, name, job


# --- Every `run` ------------------------------------------------------------------------------------------------------

# Carried out, as they are written, by tests/release/test_promotion.py.
REHEARSED = {
    ".venv/bin/python -m delivery build",
    '.venv/bin/python -m delivery changes --env dev --sha256 "$SHA256"',
    '.venv/bin/python -m delivery deploy --env "$ENVIRONMENT" --sha256 "$SHA256"',
    '.venv/bin/petdetect check --env "$ENVIRONMENT"',
    '.venv/bin/petdetect check --env "$ENVIRONMENT" --only drift',
    '.venv/bin/petdetect check --env "$ENVIRONMENT" --only pictures --only api',
    '.venv/bin/petdetect prune --env "$ENVIRONMENT" --yes',
    '.venv/bin/petdetect rollback --env "$ENVIRONMENT" ${VERSION:+"--to" "$VERSION"} '
    '${FUNCTION:+"--function" "$FUNCTION"} --yes',
    '.venv/bin/petdetect destroy --env "$ENVIRONMENT" --with-data --confirm "serverlessapp-pet-detector-$ENVIRONMENT"',
    "open=$(gh pr list --state open --limit 1000 --json number --jq 'map(.number | tostring) | join(\",\")')\n"
    '.venv/bin/petdetect sweep --env dev --open "${open:-none}"',
}
# Not by a test, and why.
ELSEWHERE = {
    "make .venv/.installed": "it installs the tools that a test runs with",
    "make .engine/node/.installed": "it installs, as before each `make test`",
    "make test": "a test cannot run the suite that it is in; .ci/run does",
    "make test-deployed": ".ci/run does",
    "make audit": "asks indexes of advisories; .ci/run does",
    "make .engine/browser/.installed": "it installs, as before each `make test-browser`",
    "PYTHONPATH=.engine/browser .venv/bin/python -m playwright install --only-shell chromium": "downloads a browser",
    "make test-browser": ".ci/run does",
    "make test-laptop": ".ci/run does",
    "make release": ".ci/run does; the rehearsal is in it",
    "make faults": ".ci/run does",
    "make load DURATION=20": ".ci/run does",
    "docker compose run --rm --build workflow-tests": "needs Docker; tests/template/test_compose.py reads the file",
    'docker compose --profile "*" down --volumes': "needs Docker",
}


def test_every_run_is_run_by_a_test_or_has_a_reason() -> None:
    texts = {step.run for step in steps() if step.run}
    assert texts == REHEARSED | ELSEWHERE.keys()


def test_what_the_machine_of_ci_runs_is_what_the_workflow_runs() -> None:
    here = set((REPOSITORY / ".ci" / "run").read_text().splitlines())
    for text, reason in ELSEWHERE.items():
        if ".ci/run does" in reason:
            assert text in here, text
    targets = set(re.findall(r"^([\w./-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for text in ELSEWHERE:
        if text.startswith("make "):
            assert text.split()[1] in targets, text


def test_no_run_holds_an_expression() -> None:
    """What stands in `${{ }}` is put into the text before a shell reads it: somebody's title could be a command."""
    for step in steps():
        assert "${{" not in step.run, step.name


def test_every_variable_of_a_run_is_given_or_made() -> None:
    for step in steps():
        known = {**step.job_content.get("env", {}), **step.content.get("env", {})}
        made = set(re.findall(r"^(\w+)=", step.run, re.MULTILINE))
        used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", step.run))
        assert used <= known.keys() | made, step.name


# --- Who may do what --------------------------------------------------------------------------------------------------


def test_nothing_but_the_tests_has_a_right_unless_its_job_says_so() -> None:
    for name, content in workflows().items():
        assert content["permissions"] == ({"contents": "read"} if name == "ci" else {}), name
    for workflow, name, job in jobs():
        if workflow != "ci":
            rights = job["permissions"]
            assert rights.pop("contents") == "read", f"{workflow}/{name}"
            assert rights.items() <= {"id-token": "write", "pull-requests": "read"}.items()


def test_only_jobs_that_call_aws_can_say_who_they_are() -> None:
    """And each does: without the right, GitHub gives the job no token."""
    for workflow, name, job in jobs():
        calls_aws = "AWS_CONFIG_FILE" in job.get("env", {}) or job.get("uses", "").endswith("/deploy.yml")
        assert ("id-token" in job.get("permissions", {})) is calls_aws, f"{workflow}/{name}"


def test_job_is_in_the_environment_whose_role_it_takes() -> None:
    allowed = load(REPOSITORY / "stacks" / "delivery.yaml")["Parameters"]["Environment"]["AllowedValues"]
    found = {
        f"{workflow}/{name}": job.get("environment", "")
        for workflow, name, job in jobs()
        if "AWS_CONFIG_FILE" in job.get("env", {})
    }
    assert found == {
        "deploy/deploy": "${{ inputs.environment }}",
        "pull_request/up": "pull-request",
        "pull_request/down": "pull-request",
        "rollback/rollback": "${{ inputs.environment }}",
        "scheduled/drift": "",  # the watcher's role trusts the branch: nobody need approve a look
        "scheduled/sweep": "pull-request",
    }
    asked = workflows()["rollback"]["on"]["workflow_dispatch"]["inputs"]["environment"]["options"]
    promoted = [job["with"]["environment"] for _, _, job in jobs() if job.get("uses", "").endswith("/deploy.yml")]
    assert {*asked, *promoted, "pull-request"} == set(allowed)


def test_there_is_no_secret() -> None:
    for file in FOLDER.glob("*.yml"):
        assert not re.search(r"\$\{\{[^}]*\bsecrets\b|^\s*secrets:", file.read_text(), re.MULTILINE), file.name


def test_no_workflow_runs_with_more_rights_than_the_pull_request_that_starts_it() -> None:
    for name, content in workflows().items():
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(content["on"]), name


GUARDS = (
    "github.event.pull_request.head.repo.full_name == github.repository",
    "github.event.pull_request.user.login != 'dependabot[bot]'",
    "vars.DELIVERY == 'on'",
)


def is_guarded(name: str, of: dict[str, Job]) -> bool:
    """Whether a job of pull_request.yml runs for this repository's own pull requests alone."""
    job = of[name]
    condition = str(job.get("if", ""))
    assert "always()" not in condition
    assert "||" not in condition
    if all(guard in condition for guard in GUARDS):
        return True
    needed = job.get("needs", [])
    return any(is_guarded(other, of) for other in ([needed] if isinstance(needed, str) else needed))


def test_pull_request_of_a_fork_or_of_dependabot_gets_no_credentials() -> None:
    of = workflows()["pull_request"]["jobs"]
    assert all(is_guarded(name, of) for name in of)
    unguarded = {"up": {**of["up"], "needs": []}}
    assert not is_guarded("up", unguarded), "the test can fail"


def test_nothing_calls_aws_before_somebody_turned_delivery_on() -> None:
    for workflow, name, job in jobs():
        if workflow == "scheduled" and "AWS_CONFIG_FILE" in job.get("env", {}):
            assert job["if"] == GUARDS[2], name
    release = workflows()["release"]["jobs"]
    assert release["dev"]["if"] == GUARDS[2]
    assert "dev" in release["staging"]["needs"], "skipped with it"


# --- What comes from elsewhere ----------------------------------------------------------------------------------------


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    pinned: dict[str, set[str]] = {}
    for file in FOLDER.glob("*.yml"):
        for line in file.read_text().splitlines():
            if (found := re.search(r"uses: (\S+)(.*)", line)) and not found[1].startswith("./"):
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", found[1]), line
                assert re.fullmatch(r" # v\d+\.\d+\.\d+", found[2]), line
                pinned.setdefault(found[1].partition("@")[0], set()).add(found[1] + found[2])
    assert all(len(versions) == 1 for versions in pinned.values()), pinned


def test_no_checkout_leaves_its_token_behind() -> None:
    checkouts = [step for step in steps() if step.content.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    for step in checkouts:
        assert step.content["with"] == {"persist-credentials": False}, step.name


# --- One artifact, one deployment at a time ---------------------------------------------------------------------------


def test_one_artifact_goes_from_stage_to_stage() -> None:
    of = workflows()["release"]["jobs"]
    assert [
        name for name, job in of.items() if any("delivery build" in s.get("run", "") for s in job.get("steps", []))
    ] == ["build"]
    assert of["build"]["needs"] == "test", "nothing is built that was not tested"
    assert of["dev"]["needs"] == "build"
    assert of["staging"]["needs"] == ["build", "dev"]
    assert of["prod"]["needs"] == ["build", "staging"]
    for stage in ("dev", "staging", "prod"):
        assert of[stage]["uses"] == "./.github/workflows/deploy.yml"
        assert of[stage]["with"] == {"environment": stage, "sha256": "${{ needs.build.outputs.sha256 }}"}
    up = [step for step in steps("release", "build") if "upload-artifact" in step.content.get("uses", "")]
    down = [step for step in steps("deploy") if "download-artifact" in step.content.get("uses", "")]
    assert [step.content["with"]["name"] for step in up + down] == ["release", "release"]


def test_a_stage_is_deployed_then_checked_then_pruned() -> None:
    texts = [step.run for step in steps("deploy") if step.run.startswith(".venv")]
    assert [re.findall("delivery deploy|petdetect [a-z]+", text) for text in texts] == [
        ["delivery deploy"],
        ["petdetect check"],
        ["petdetect prune"],
    ]


def test_an_environment_is_changed_by_one_job_at_a_time_and_none_is_interrupted() -> None:
    deploy = workflows()["deploy"]["jobs"]["deploy"]["concurrency"]
    assert deploy == {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": False}
    for name in ("pull_request", "release", "rollback", "scheduled"):
        assert workflows()[name]["concurrency"]["cancel-in-progress"] is False
    groups = {name: json.dumps(workflows()[name].get("concurrency", {}).get("group")) for name in workflows()}
    assert "deploy-" not in groups["rollback"], "it must not wait for the deployment that it takes back"


def test_every_job_ends_some_time() -> None:
    for workflow, name, job in jobs():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 90, f"{workflow}/{name}"


@pytest.mark.parametrize("step", [step for step in steps() if "petdetect" in step.run], ids=lambda step: step.name)
def test_petdetect_knows_the_command_and_its_options(step: Step) -> None:
    from ops.cli import main

    for command, rest in re.findall(r"petdetect ([a-z]+)(.*)", step.run):
        known = {option for parameter in main.commands[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known
