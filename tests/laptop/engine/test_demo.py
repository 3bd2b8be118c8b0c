"""`make run` as a whole: what it leaves behind, and what it says at the end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from local import demo
from local.engine import Engine, UserError
from local.pictures import Pictures, pictures_at
from local.sender import Outcome, Sender


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"\xff\xd8")
    return file


@pytest.mark.parametrize("ran_before", [False, True])
@pytest.mark.parametrize("end", [KeyboardInterrupt(), UserError("`sam deploy` failed.")], ids=["Ctrl-C", "failure"])
def test_a_run_that_is_cut_short_stops_what_it_started_and_nothing_else(
    picture: Path, stopped: Engine, monkeypatch: pytest.MonkeyPatch, ran_before: bool, end: BaseException
) -> None:
    def cut_short(_: Engine) -> dict[str, str]:
        assert stopped.is_up()
        raise end

    monkeypatch.setattr(demo, "deploy", cut_short)
    if ran_before:
        stopped.up()

    with pytest.raises(type(end)) as raised:
        demo.run(stopped, pictures_at(picture), Console(file=io.StringIO()))

    assert raised.value is end
    logs = [stopped.log(process).read_text() for process in stopped.processes]
    assert stopped.is_up() == ran_before, logs


def test_an_interrupted_run_takes_its_queue_and_its_subscription_away(
    picture: Path, stopped: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped.up()
    sns, sqs = stopped.client("sns"), stopped.client("sqs")
    topic = sns.create_topic(Name="notices")["TopicArn"]
    key = stopped.client("apigateway").create_api_key(name="key", enabled=True)["id"]
    outputs = {"NoticesTopicArn": topic, "ApiKeyId": key, "ApiUrl": stopped.url, "PageUrl": stopped.url}
    monkeypatch.setattr(demo, "deploy", lambda _: outputs)

    def interrupt(*_: object) -> list[Outcome]:
        assert len(sqs.list_queues()["QueueUrls"]) == 1
        assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_process_all", interrupt)

    with pytest.raises(KeyboardInterrupt):
        demo.run(stopped, pictures_at(picture), Console(file=io.StringIO()))

    assert stopped.is_up()
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


@pytest.fixture
def sorted_as(stopped: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Prepares a run whose pictures all end in one way, on an engine with a topic, a key and a table, and no stack."""

    def prepare(status: str, **record: Any) -> None:
        stopped.up()
        monkeypatch.setenv("ENGINE_HOME", str(stopped.home))
        topic = stopped.client("sns").create_topic(Name="notices")["TopicArn"]
        key = stopped.client("apigateway").create_api_key(name="key", enabled=True)["id"]
        dynamodb = stopped.client("dynamodb")
        dynamodb.create_table(
            TableName="records",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "ImageID", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "ImageID", "AttributeType": "S"}],
        )
        error = {"M": {"Error": {"S": "PolicyInvalidError"}, "Cause": {"S": "no JSON"}}}
        dynamodb.put_item(TableName="records", Item={"ImageID": {"S": "0" * 32}, "Error": error})
        outputs = {
            "NoticesTopicArn": topic,
            "ApiKeyId": key,
            "ApiUrl": stopped.url,
            "PageUrl": f"{stopped.url}/app/",
            "DetectionLogsTableName": "records",
        }
        monkeypatch.setattr(demo, "deploy", lambda _: outputs)

        def end_so(_: Sender, found: Pictures, console: Console) -> list[Outcome]:
            sns = stopped.client("sns")
            if status in ("failed", "needs_review"):
                sns.publish(
                    TopicArn=topic,
                    Subject="Look at it",
                    Message="please",
                    MessageAttributes={"ImageID": {"DataType": "String", "StringValue": "0" * 32}},
                )
            described = {"status": status, **record}
            return [Outcome(found.name(file), status, 5, image_id="0" * 32, record=described) for file in found.files]

        monkeypatch.setattr(demo, "_process_all", end_so)

    return prepare


def test_a_failed_picture_is_shown_with_its_error_and_its_notice_and_fails_the_run(
    picture: Path, sorted_as: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sorted_as("failed")

    assert demo.main(["--photos", str(picture), "--json", str(tmp_path / "table.json")]) == 1

    said = capsys.readouterr()
    assert "cat.jpg: failed, PolicyInvalidError" in said.out
    assert "  cat.jpg: Look at it\n" in said.out
    assert "export KEY=" in said.out
    assert said.err == "\nError: 1 of 1 picture failed: cat.jpg.\n"
    assert json.loads((tmp_path / "table.json").read_text())["pictures"][0]["reason"] == "PolicyInvalidError"


def test_a_held_picture_does_not_fail_the_run(
    picture: Path, sorted_as: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    sorted_as("held")

    assert demo.main(["--photos", str(picture)]) == 0

    said = capsys.readouterr()
    assert "petdetect release --all" in said.out
    assert said.err == ""
