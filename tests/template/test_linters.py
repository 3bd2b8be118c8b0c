"""What the linters say about the template, as written and as CloudFormation sees it."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path

with warnings.catch_warnings():  # of the linter itself
    warnings.simplefilter("ignore")
    from cfnlint.api import ManualArgs, lint_file
    from cfnlint.match import Match

from tests.support.definitions import TEMPLATE, references, resources, translated

SERVERLESS_RULES = "cfn_lint_serverless.rules"


def is_no_fault(match: Match) -> bool:
    """Whether a rule of cfn-lint-serverless speaks of what it cannot see, and the template has in another way."""
    logical_id = str(match.path[1]) if match.path and len(match.path) > 1 else ""
    if match.rule.id == "WS1004":  # wants a log group named after each function; ours share one, which forgets
        logging = resources("AWS::Lambda::Function")[logical_id]["LoggingConfig"]
        return references(logging["LogGroup"]) <= set(resources("AWS::Logs::LogGroup"))
    if match.rule.id == "ES6000":  # wants a dead-letter queue for each queue; this one is the dead-letter queue
        return logical_id in dead_letter_queues()
    if match.rule.id == "ES1007":  # wants EventInvokeConfig; does not see one that is the alias's, as the permission is
        function = references(resources("AWS::Lambda::Permission")[logical_id]["FunctionName"])
        configured = resources("AWS::Lambda::EventInvokeConfig").values()
        return any(references(one["FunctionName"]) == function and one["Qualifier"] == "live" for one in configured)
    return False


def dead_letter_queues() -> set[str]:
    """Logical ids of the queues that take what another resource could not deliver."""
    found: set[str] = set()
    waiting: list[object] = list(translated()["Resources"].values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, child in value.items():
                if key in ("DeadLetterConfig", "DeadLetterQueue", "RedrivePolicy", "OnFailure"):
                    found |= references(child)
                waiting.append(child)
        elif isinstance(value, list):
            waiting += value
    return found & set(resources("AWS::SQS::Queue"))


@functools.cache
def matches(file: Path) -> list[Match]:
    """What cfn-lint says about a template, with the rules for serverless applications."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[Match] = lint_file(file, config=ManualArgs(append_rules=[SERVERLESS_RULES], regions=["us-east-1"]))
    return found


def faults(file: Path) -> list[str]:
    """What of it is to be fixed."""
    return [f"{match.rule.id} {match.message}" for match in matches(file) if not is_no_fault(match)]


def test_template_is_clean() -> None:
    assert faults(TEMPLATE) == []


def test_translated_template_is_clean(tmp_path: Path) -> None:
    """Some faults show only here: circular dependencies through an event, tracing and logging in SAM's spelling."""
    file = tmp_path / "translated.json"
    file.write_text(json.dumps(translated()))
    assert faults(file) == []


def test_serverless_rules_are_in_force() -> None:
    """These speak of the template, and are overruled above: were they silent, the tests here would prove nothing."""
    assert {"WS1004", "ES6000"} <= {match.rule.id for match in matches(TEMPLATE)}
