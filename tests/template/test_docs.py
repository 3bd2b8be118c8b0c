"""What the documents name exists: links, files, make targets, parameters, outputs, alarms, functions and events."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from docs import parameters
from tests.support.definitions import EVENTS, resources, source
from tests.support.paths import REPOSITORY
from tests.support.petdetect import petdetect
from tests.support.templates import load

DOCUMENTS = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("photos/*.md"),
        *REPOSITORY.glob("local/*/*.md"),
    ]
)
IDS = [str(document.relative_to(REPOSITORY)) for document in DOCUMENTS]
ROOTS = [REPOSITORY, REPOSITORY / "functions", REPOSITORY / "functions" / "pet_detector"]
BLOCK = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
FOLDERS = "|".join(
    sorted(path.name for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith("."))
)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", BLOCK.sub("", document.read_text()), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def test_document_of_parameters_is_that_of_the_template() -> None:
    assert parameters.DOCUMENT.read_text() == parameters.markdown(), "run: .venv/bin/python -m docs.parameters"


def code(document: Path) -> list[str]:
    """The code of a document: its blocks, and what stands between backticks in its text."""
    text = document.read_text()
    return [*BLOCK.findall(text), *re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", document.read_text())):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = re.compile(
        rf"(?<![\w./-])(?:(?:{FOLDERS})/[\w./*-]*|pet_detector/[\w./-]*|(?:rules|runtime|aws|use_cases)/\w+\.py)"
    )
    for piece in code(document):
        for name in named.findall(piece):
            if "<" not in piece and not name.startswith(("input/", "samples/")):
                places = [path for root in ROOTS for path in root.glob(name.rstrip("/."))]
                assert places, f"{name} in {piece}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for piece in code(document):
        assert set(re.findall(r"^\s*make (?:\S+=\S+ )*([a-z-]+)", piece, re.MULTILINE)) <= targets, piece


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_command_of_petdetect_exists_with_its_options(document: Path) -> None:
    for piece in code(document):
        for line in re.findall(r"^ *(?:\.venv/bin/)?petdetect (.+)$", piece, re.MULTILINE):
            result = petdetect(*shlex.split(line), "--help")
            assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_parameter_and_output_that_is_named_exists(document: Path) -> None:
    """As `Parameter=value`, and as `output Name` in a shell."""
    outputs = source()["Outputs"].keys()
    stacks = (load(REPOSITORY / "stacks" / f"{name}.yaml") for name in ("access", "delivery", "network"))
    of_administrators = (stack["Parameters"] for stack in stacks)
    parameters_of_stack = source()["Parameters"].keys() | {name for found in of_administrators for name in found}
    for piece in code(document):
        for line in piece.splitlines():
            if not line.lstrip().startswith("aws "):
                assert set(re.findall(r"\b([A-Z][a-z]\w+)=(?!=)", line)) <= parameters_of_stack, line
            assert set(re.findall(r"\$\(output (\w+)\)", line)) <= outputs, line


def test_every_alarm_of_the_service_levels_exists() -> None:
    stacks = "".join(file.read_text() for file in (REPOSITORY / "stacks").glob("*.yaml"))
    alarms = set(re.findall(r"AlarmName: !Sub \"?\$\{ApplicationName\}-([\w-]+)", stacks))
    named = {
        piece for piece in code(REPOSITORY / "docs" / "service_levels.md") if re.fullmatch(r"[a-z]+(-[a-z]+)+", piece)
    }

    assert named
    assert named <= alarms


def test_decisions_have_a_number_a_day_and_a_status() -> None:
    text = (REPOSITORY / "docs" / "decisions.md").read_text()
    entries = re.split(r"^## ", text, flags=re.MULTILINE)[1:]

    for number, entry in enumerate(entries, 1):
        assert re.match(rf"{number}\. .+\n\nDecided \d{{4}}-\d\d-\d\d\. Status: (accepted|superseded by)", entry), (
            entry[:80]
        )


def test_sam_local_names_every_function_with_its_events() -> None:
    """`invoke XFunction -e events/x_one.json   # also _two` names x_one and x_two."""
    named: dict[str, set[str]] = {}
    text = (REPOSITORY / "docs" / "sam_local.md").read_text()
    for function, event, comment in re.findall(r"^invoke (\w+) -e \S*events/(\w+)\.json(.*)$", text, re.MULTILINE):
        folder = re.sub(r"(?<!^)([A-Z])", r"_\1", function.removesuffix("Function")).lower()
        assert event.startswith(folder)
        named[function] = {event, *(folder + suffix for suffix in re.findall(r"(?<= )_\w+", comment))}
    assert set(named) == set(resources("AWS::Lambda::Function"))
    workflow_events = {"console_execution", "s3_object_created"}
    assert set().union(*named.values()) == {file.stem for file in EVENTS.iterdir()} - workflow_events
