"""How fast images are analysed: who waits for a turn until when, and whether the pace fits the account's quotas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ops import cost
from ops.environment import CLIENT_CONFIG, LOCAL, Deployment
from pet_detector.aws import turns
from pet_detector.rules.lanes import Lane
from pet_detector.use_cases.analyser import SLEEP_SECONDS

# What the workflow's functions may use of Lambda's concurrency; the rest is for the API and for other applications.
SHARE_OF_CONCURRENCY = 0.8
# A lower pace than this share of the quota makes images wait for nothing.
LEAST_SHARE_OF_QUOTA = 0.5


@dataclass(frozen=True)
class Queue:
    """Turns of a lane that are given out and still to come: how many, and when the last one is over."""

    turns: int
    ends: datetime


@dataclass(frozen=True)
class Pace:
    """`queues` has the lanes in which images wait.

    `quota` (calls of DetectLabels a second; with content safety, `moderated`, of DetectModerationLabels if it is lower)
    and `concurrency` (Lambda's, in the account) are None when they cannot be read, and on the local AWS, which has
    neither. `advice` says what does not fit, in sentences.
    """

    calls_per_second: float
    queues: dict[str, Queue]
    quota: float | None
    concurrency: int | None
    moderated: bool = False

    @property
    def advice(self) -> list[str]:
        """What to change, if anything."""
        found: list[str] = []
        pace, name = self.calls_per_second, "RekognitionCallsPerSecond"
        if self.quota is not None and pace > self.quota:
            found.append(
                f"{name} is {pace:g}, above Rekognition's quota of {self.quota:g}: set it to {self.quota * 0.9:g}."
            )
        if self.quota is not None and pace < self.quota * LEAST_SHARE_OF_QUOTA:
            found.append(
                f"{name} is {pace:g}, and Rekognition's quota is {self.quota:g}: images wait longer than they must."
            )
        seconds = seconds_of_functions(moderated=self.moderated)
        if self.concurrency is not None and pace * seconds > self.concurrency * SHARE_OF_CONCURRENCY:
            fitting = math.floor(self.concurrency * SHARE_OF_CONCURRENCY / seconds * 10) / 10
            found.append(
                f"{name} is {pace:g}, which needs {math.ceil(pace * seconds)} concurrent executions of Lambda, and "
                f"this account may have {self.concurrency}: set it to {fitting:.1f}, or ask AWS for more concurrency."
            )
        return found


def seconds_of_functions(*, moderated: bool) -> float:
    """Seconds for which an image that waited for its turn uses one of Lambda's concurrent executions: at most."""
    functions = ("ImageProcessorFunction", "ImageProcessorFunction", "FileManagerFunction")
    milliseconds = sum(cost.MILLISECONDS[name] for name in functions) + moderated * cost.MODERATION_MILLISECONDS
    return SLEEP_SECONDS + milliseconds / 1000


def pace_of(deployment: Deployment) -> Pace:
    """Look at the lanes, and at the quotas where the caller may."""
    is_local = deployment.environment == LOCAL
    pace = float(deployment.parameter("RekognitionCallsPerSecond"))
    return Pace(
        calls_per_second=pace,
        queues=_queues(deployment.output("AnalysesTableName"), pace),
        quota=None if is_local else _quota(deployment),
        concurrency=concurrency_of(deployment),
        moderated=cost.is_moderated(deployment.parameters),
    )


def _queues(table: str, pace: float) -> dict[str, Queue]:
    now = datetime.now(UTC).timestamp()
    ends = {lane.value: turns.next_turn(table, lane) or now for lane in Lane}
    return {
        lane: Queue(math.ceil((end - now) * pace), datetime.fromtimestamp(end, UTC))
        for lane, end in ends.items()
        if end > now + SLEEP_SECONDS
    }


def _quota(deployment: Deployment) -> float | None:
    """The account's quota of calls a second of the operation that may be called least often."""
    asked = ["DetectLabels"] + ["DetectModerationLabels"] * cost.is_moderated(deployment.parameters)
    client = boto3.client("service-quotas", config=CLIENT_CONFIG)
    values: dict[str, float] = {}
    # The account's own come last; they leave out what was never changed.
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        try:
            pages = list(client.get_paginator(operation).paginate(ServiceCode="rekognition"))
        except (ClientError, BotoCoreError):  # it is no part of the application: the caller may lack the right
            return None
        for quota in (quota for page in pages for quota in page["Quotas"]):
            for name in asked:
                if name in quota["QuotaName"] and "per second" in quota["QuotaName"].lower():
                    values[name] = float(quota["Value"])
    return min(values.values(), default=None)


def concurrency_of(deployment: Deployment) -> int | None:
    """Lambda's concurrent executions in the account; None when it cannot be read, and on the local AWS."""
    if deployment.environment == LOCAL:
        return None
    try:
        settings = boto3.client("lambda", config=CLIENT_CONFIG).get_account_settings()
    except (ClientError, BotoCoreError):
        return None
    return settings["AccountLimit"]["ConcurrentExecutions"]
