"""What each handler asks of AWS and of its environment, and what it writes, on the way to every end of `stories.py`."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from pet_detector.aws import clients
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from tests.support import moto_world
from tests.support.stories import STORIES

# One session for all: it reads botocore's service descriptions once.
_SESSION = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=moto_world.REGION)


@dataclass(frozen=True)
class Context:
    """What Lambda gives a handler about itself."""

    function_name: str = "a-function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = f"arn:aws:lambda:{moto_world.REGION}:123456789012:function:a-function"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    seconds_left: float = 300

    def get_remaining_time_in_millis(self) -> int:
        """How long the handler may go on."""
        return int(self.seconds_left * 1000)


CONTEXT = cast(LambdaContext, Context())


@contextlib.contextmanager
def new_function() -> Iterator[pytest.MonkeyPatch]:
    """Made-up credentials, the functions' variables, and clients and caches as in a function that just started."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", moto_world.REGION)
        patch.setenv("AWS_REGION", moto_world.REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        for name, value in moto_world.ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", _SESSION)
        patch.setattr("pet_detector.aws.dead_letters._WAIT_SECONDS", 0)  # moto has all messages at once
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        clients.forget()
        yield patch
    clients.forget()


@contextlib.contextmanager
def moto() -> Iterator[moto_world.Cloud]:
    """moto's AWS, with the application's bucket and tables."""
    with moto_world.moto_aws():
        yield moto_world.Cloud()


@dataclass(frozen=True)
class Call:
    """A call of AWS, by its IAM service and its operation; `signed` for others when it is a link or a form.

    `invocation` counts the handler's, from 1; `config` says how long the client waits.
    """

    invocation: int
    service: str
    operation: str
    parameters: dict[str, Any]
    config: Config
    signed: bool = False


@dataclass
class Observed:
    """All that a handler did in its story. `text` is what it wrote; `configured` how its clients wait."""

    invocations: int = 0
    calls: list[Call] = field(default_factory=list)
    settings: set[str] = field(default_factory=set)
    configured: list[tuple[str, Config]] = field(default_factory=list)  # service, and how long it may take
    raised: list[Exception] = field(default_factory=list)
    text: str = ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines and its EMF documents."""
        return [json.loads(line) for line in self.text.splitlines()]

    def metrics(self) -> set[str]:
        """Names of the metrics that it published."""
        described = [group for line in self.lines for group in line.get("_aws", {}).get("CloudWatchMetrics", [])]
        return {metric["Name"] for group in described for metric in group["Metrics"]}


@cache
def observe(handler: str) -> Observed:
    """Run a handler (`<folder>.app.lambda_handler`) through its story, once in a process of tests."""
    assert handler in STORIES, "add to stories.py what the new function may run into"
    seen, written = Observed(), io.StringIO()
    module, _, name = handler.rpartition(".")
    function = getattr(importlib.import_module(module), name)

    def run(event: Any) -> None:
        seen.invocations += 1
        logger.append_keys(left_over="by another image")
        try:
            function(event, CONTEXT)
        except Exception as error:
            seen.raised.append(error)

    with new_function() as patch, moto() as cloud:
        cloud.subscribe()
        cloud.set_policy({"minimum": 80, "margin": 15, "floor": 50})
        _listen(patch, seen)
        for log_handler in logger.handlers:
            patch.setattr(log_handler, "stream", written)
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            STORIES[handler](cloud, run)
    seen.text = written.getvalue()
    return seen


def _listen(patch: pytest.MonkeyPatch, seen: Observed) -> None:
    """Note which settings are asked for, and what the functions' own clients call from here on."""
    required, make = settings.required, cast(Any, boto3.client)

    def asked(name: str) -> str:
        seen.settings.add(name)
        return required(name)

    def made(service: str, config: Config | None = None, **more: Any) -> Any:
        client = make(service, config=config, **more)
        if config is None:  # the tests' own
            return client
        signing_name = client.meta.service_model.signing_name
        seen.configured.append((signing_name, config))

        def called(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
            signed = bool(context.get("is_presign_request"))
            if signed and model.name == "CreateBucket":  # in its name botocore asks for the address of a form
                return
            seen.calls.append(Call(seen.invocations, signing_name, model.name, dict(params), config, signed))

        def posted(request: Any, operation_name: str, **_: Any) -> None:
            if form := request.context.get("s3-presign-post-fields"):
                parameters = {"Bucket": moto_world.BUCKET, "Key": form["key"]}
                assert moto_world.BUCKET in request.url
                seen.calls.append(Call(seen.invocations, signing_name, operation_name, parameters, config, signed=True))

        client.meta.events.register("before-parameter-build", called)
        client.meta.events.register("before-sign", posted)
        return client

    patch.setattr(settings, "required", asked)
    patch.setattr(boto3, "client", made)
