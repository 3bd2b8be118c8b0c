"""The deployed application as its users see it: its API over HTTP, what it stores, logs and counts."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from local.deploy import stack_resources
from local.engine import Engine
from tests.support.deployment import Deployment
from tests.support.waiting import IMAGE_SECONDS

ORIGIN = "http://localhost:3000"  # AllowedOrigin's default in template.yaml


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names compare without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON and say so."""
        assert self.headers["Content-Type"].split(";")[0] == "application/json", self
        return json.loads(self.body)


@dataclass(frozen=True)
class Peak:
    """The most memory that a process of a function ever had, and what the template gives the function, in MB."""

    function: str
    megabytes: float
    limit: int


class HttpApplication(Deployment):
    """The deployed application as its users see it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.url = self.outputs["ApiUrl"]
        self._peaks: dict[Path, Peak] = {}

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def send(self, verb: str, url: str, headers: dict[str, str] | None = None, **content: Any) -> Answer:
        """One request, whatever comes of it; `content` is what `requests` takes."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy
            answer = session.request(verb, url, headers=headers, timeout=IMAGE_SECONDS, **content)
        return Answer(answer.status_code, answer.headers, answer.content)

    def post_form(self, url: str, fields: dict[str, str], content: bytes) -> Answer:
        """Send an upload form with whatever fields, as a browser does."""
        return self.send("POST", url, data=fields, files={"file": ("picture", content)})

    def call(
        self, verb: str, path: str, document: Any = None, *, key: str | None = "", headers: dict[str, str] | None = None
    ) -> Answer:
        """A browser's request to the API with the right key (`key=None`: with none), again while it is throttled.

        `document` is sent as JSON, bytes as they are.
        """
        sent = {"Origin": ORIGIN, "Content-Type": "application/json", **(headers or {})}
        if key is not None:
            sent["x-api-key"] = key or self.api_key
        body = document if isinstance(document, bytes) else None if document is None else json.dumps(document).encode()
        for _ in range(60):
            answer = self.send(verb, self.url + path, sent, data=body)
            if answer.status != 429:
                break
            time.sleep(0.2)
        return answer

    def listing(self, **filters: str | int) -> dict[str, Any]:
        """GET /images; `since` stands for `from`, which Python keeps for itself."""
        query = {"from" if name == "since" else name: str(value) for name, value in filters.items()}
        answer = self.call("GET", "/images?" + urllib.parse.urlencode(query))
        assert answer.status == 200, answer
        page: dict[str, Any] = answer.json
        return page

    # --- Images and executions ----------------------------------------------------------------------------------------

    def finished_image(self, image_id: str) -> dict[str, Any]:
        """Wait until the image has its final status and all is done, and return what the API says then."""
        self.settled(image_id)  # asked of DynamoDB: a usage plan throttles who asks the API so often
        return self.client.image(image_id)

    def stored(self, location: str) -> bytes:
        """The object that an S3 location (`s3://bucket/key`) of this bucket names."""
        key = location.removeprefix(f"s3://{self.bucket}/")
        content: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def versions(self, fragment: str) -> set[tuple[str, str]]:
        """(key, version) of every stored object version whose key holds `fragment`, and of every delete marker."""
        return {found for found in self.objects(delete_markers=True) if fragment in found[0]}

    def deliver(self, event: dict[str, Any], times: int) -> list[str]:
        """Let EventBridge's rule deliver an event of S3 so often at once: its target starts an execution with it.

        (PutEvents would not do: only S3 may send an event of S3.)
        """
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(self.start_execution, [event] * times))

    def executions_of_key(self, image_id: str) -> list[str]:
        """ARNs of all executions that were started for an API-made key with this id."""
        return [arn for arn in self.execution_arns() if image_id in json.dumps(self.input_of(arn))]

    def reconciled(self) -> dict[str, int]:
        """Run the reconciler, to which every upload is overdue at once: what it says it did."""
        report = self.reconcile()
        assert "errorType" not in report, report
        return report

    def memory_peaks(self) -> list[Peak]:
        """Of each process of a function that ran at this or an earlier call; none where there is no /proc."""
        for process, function in self.workers():
            with contextlib.suppress(OSError, LookupError):  # it has just ended
                peak = re.search(r"^VmHWM:\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
                environ = (process / "environ").read_bytes().decode()
                limit = re.search(r"\bAWS_LAMBDA_FUNCTION_MEMORY_SIZE=(\d+)", environ)
                if peak and limit:
                    self._peaks[process] = Peak(function, int(peak[1]) / 1024, int(limit[1]))
        return list(self._peaks.values())

    # --- Logs and metrics ---------------------------------------------------------------------------------------------

    def log_lines(self, image_id: str) -> list[dict[str, Any]]:
        """What the functions logged about an image."""
        logs = self.engine.client("logs")
        groups = stack_resources(self.engine, "AWS::Logs::LogGroup")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=groups["FunctionsLogGroup"])
        texts = [event["message"] for page in pages for event in page["events"] if image_id in event["message"]]
        return [json.loads(text) for text in texts]

    def metrics(self) -> dict[tuple[str, ...], tuple[float, int]]:
        """Sum and number of all values by metric: its name, and the value of its dimension if it has one."""
        cloudwatch, hour = self.engine.client("cloudwatch"), timedelta(hours=1)
        now = datetime.now(UTC)
        found = {}
        for metric in cloudwatch.list_metrics(Namespace="PetDetector")["Metrics"]:
            points = cloudwatch.get_metric_statistics(
                **{name: metric[name] for name in ("Namespace", "MetricName", "Dimensions")},
                **{"StartTime": now - 2 * hour, "EndTime": now + hour, "Period": 86400},
                Statistics=["Sum", "SampleCount"],
            )["Datapoints"]
            own = [dimension["Value"] for dimension in metric["Dimensions"] if dimension["Name"] != "service"]
            assert len(own) == len(metric["Dimensions"]) - 1, metric  # every metric says of which stack it is
            found[metric["MetricName"], *own] = (
                sum(point["Sum"] for point in points),
                int(sum(point["SampleCount"] for point in points)),
            )
        return found
