"""The saved queries name fields that logs have, and the documents say what the stack has.

No parser of Logs Insights is at hand: moto's and the local AWS's know `fields`, `filter` on one field, `sort` and
`limit`. So the grammar is checked by the rules below, and the names against lines that the functions really write.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from docs import dashboards
from tests.observability import tables
from tests.support.handler_runs import observe
from tests.support.paths import REPOSITORY
from tests.support.stacks import observability
from tests.support.stories import STORIES
from tests.support.templates import load

STACK = observability()
QUERIES: dict[str, dict[str, Any]] = STACK.of_type("AWS::Logs::QueryDefinition")
DASHBOARDS = STACK.of_type("AWS::CloudWatch::Dashboard")

# What Insights adds to every event, and what Lambda and Step Functions write; from their documents.
DISCOVERED = {"@timestamp", "@message", "@logStream", "@log", "@ptr"}
PLATFORM_REPORT = {"type"} | {
    f"record.metrics.{name}" for name in ("durationMs", "initDurationMs", "maxMemoryUsedMB", "memorySizeMB")
}
LAMBDA_FAILURE = {"errorType"}  # of an exception that left the handler
STATES_EVENT = {"id", "type", "details.error", "details.cause", "execution_arn", "event_timestamp"}
FUNCTIONS = {"count", "sum", "avg", "max", "min", "pct", "ispresent"}
KEYWORDS = {"as", "by", "and", "or", "in", "like", "asc", "desc", "not"}


def function_fields() -> set[str]:
    """Fields of the log lines that the functions write in their stories."""
    return {name for handler in STORIES for line in observe(handler).lines if "_aws" not in line for name in line}


def access_log_fields() -> set[str]:
    api = load(REPOSITORY / "template.yaml")["Resources"]["PetDetectorApi"]["Properties"]
    return set(json.loads(api["AccessLogSetting"]["Format"]))


def stages(query: str) -> list[str]:
    """The commands of a query, split texts and patterns taken out."""
    return [stage.strip() for stage in without_texts(query).split("|") if stage.strip()]


def without_texts(query: str) -> str:
    """A query with its quoted texts and its patterns taken out."""
    return re.sub(r""""[^"]*"|'[^']*'|(?<=like )/[^/]*/""", "", query)


def queries() -> dict[str, tuple[set[str], str]]:
    """By name: the fields that the query's log groups have, and its text without its source."""
    groups = {
        "FunctionsLogGroupName": function_fields() | PLATFORM_REPORT | LAMBDA_FAILURE,
        "WorkflowLogGroupName": STATES_EVENT,
        "ApiAccessLogGroupName": access_log_fields(),
    }
    found = {}
    for name, query in QUERIES.items():
        found[name] = (set().union(*(groups[group] for group in query["LogGroupNames"])), query["QueryString"])
    for board in DASHBOARDS.values():
        for widget in json.loads(board["DashboardBody"])["widgets"]:
            if widget["type"] == "log":
                source, _, text = widget["properties"]["query"].partition("|")
                (group,) = re.findall(r"SOURCE '(\w+)'", source)
                found[widget["properties"]["title"]] = groups[group], text
    return found


ALL = queries()


@pytest.mark.parametrize("name", ALL)
def test_query_is_made_of_known_commands_and_functions(name: str) -> None:
    text = ALL[name][1]
    commands = [stage.split()[0] for stage in stages(text)]
    assert set(commands) <= {"fields", "filter", "stats", "sort", "limit", "parse"}
    assert commands[-1] in ("sort", "limit")
    bare = without_texts(text)
    assert bare.count("(") == bare.count(")")
    assert not {'"', "'"} & set(bare)
    assert set(re.findall(r"(\w+)\(", bare)) <= FUNCTIONS


@pytest.mark.parametrize("name", ALL)
def test_query_asks_for_fields_that_its_logs_have(name: str) -> None:
    fields, text = ALL[name]
    bare = without_texts(text)
    made = set(re.findall(r"\bas (\w+)", bare)) | {
        word.strip() for names in re.findall(r"parse @logStream\s+as ([\w, ]+)", bare) for word in names.split(",")
    }
    words = set()
    for stage in stages(bare):
        words |= set(re.findall(r"@?[A-Za-z][\w.]*", stage.split(maxsplit=1)[1]))
    assert words - fields - made - DISCOVERED - FUNCTIONS - KEYWORDS == set()


def test_queries_are_those_that_operators_need() -> None:
    names = {query["Name"].partition("/")[2] for query in QUERIES.values()}
    assert {"one image's story", "top errors", "cold starts", "slowest states", "rejected by reason"} <= names


def test_the_story_begins_with_the_request_at_the_api() -> None:
    """The access log's requestId is the correlation id, which UploadApi takes from the same context (tests/unit)."""
    (query,) = (query for query in QUERIES.values() if query["Name"].endswith("one image's story"))
    assert "ApiAccessLogGroupName" in query["LogGroupNames"]
    api = load(REPOSITORY / "template.yaml")["Resources"]["PetDetectorApi"]["Properties"]
    assert json.loads(api["AccessLogSetting"]["Format"])["requestId"] == "$context.extendedRequestId"
    assert 'correlation_id = "IMAGE_ID" or requestId = "IMAGE_ID"' in query["QueryString"]


def test_log_streams_of_a_shared_group_have_the_shape_that_queries_parse() -> None:
    """Lambda calls a stream of a group of one's own `yyyy/mm/dd/<function>[<version>]<hash>`."""
    patterns = {p for _, text in ALL.values() for p in re.findall(r'parse @logStream "([^"]+)"', text)}
    assert patterns == {"*/*/*/*[*"}
    parsed = re.fullmatch("(.*)/(.*)/(.*)/(.*)\\[(.*)", "2026/11/21/stack-UploadApiFunction-1A2B[$LATEST]0f9e")
    assert parsed
    assert parsed[4] == "stack-UploadApiFunction-1A2B"


# --- Documents --------------------------------------------------------------------------------------------------------


def test_tables_of_the_document_are_those_of_the_stack() -> None:
    text = tables.DOCUMENT.read_text()
    assert text == tables.with_tables(text), "run: .venv/bin/python -m tests.observability.tables"


def test_every_alarm_is_in_the_document() -> None:
    text = tables.DOCUMENT.read_text()
    composites = [alarm["AlarmName"].removeprefix("<stack>-") for alarm in tables.COMPOSITES.values()]
    for name in [*map(tables.shown, tables.ALARMS), *composites]:
        assert f"| `{name}` |" in text


def test_window_arithmetic_of_the_service_levels_is_right() -> None:
    text = (REPOSITORY / "docs" / "service_levels.md").read_text()
    for name, spent in {"Fast": 2, "Slow": 5}.items():
        long, short = (STACK.nested[f"{name}{window}Burn"].values for window in ("Long", "Short"))
        assert long["BurnRate"] == short["BurnRate"]
        assert long["WindowSeconds"] == 12 * short["WindowSeconds"]
        assert long["BurnRate"] * long["WindowSeconds"] / (30 * 86_400) == pytest.approx(spent / 100)
        hours, minutes = long["WindowSeconds"] // 3600, short["WindowSeconds"] // 60
        assert f"| {name.lower()} | {hours} h | {minutes} min | {long['BurnRate']} | {spent} % |" in text


def test_the_dashboards_are_read_without_botocore_which_make_dashboards_does_not_install() -> None:
    program = "import sys; sys.modules['botocore'] = None; from docs import dashboards; dashboards.body('business')"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("name", dashboards.NAMES)
def test_pictures_show_the_dashboards_as_they_are(name: str) -> None:
    with Image.open(dashboards.picture(name)) as picture:
        assert picture.info["Source"] == dashboards.digest(dashboards.body(name)), "run: make dashboards"
