"""Processor seconds that a new Lambda environment spends on importing a handler, compared with a usual one.

The baseline is what most handlers in Python begin with: boto3, and Powertools' Logger, Tracer and Metrics. Ours has no
Tracer, as the platform traces by itself. So the baseline alone gets what `aws-lambda-powertools[tracer]` in its
requirements would make `sam build` install: the X-Ray SDK, and with it a botocore of its own. All the rest is the same
for both, and as in Lambda: the interpreter and its boto3 (the local AWS's) are compiled; what a deployment brings
along is as `sam build` left it, without bytecode, and is compiled anew by every import. `with the runtime's botocore`
is the same baseline for somebody who removed that botocore again.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

from local.engine import CREDENTIALS, REGION, Engine
from tests.benchmarks.measure import Measure
from tests.support.deployment import Deployment
from tests.support.paths import REPOSITORY

ROUNDS = 15
MOST = 0.6  # of the baseline's time

BASELINE = "baseline_handler"
_BASELINE_CODE = """
import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="Baseline")


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def lambda_handler(event, context):
    return boto3.__version__
"""
# What pip installs for `aws-lambda-powertools[tracer]`, from the tools' environment, where moto needs the same.
_TRACER_NEEDS = ("aws-xray-sdk", "wrapt")
_ITS_BOTOCORE = ("botocore", "jmespath", "python-dateutil", "six", "urllib3")

# Printed by a new interpreter, whose own start is not measured: a handler cannot change it. Processor time is what an
# import costs when the files are cached, and other programs on the machine do not stretch it as they do the clock's.
_PROGRAM = "import sys, time; s = time.process_time(); __import__(sys.argv[1]); print(time.process_time() - s)"


@dataclass(frozen=True)
class Handler:
    """What is imported, with the environment variables that it may ask for. Some handlers have a target."""

    module: str
    environment: dict[str, str]
    has_target: bool


def handlers_of(application: Deployment) -> list[Handler]:
    """Every function of the deployed stack; those of the workflow, which the outputs name, have a target."""
    workflow = {value for name, value in application.outputs.items() if name.endswith("FunctionName")}
    functions = application.engine.client("lambda").get_paginator("list_functions").paginate()
    return sorted(
        (
            Handler(
                function["Handler"].rpartition(".")[0],
                function["Environment"]["Variables"],
                function["FunctionName"] in workflow,
            )
            for page in functions
            for function in page["Functions"]
        ),
        key=lambda handler: (not handler.has_target, handler.module),
    )


def measure(handlers: list[Handler], build: Path, scratch: Path) -> list[Measure]:
    """Import each handler, and the baselines before it, in new interpreters by turns: the medians of ROUNDS."""
    code = next(build.glob("*/pet_detector")).parent  # the same for all functions
    lean = _baseline(scratch / "lean", _TRACER_NEEDS)
    usual = _baseline(scratch / "usual", _TRACER_NEEDS + _ITS_BOTOCORE)
    times: dict[str, list[float]] = {name: [] for name in ["lean", "usual", *(h.module for h in handlers)]}
    for turn in range(ROUNDS + 1):
        measured = {
            "lean": _seconds(BASELINE, [lean, code], {}),
            "usual": _seconds(BASELINE, [usual, code], {}),
        }
        measured |= {h.module: _seconds(h.module, [code], h.environment) for h in handlers}
        if turn:  # the first fills the system's file cache
            for name, seconds in measured.items():
                times[name].append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return [_measured(handler, medians[handler.module], medians) for handler in handlers]


def _measured(handler: Handler, seconds: float, medians: dict[str, float]) -> Measure:
    ratio, lean = seconds / medians["usual"], seconds / medians["lean"]
    return Measure(
        f"import of {handler.module}",
        f"{seconds * 1000:.0f} ms",
        f"usual handler: {medians['usual'] * 1000:.0f} ms (with the runtime's botocore: ratio {lean:.2f})",
        ratio,
        f"<= {MOST}" if handler.has_target else "",
        not handler.has_target or ratio <= MOST,
    )


def _baseline(directory: Path, distributions: tuple[str, ...]) -> Path:
    """A directory with the baseline handler and what its Tracer needs, without bytecode."""
    directory.mkdir()
    (directory / f"{BASELINE}.py").write_text(_BASELINE_CODE)
    for distribution in distributions:
        for file in files(distribution) or []:
            if ".." not in file.parts and "__pycache__" not in file.parts and "data" not in file.parts:
                target = directory / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    return directory


def _seconds(module: str, path: list[Path], environment: dict[str, str]) -> float:
    """Processor time of one import in a new interpreter that finds itself in Lambda."""
    variables = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",  # a deployed function cannot write beside its code
        "AWS_DEFAULT_REGION": REGION,
        "LAMBDA_TASK_ROOT": str(path[-1]),  # without it Tracer knows that nobody traces, and does less than in Lambda
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        **CREDENTIALS,
        **environment,
    }
    result = subprocess.run(
        [Engine(home=REPOSITORY / ".engine").python, "-c", _PROGRAM, module],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{module} cannot be imported:\n{result.stderr}")
    return float(result.stdout.splitlines()[-1])
