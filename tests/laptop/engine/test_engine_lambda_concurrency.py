"""Lambda's concurrency: what a laptop runs at once, in how many processes, and what becomes of the rest."""

from __future__ import annotations

import itertools
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually

from .conftest import ROLE

CORES = os.cpu_count() or 1
MOST_PROCESSES = 20

TELLS_ITS_PROCESS = "import os\n\ndef handler(event, context):\n    return os.getpid()\n"


def throttle(engine: Any, name: str) -> None:
    """No environment is free for a function any more."""
    engine.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)


class Busy:
    """A function of which one call runs at a time, and the call that keeps it busy; `calls` are those that began."""

    def __init__(self, engine: Any, directory: Path) -> None:
        self._engine = engine
        self._calls, self._end = directory / "calls", directory / "end"
        source = (
            "import os, time\n\ndef handler(event, context):\n"
            f"    with open({str(self._calls)!r}, 'a') as file:\n        file.write('.')\n"
            f"    while event.get('hold') and not os.path.exists({str(self._end)!r}):\n        time.sleep(0.02)\n"
        )
        self.name = engine.create_function(source)
        engine.client("lambda").put_function_concurrency(FunctionName=self.name, ReservedConcurrentExecutions=1)
        self._thread = threading.Thread(target=self._hold)
        self._thread.start()
        eventually(lambda: self.calls == 1, "the function is busy")

    def _hold(self) -> None:
        self._engine.client("lambda").invoke(FunctionName=self.name, Payload=b'{"hold": true}')

    @property
    def calls(self) -> int:
        return len(self._calls.read_text()) if self._calls.exists() else 0

    def end(self) -> None:
        """Let the call return."""
        self._end.touch()
        self._thread.join()


@pytest.fixture
def busy(gap_engine: Any, tmp_path: Path) -> Iterator[Busy]:
    function = Busy(gap_engine, tmp_path)
    yield function
    function.end()


def throttles(engine: Any, name: str) -> int:
    """How often a function was throttled."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    points = engine.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Throttles",
        Dimensions=[{"Name": "FunctionName", "Value": name}],
        StartTime=now - hour,
        EndTime=now + hour,
        Period=86400,
        Statistics=["Sum"],
    )["Datapoints"]
    return int(sum(point["Sum"] for point in points))


def test_the_account_runs_five_calls_a_core_at_once(gap_engine: Any) -> None:
    limit = gap_engine.client("lambda").get_account_settings()["AccountLimit"]

    assert limit["ConcurrentExecutions"] == min(5 * CORES, MOST_PROCESSES)


def test_processes_of_functions_stay_few(gap_engine: Any) -> None:
    names = [gap_engine.create_function(TELLS_ITS_PROCESS) for _ in range(MOST_PROCESSES + 5)]
    processes = [process_of(gap_engine, name) for name in names]

    alive = {process for process in processes if is_alive(process)}

    assert len(alive) <= MOST_PROCESSES
    assert process_of(gap_engine, names[-1]) == processes[-1]  # the idle one that was not used for longest had to go


def process_of(engine: Any, name: str) -> int:
    process: int = json.loads(engine.client("lambda").invoke(FunctionName=name)["Payload"].read())
    return process


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(CORES >= MOST_PROCESSES, reason="as many calls as there are cores run at once anyway")
def test_no_more_environments_begin_at_once_than_there_are_cores(gap_engine: Any, tmp_path: Path) -> None:
    source = (
        "import os, time\n"
        f"begin = time.time()\ntime.sleep(0.5)\nopen({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w').write("
        "f'{begin} {time.time()}')\n\ndef handler(event, context):\n    pass\n"
    )
    names = [gap_engine.create_function(source) for _ in range(min(3 * CORES, MOST_PROCESSES))]
    client = gap_engine.client("lambda")

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: client.invoke(FunctionName=name), names))

    changes = []
    for file in tmp_path.iterdir():
        begin, end = file.read_text().split()
        changes += [(float(begin), 1), (float(end), -1)]
    at_once = itertools.accumulate(change for _, change in sorted(changes))
    assert len(changes) == 2 * len(names)
    assert max(at_once) <= CORES


def by_invocation(engine: Any, name: str) -> None:
    engine.client("lambda").invoke(FunctionName=name, InvocationType="Event")


def by_eventbridge(engine: Any, name: str) -> None:
    events, arn = engine.client("events"), arn_of(engine, name)
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    engine.client("lambda").add_permission(
        FunctionName=name, StatementId="rule", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
    )
    events.put_targets(Rule=name, Targets=[{"Id": "function", "Arn": arn}])
    events.put_events(Entries=[{"Source": name, "DetailType": "any", "Detail": "{}"}])


def by_sns(engine: Any, name: str) -> None:
    sns = engine.client("sns")
    topic = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn_of(engine, name))
    sns.publish(TopicArn=topic, Message="any")


def arn_of(engine: Any, name: str) -> str:
    return str(engine.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"])


@pytest.mark.parametrize(
    ("send", "attempts"),  # as many as the plain engine makes before it gives up
    [(by_invocation, 3), (by_eventbridge, 1), (by_sns, 1)],
)
def test_an_event_waits_until_an_environment_is_free(
    gap_engine: Any, busy: Busy, send: Callable[[Any, str], None], attempts: int
) -> None:
    send(gap_engine, busy.name)
    eventually(lambda: throttles(gap_engine, busy.name) >= attempts, "the event is refused")
    assert busy.calls == 1

    busy.end()

    eventually(lambda: busy.calls == 2, "the function is called", 10)


def test_a_throttled_task_fails_by_lambdas_name(gap_engine: Any) -> None:
    name = gap_engine.create_function(TELLS_ITS_PROCESS)
    throttle(gap_engine, name)
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
    definition = {
        "StartAt": "Work",
        "QueryLanguage": "JSONata",
        "States": {"Work": {**task, "Arguments": {"FunctionName": arn_of(gap_engine, name)}}},
    }
    sfn = gap_engine.client("stepfunctions")
    machine = sfn.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:8]}", definition=json.dumps(definition), roleArn=ROLE
    )
    execution = sfn.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]

    def ended() -> Any:
        description = sfn.describe_execution(executionArn=execution)
        return None if description["status"] == "RUNNING" else description

    assert eventually(ended, "the execution ends")["error"] == "Lambda.TooManyRequestsException"


def test_a_stream_keeps_its_place_while_its_function_is_throttled(engine: Any, tmp_path: Path) -> None:
    """No patch is needed: should a newer MiniStack lose its place, this says so."""
    busy = Busy(engine, tmp_path)
    dynamodb = engine.client("dynamodb")
    table = dynamodb.create_table(
        TableName=busy.name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]
    engine.client("lambda").create_event_source_mapping(
        FunctionName=busy.name, EventSourceArn=table["LatestStreamArn"], StartingPosition="LATEST"
    )
    dynamodb.put_item(TableName=busy.name, Item={"id": {"S": "a"}})
    try:
        eventually(lambda: throttles(engine, busy.name) >= 2, "the batch is refused again")
        assert busy.calls == 1
    finally:
        busy.end()

    eventually(lambda: busy.calls == 2, "the function is called")
