"""No state's data comes near Step Functions' limit of 256 KiB, whatever is uploaded: payloads are small by design.

Hypothesis drives the largest inputs there are through the handlers themselves and through the expressions of the
shipped state machine, which the embedded engine evaluates. A state's data is its input, the execution's variables,
its arguments, its result or error, and the variables afterwards, all together as JSON in UTF-8.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from aws_lambda_powertools.utilities.typing import LambdaContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local.engine import REPOSITORY
from ops.restart import MAX_EXECUTIONS
from pet_detector.aws import analyses, daily_limit, image_bucket, policy_parameter, rekognition
from pet_detector.rules import image_format
from pet_detector.rules.models import ImageFormat, ImageHeader
from pet_detector.rules.policy import Policy

LIMIT_BYTES = 64 * 1024
# S3's limit for a key, in bytes. Our errors' messages hold a key and a few words, and 40 calls are a deep stack.
KEY_BYTES, MESSAGE_BYTES, STACK = 1024, 2048, ["f" * 250] * 40
FILE_NAME_CHARACTERS = 255
LABELS = 1000

EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:" + "w" * 80 + ":" + "e" * 80
BUCKET, FOLDERS = "b" * 63, ("cats", "dogs", "others", "rejected")

ENGINE_PYTHON = REPOSITORY / ".engine" / "venv" / "bin" / "python"
# Reads a line {fields, input, variables, result, error, context} and answers with the evaluated fields.
EVALUATOR = """
import json, sys
from local.ministack_ext.step_functions import _jsonata_survives_a_loaded_machine
from ministack.services import stepfunctions
_jsonata_survives_a_loaded_machine()
for line in sys.stdin:
    task = json.loads(line)
    context = {**task["context"], "variables": task["variables"], "QueryLanguage": "JSONata"}
    try:
        value = stepfunctions._apply_jsonata_template(
            task["template"], task["input"], context, result=task["result"], error_output=task["error"])
        answer = {"value": value}
    except Exception as error:
        answer = {"problem": repr(error)}
    print("=" + json.dumps(answer), flush=True)
"""

Evaluate = Callable[..., Any]


@pytest.fixture(scope="module")
def evaluate() -> Iterator[Evaluate]:
    """Evaluates a template (a value with expressions) in a state; the engine's own process does it."""
    process = subprocess.Popen(
        [ENGINE_PYTHON, "-c", EVALUATOR], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout

    def ask(template: Any, run: Run, result: Any = None, error: Any = None) -> Any:
        task = {"template": template, "input": run.data, "variables": run.variables, "context": run.context}
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({**task, "result": result, "error": error}) + "\n")
        process.stdin.flush()
        while not (line := process.stdout.readline()).startswith("="):
            assert line, "the evaluator ended"
        answer = json.loads(line[1:])
        assert "problem" not in answer, f"{answer.get('problem')} in {run.state}"
        return answer["value"]

    yield ask
    process.stdin.close()
    process.wait(timeout=20)
    process.stdout.close()


class Run:
    """One execution of the shipped state machine on made-up answers; remembers the size of each state's data."""

    def __init__(self, evaluate: Evaluate, event: dict[str, Any], answer: Callable[[str, Any], Any]) -> None:
        text = (REPOSITORY / "statemachine" / "image_workflow.asl.yaml").read_text()
        self.states = yaml.safe_load(text.replace("${RecordRetentionDays}", "365"))["States"]
        self.data: Any = event
        self.variables: dict[str, Any] = {}
        self.context: dict[str, Any] = {"Execution": {"Id": EXECUTION, "Name": "n" * 80, "Input": event}}
        self.state = "Claim Image"
        self.sizes: dict[str, int] = {}
        self._evaluate, self._answer = evaluate, answer

    def to_its_end(self, fails_in: str = "", error: dict[str, str] | None = None) -> None:
        """Run; the state `fails_in` fails with `error`, and its last catcher has it."""
        while True:
            state = self.states[self.state]
            self.context["State"] = {"Name": self.state, "EnteredTime": "2026-11-21T09:30:00.123Z", "RetryCount": 0}
            if state["Type"] == "Task":
                self._task(state, error if self.state == fails_in else None)
            elif state["Type"] == "Choice":
                self._choose(state)
            else:
                self._measure(self.data, self.variables)
                return

    def _task(self, state: dict[str, Any], error: dict[str, str] | None) -> None:
        arguments = self._evaluate(state["Arguments"], self)
        result = None if error else self._answer(self.state, arguments)
        then = state["Catch"][-1] if error else state
        assigned = self._evaluate(then.get("Assign", {}), self, result=result, error=error)
        self._measure(self.data, self.variables, arguments, result or error, assigned)
        self._go(then, assigned)
        self.data = result or error

    def _choose(self, state: dict[str, Any]) -> None:
        holds = (choice for choice in state["Choices"] if self._evaluate(choice["Condition"], self) is True)
        then = next(holds, {"Next": state["Default"], "Assign": state.get("Assign", {})})
        assigned = self._evaluate(then.get("Assign", {}), self)
        self._measure(self.data, self.variables, assigned)
        self._go(then, assigned)

    def _go(self, then: dict[str, Any], assigned: dict[str, Any]) -> None:
        self.variables |= assigned
        self.state = then["Next"]

    def _measure(self, *parts: Any) -> None:
        self.sizes[self.state] = sum(len(json.dumps(part, ensure_ascii=False).encode()) for part in parts)


class Rekognition:
    """Answers with as many labels, of as long a name, as hypothesis likes."""

    def __init__(self, name: str, cat: float) -> None:
        others = [{"Name": f"{name}{number}", "Confidence": 99.123456789} for number in range(LABELS)]
        cats = [{"Name": "Cat", "Confidence": cat}, {"Name": "Dog", "Confidence": 40.123456789}]
        self.answer = {"Labels": others + cats, "LabelModelVersion": "3" * 64}

    def detect_labels(self, **_: Any) -> dict[str, Any]:
        return self.answer


class Context(LambdaContext):
    """Of Lambda, as far as the logger looks at it."""

    _function_name = "f" * 64
    _memory_limit_in_mb = 512
    _invoked_function_arn = "arn:" + "f" * 100
    _aws_request_id = "r" * 36


def answers(
    monkeypatch: pytest.MonkeyPatch, name: str, cat: float, file_name: str, outcome: str
) -> Callable[[str, Any], Any]:
    """What each task answers: the handlers' own answers, and DynamoDB's with a record that takes no more restarts."""
    from file_manager import app as file_manager
    from image_processor import app as image_processor

    monkeypatch.setenv("IMAGE_BUCKET_NAME", BUCKET)
    monkeypatch.setenv("ANALYSES_TABLE_NAME", "t" * 255)
    monkeypatch.setenv("DAILY_ANALYSIS_LIMIT", "0")
    data = None if outcome == "rejected" else b"picture"  # what is too large is not read
    stored = image_bucket.StoredImage(15_000_000, '"' + "e" * 40 + '"', "v" * 1024, data)
    header = ImageHeader(ImageFormat.JPEG, 10_000, 5_000)
    monkeypatch.setattr(image_bucket, "read", lambda *_: stored)
    monkeypatch.setattr(image_bucket, "move", lambda *_: None)
    monkeypatch.setattr(image_format, "inspect", lambda _: header)
    monkeypatch.setattr(rekognition, "client", lambda _: Rekognition(name, cat))
    monkeypatch.setattr(analyses, "begin", lambda *_, **__: None)
    monkeypatch.setattr(analyses, "finish", lambda *_: None)
    monkeypatch.setattr(daily_limit, "spend", lambda *_: outcome != "held")
    monkeypatch.setattr(analyses, "give_up", lambda *_: None)
    monkeypatch.setattr(policy_parameter, "current", lambda _: Policy(80.123456, 15.123456, 50.123456))
    known: dict[str, Any] = {"OriginalFilename": {"S": file_name}} | {
        name: {"SS": [f"{EXECUTION}{n}" for n in range(MAX_EXECUTIONS)]} for name in ("Executions", "Notices")
    }

    def answer(state: str, arguments: Any) -> Any:
        if state == "Analyze Image":
            return {"StatusCode": 200, "Payload": image_processor.lambda_handler(arguments["Payload"], Context())}
        if state == "Move Image":
            return {"StatusCode": 200, "Payload": file_manager.lambda_handler(arguments["Payload"], Context())}
        if "Key" not in arguments:
            return {"StatusCode": 200, "Payload": {"notice": "unconfirmed"}}
        values, names = arguments["ExpressionAttributeValues"], arguments["ExpressionAttributeNames"]
        for name, kept, value in re.findall(r"(#?\w+) = (if_not_exists\(\w+, )?(:\w+)", arguments["UpdateExpression"]):
            if not (kept and name in known):
                known[names.get(name, name)] = values[value]
        return {"Attributes": {**known, **arguments["Key"]}} if "ReturnValues" in arguments else {"SdkHttpMetadata": {}}

    return answer


def widest(text: str, size: int) -> str:
    """`text` again and again, up to `size` bytes."""
    repeated = (text * (size // len(text.encode()) + 1)).encode()[:size]
    return repeated.decode(errors="ignore")


# Any characters that S3, JSON and UTF-8 take, control characters, quotes and emoji included.
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
PATHS = st.sampled_from(
    ["", "Claim Image", "Analyze Image", "Hold Image", "Move Image", "Log Detection", "Notify Reviewers"]
)
# What ImageProcessor says, and where an execution ends that does not fail.
ENDS = {"classified": "Image Classified", "rejected": "Image Rejected", "held": "Image Held"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=UNICODE,
    label=UNICODE,
    file_name=UNICODE,
    cause=UNICODE,
    fails_in=PATHS,
    cat=st.floats(50.2, 100),
    outcome=st.sampled_from([*ENDS]),
)
@example(key="\x01", label="\x01", file_name="\x01", cause="\x01", fails_in="", cat=70.0, outcome="classified")
@example(key="\x01", label="\x01", file_name="\x01", cause="\x01", fails_in="", cat=70.0, outcome="rejected")
@example(key="\x01", label="\x01", file_name="\x01", cause="\x01", fails_in="", cat=70.0, outcome="held")
@example(key='"', label='"', file_name='"', cause='"', fails_in="Hold Image", cat=70.0, outcome="held")
@example(key="🐈", label="🐈", file_name="🐈", cause="🐈", fails_in="Log Detection", cat=70.0, outcome="rejected")
@example(key='"', label='"', file_name='"', cause='"', fails_in="Analyze Image", cat=99.0, outcome="classified")
@example(key="🐈", label="🐈", file_name="🐈", cause="🐈", fails_in="Log Detection", cat=99.0, outcome="classified")
@example(
    key="🐈", label="🐈", file_name="🐈", cause="\x01", fails_in="Notify Reviewers", cat=70.0, outcome="classified"
)
def test_no_state_has_more_than_64_kib_of_data(
    evaluate: Evaluate, key: str, label: str, file_name: str, cause: str, fails_in: str, cat: float, outcome: str
) -> None:
    document = {"detail": {"object": {"key": "input/" + widest(key, KEY_BYTES - 6), "version-id": "v" * 1024}}}
    cause = json.dumps({"errorMessage": widest(cause, MESSAGE_BYTES), "errorType": "E" * 64, "stackTrace": STACK})
    error = {"Error": "E" * 256, "Cause": cause}
    with pytest.MonkeyPatch.context() as patches:
        name = file_name * (FILE_NAME_CHARACTERS // len(file_name))
        run = Run(evaluate, document, answers(patches, widest(label, 200), cat, name, outcome))
        run.to_its_end(fails_in, error)

    assert max(run.sizes.values()) < LIMIT_BYTES, run.sizes
    assert run.state == ("Processing Failed" if fails_in in run.sizes else ENDS[outcome])
