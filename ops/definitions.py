"""What the repository defines, read from its files: the routes through the workflow and what they are billed for, the
templates, the environments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
WORKFLOW = REPOSITORY / "statemachine" / "image_workflow.asl.yaml"
BACKFILL = REPOSITORY / "statemachine" / "backfill.asl.yaml"
TEMPLATE = REPOSITORY / "template.yaml"
SAMCONFIG = REPOSITORY / "samconfig.toml"


@dataclass(frozen=True)
class Route:
    """How an execution ends (a state's name), which states it passes and which it does not.

    `caught`: it follows a Catch; then the shortest such route counts, else the longest: no branch may be dearer.
    """

    ending: str
    through: frozenset[str] = frozenset()
    past: frozenset[str] = frozenset()
    caught: bool = False


CERTAIN = Route("Log Detection", past=frozenset(["Notify Reviewers"]))
UNCERTAIN = Route("Log Detection", through=frozenset(["Notify Reviewers"]))
REJECTED = CERTAIN  # the same states, to another folder
HELD = Route("Image Held")
DUPLICATE = Route("Already Claimed", caught=True)
# Of a batch of the backfill.
REGISTERED = Route("Batch Registered")
FAILED = Route("Processing Failed", through=frozenset(["Analyze Image", "Record Failure"]), caught=True)

WAIT = "Wait for Turn"
CONVERSION, ANALYSIS = "Convert Image", "Analyze Image"
WAIT_OF_A_BATCH = "Wait for the Schedule"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        from ops.errors import OperatorError  # late: `make dashboards`, which draws these definitions, has no botocore

        remedy = "use the petdetect of the repository, after `make install`"
        raise OperatorError(f"There is no {path.name} beside this program: {remedy}.") from None


@cache
def document(path: Path) -> Mapping[str, Any]:
    """A CloudFormation or ASL document; intrinsic functions (`!Ref Name`) come out as their arguments (`Name`)."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        pass

    def plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - for the type checker: there is no fourth kind
        return loader.construct_mapping(node, deep=True)

    Loader.add_multi_constructor("!", plain)
    found: Mapping[str, Any] = yaml.load(_text(path), Loader)  # noqa: S506 - it is a SafeLoader
    return found


def states_on(route: Route, definition: Mapping[str, Any] | None = None) -> list[str]:
    """Names of the states that an execution enters on this route: AWS bills each as a transition.

    `definition` is the workflow's, by default this repository's. Raises ValueError when there is no such route.
    """
    definition = definition or document(WORKFLOW)
    paths = [
        path
        for path in _paths(definition["States"], [definition["StartAt"]], caught=route.caught)
        if path[-1] == route.ending and route.through <= set(path) and not route.past & set(path)
    ]
    if not paths:
        raise ValueError(f"The workflow has no route to {route.ending}.")
    return min(paths, key=len) if route.caught else max(paths, key=len)


def states_of_a_wait(definition: Mapping[str, Any] | None = None, wait: str = WAIT) -> list[str]:
    """Names of the states that an image enters besides when it waits for its turn once: the way round to the wait."""
    states = (definition or document(WORKFLOW))["States"]
    rounds = _paths(states, [states[wait]["Next"]], caught=False)
    return max((path for path in rounds if path[-1] == wait), key=len)


def states_of_a_conversion() -> list[str]:
    """Names of the states that an image enters besides when a JPEG is made of it first."""
    states = document(WORKFLOW)["States"]
    rounds = (path for path in _paths(states, [CONVERSION], caught=False) if path[-1] == ANALYSIS)
    return [*min(rounds, key=len), states[ANALYSIS]["Next"]]


def _paths(states: Mapping[str, Any], path: list[str], *, caught: bool) -> Iterator[list[str]]:
    """`path`, and every way on from it, no state twice."""
    yield path
    state = states[path[-1]]
    following = [rule["Next"] for rule in state.get("Choices", [])]
    following += [state[name] for name in ("Next", "Default") if name in state]
    following += [rule["Next"] for rule in state.get("Catch", []) if caught]
    for name in dict.fromkeys(following):
        if name not in path:
            yield from _paths(states, [*path, name], caught=caught)


def transitions(route: Route) -> int:
    """State transitions that an execution on this route is billed for, without retries and waits."""
    return len(states_on(route))


def batches() -> tuple[Mapping[str, Any], int]:
    """What the backfill runs for each batch, and the items in one."""
    (found,) = (state for state in document(BACKFILL)["States"].values() if state["Type"] == "Map")
    return found["ItemProcessor"], int(found["ItemBatcher"]["MaxItemsPerBatch"])


def tasks(route: Route) -> list[Mapping[str, Any]]:
    """The Task states of a route, each of which may be retried."""
    states = document(WORKFLOW)["States"]
    return [states[name] for name in states_on(route) if states[name]["Type"] == "Task"]


def functions(route: Route) -> list[str]:
    """Logical ids of the Lambda functions that a route calls, in order."""
    arguments = [task["Arguments"] for task in tasks(route)]
    return [text["FunctionName"].strip("${}") for text in arguments if "FunctionName" in text]


def memory_megabytes(function: str) -> int:
    """Memory of a function by its logical id."""
    template = document(TEMPLATE)
    default = template["Globals"]["Function"]["MemorySize"]
    return int(template["Resources"][function]["Properties"].get("MemorySize", default))


def environments() -> dict[str, dict[str, str]]:
    """Parameters that samconfig.toml sets, by environment; those that run on AWS."""
    sections = tomllib.loads(_text(SAMCONFIG))
    return {
        name: dict(text.split("=", 1) for text in section["deploy"]["parameters"]["parameter_overrides"])
        for name, section in sections.items()
        if isinstance(section, dict) and "deploy" in section and name != "local"
    }


def parameters(environment: str) -> dict[str, str]:
    """All template parameters of an environment: the template's defaults, then what samconfig.toml sets."""
    return defaults() | environments()[environment]


def defaults() -> dict[str, str]:
    """The template's own values of its parameters."""
    return {name: str(entry.get("Default", "")) for name, entry in document(TEMPLATE)["Parameters"].items()}


def old_version_days() -> int:
    """Days that S3 keeps the bytes of a filed image after it has expired."""
    rules = document(TEMPLATE)["Resources"]["ImageBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    filed = next(rule for rule in rules if rule["Prefix"] == "cats/")
    return int(filed["NoncurrentVersionExpiration"]["NoncurrentDays"])


def resources(path: Path = TEMPLATE) -> Iterator[Mapping[str, Any]]:
    """Resources of a template and of those it nests; a nested template counts as often as it is used."""
    for resource in document(path)["Resources"].values():
        yield resource
        if resource["Type"] == "AWS::CloudFormation::Stack":
            yield from resources(path.parent / resource["Properties"]["TemplateURL"])
