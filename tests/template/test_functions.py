"""The functions as the template gives them to Lambda: a handler that imports, and just the settings that it reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.definitions import FUNCTIONS, references, resources, source
from tests.support.handler_runs import observe
from tests.support.paths import IMPORT_ROOTS, REPOSITORY

# Of what needs other packages than the rest, or none.
ZIPS_OF_THEIR_OWN = {"PageApiFunction": "web", "ConvertImageFunction": "convert_image"}
LAMBDA_FUNCTIONS = resources("AWS::Lambda::Function")
each_function = pytest.mark.parametrize("function", LAMBDA_FUNCTIONS)

# Read by libraries: Powertools, and the AWS SDK.
LIBRARY_PREFIXES = ("POWERTOOLS_", "AWS_")


def settings_of(function: str) -> set[str]:
    """Names of the environment variables that the template gives a function."""
    return set(LAMBDA_FUNCTIONS[function]["Environment"]["Variables"])


@each_function
def test_handler_imports_with_nothing_but_the_settings_of_the_template(function: str) -> None:
    module, _, handler = LAMBDA_FUNCTIONS[function]["Handler"].rpartition(".")
    program = f"import {module}; assert callable({module}.{handler})"
    environment = dict.fromkeys(settings_of(function) - {"AWS_ENDPOINT_URL"}, "value") | {
        "PYTHONPATH": os.pathsep.join(map(str, (*IMPORT_ROOTS, REPOSITORY))),
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PATH": os.environ["PATH"],
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=REPOSITORY / "tests", capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@each_function
def test_function_gets_just_the_settings_that_it_asks_for(function: str) -> None:
    """On the way to all of its ends."""
    given = {name for name in settings_of(function) if not name.startswith(LIBRARY_PREFIXES)}
    handler = LAMBDA_FUNCTIONS[function]["Handler"]
    folder = REPOSITORY / handler.partition(".")[0]
    if folder.is_dir():  # a zip of its own, without pet_detector.runtime.settings
        read = {name for file in folder.glob("*.py") for name in re.findall(r'environ\["(\w+)"\]', file.read_text())}
        assert given == {name for name in read if not name.startswith(LIBRARY_PREFIXES)}
    else:
        # The service's name is every function's: the library reads it, and FiguresApi, which asks for metrics by it.
        assert given == observe(handler).settings - {"POWERTOOLS_SERVICE_NAME"}


def test_every_folder_with_a_handler_is_a_function_of_the_same_name() -> None:
    folders = {file.parent.name for file in FUNCTIONS.glob("*/app.py")}
    expected = {"".join(word.capitalize() for word in folder.split("_")) + "Function": folder for folder in folders}
    expected |= ZIPS_OF_THEIR_OWN
    handlers = {name: function["Handler"] for name, function in LAMBDA_FUNCTIONS.items()}
    assert handlers == {name: f"{folder}.app.lambda_handler" for name, folder in expected.items()}


@each_function
def test_function_logs_json_to_a_group_that_forgets(function: str) -> None:
    logging: dict[str, Any] = LAMBDA_FUNCTIONS[function]["LoggingConfig"]
    assert logging["LogFormat"] == "JSON"
    (group,) = references(logging["LogGroup"])
    assert "RetentionInDays" in resources("AWS::Logs::LogGroup")[group]


@each_function
def test_function_is_traced_and_explained(function: str) -> None:
    assert LAMBDA_FUNCTIONS[function]["TracingConfig"] == {"Mode": "Active"}
    assert len(LAMBDA_FUNCTIONS[function]["Description"]) > 20


def test_metrics_and_logs_carry_the_name_of_the_stack() -> None:
    """It is a dimension of every metric: the environments of one account must not add up."""
    shared = source()["Globals"]["Function"]["Environment"]["Variables"]
    assert shared["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_endpoints_of_the_aws_sdk_are_changed_on_a_laptop_only() -> None:
    for name, resource in source()["Resources"].items():
        variables = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
        for variable, value in variables.items():
            if variable.startswith("AWS_ENDPOINT_URL"):
                assert value["Fn::If"][0] == "IsLocal", name
                assert value["Fn::If"][2] == {"Ref": "AWS::NoValue"}, name
    shared = source()["Globals"]["Function"]["Environment"]["Variables"]
    assert shared.get("AWS_ENDPOINT_URL") == {"Ref": "AWS::NoValue"}
