"""An image's way through the state machine, and the way it had before images took turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest.mock import patch

import boto3

from pet_detector.aws import analyses, clients, daily_limit, detection_logs, rekognition
from pet_detector.rules.models import Recognition
from pet_detector.use_cases import analyser
from pet_detector.use_cases.analyser import Limits, Picture, Waiting, analyse_once
from tests.benchmarks.pace.cloud import (
    ANALYSER,
    MOVE_PICTURE,
    MOVER,
    READ_PICTURE,
    Lambda,
    LambdaThrottledError,
    Rekognition,
    StepFunctions,
)
from tests.benchmarks.pace.dynamodb import DynamoDB
from tests.benchmarks.pace.virtual_time import Activity, Chance, Clock, World
from tests.support.paths import REPOSITORY
from tests.support.templates import load

T = TypeVar("T")

DEFINITION = REPOSITORY / "statemachine" / "image_workflow.asl.yaml"
# What stood in its place in Analyze Image before images took turns.
OLD_THROTTLES = {
    "ErrorEquals": ["ThrottledError", "Lambda.TooManyRequestsException"],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 9,
    "MaxDelaySeconds": 60,
}

ANALYSES, LOGS = "Analyses", "DetectionLogs"


@dataclass
class Image:
    """An image of the simulation: when it is stored, and what became of it."""

    number: int
    stored: float  # seconds since 1970
    folder: str = "input"
    content: str = ""
    ended: float = 0.0
    failed: str = ""
    waits: int = 0

    @property
    def key(self) -> str:
        """Its key, which decides its lane."""
        return f"{self.folder}/{self.number:032x}.jpg"


class Cloud:
    """One AWS account in a World."""

    def __init__(self, world: World, *, quota: float, concurrency: int, late: float) -> None:
        self.world = world
        self.dynamodb = DynamoDB(world)
        self.rekognition = Rekognition(world, quota)
        self.functions = Lambda(world, concurrency)
        self.states = StepFunctions(world, late)

    @contextlib.contextmanager
    def holds_the_product(self) -> Iterator[None]:
        """Inside the block the product's code calls this AWS, and its clock is the World's."""
        made: dict[str, Any] = {"dynamodb": self.dynamodb, "rekognition": self.rekognition}
        clock = Clock(self.world)
        clients.forget()
        with contextlib.ExitStack() as patches:
            patches.enter_context(patch.object(boto3, "client", lambda service, config: made[service]))
            for module in (analyser, analyses, daily_limit):
                patches.enter_context(patch.object(module, "time", clock))
            patches.enter_context(patch.object(analyser, "random", Chance(self.world)))
            for name in ("logger", "count"):  # what the product says and counts is said and counted elsewhere
                patches.enter_context(patch.object(analyser, name))
            try:
                yield
            finally:
                clients.forget()


class Retriers:
    """The retriers of a state."""

    def __init__(self, retriers: Sequence[dict[str, Any]]) -> None:
        self._retriers = retriers

    def delays(self) -> Callable[[str], float | None]:
        """A function that says, for each error in turn, the longest delay before the next attempt; None: it fails."""
        counts = [0] * len(self._retriers)

        def longest(error: str) -> float | None:
            for index, retrier in enumerate(self._retriers):
                if error in retrier["ErrorEquals"]:
                    if counts[index] >= retrier["MaxAttempts"]:
                        return None
                    delay = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** min(counts[index], 60)
                    counts[index] += 1
                    return float(min(delay, retrier["MaxDelaySeconds"]))
            return None

        return longest


def _retriers(state: str) -> Retriers:
    return Retriers(load(DEFINITION)["States"][state]["Retry"])


class Workflow:
    """What an execution does: from the claim to the final record."""

    def __init__(self, cloud: Cloud, pace: float) -> None:
        self.cloud, self.pace = cloud, pace
        self.analyze, self.move = _retriers("Analyze Image"), _retriers("Move Image")

    def execution(self, image: Image) -> Activity[None]:
        """The execution of an image."""
        states = self.cloud.states
        yield from states.start()
        yield from states.enter()  # Claim Upload
        record = {"ProcessingStatus": {"S": "processing"}, "ExecutionArn": {"S": image.key}}
        self.cloud.dynamodb.items[_record_id(image)] = record
        try:
            while (waiting := (yield from self._analyzed(image))) is not None:
                image.waits += 1
                yield from states.wait_until(waiting)  # Wait for Turn
            yield from states.enter()  # Move Image
            yield from self._task(self.move, MOVER, lambda: self._pause(MOVE_PICTURE))
            yield from states.enter()  # Certain Enough?
            yield from states.enter()  # Log Detection
        except _FailedError as failure:
            image.failed = str(failure)
        image.ended = self.cloud.world.now
        del self.cloud.dynamodb.items[_record_id(image)]

    def _analyzed(self, image: Image) -> Activity[float | None]:
        """Analyze Image and the Choice behind it; the time until which the image has to wait, or None."""
        yield from self.cloud.states.enter()
        until = yield from self._task(self.analyze, ANALYSER, lambda: self._analyser(image))
        yield from self.cloud.states.enter()
        return until

    def _analyser(self, image: Image) -> Activity[float | None]:
        yield from self._pause(READ_PICTURE)
        return (yield from self.cloud.world.runs(lambda: self._analyse(image)))

    def _analyse(self, image: Image) -> float | None:
        """As in image_processor.app."""
        picture = Picture("bucket", image.key, "1", image.content or f"bytes#{image.number}")
        limits = Limits(self.pace, 0)
        answer = analyse_once(ANALYSES, picture, owner=image.key, limits=limits)
        if not isinstance(answer, Waiting):
            return None
        detection_logs.expect_turn(LOGS, _record_id(image), execution_arn=image.key, at=answer.until)
        return answer.wake_up

    def _task(self, retriers: Retriers, function: str, code: Callable[[], Activity[T]]) -> Activity[T]:
        delays = retriers.delays()
        while True:
            try:
                return (yield from self.cloud.functions.invoke(function, code))
            except LambdaThrottledError:
                error = "Lambda.TooManyRequestsException"
            except Exception as raised:
                error = type(raised).__name__
            longest = delays(error)
            if longest is None:
                raise _FailedError(error)
            yield self.cloud.world.random.uniform(0, longest)
            yield from self.cloud.states.enter()  # a retry is billed as a transition

    def _pause(self, seconds: tuple[float, float]) -> Activity[None]:
        yield self.cloud.world.random.uniform(*seconds)


class OldWorkflow(Workflow):
    """Before images took turns: each asks Rekognition at once, and retries when it is throttled."""

    def __init__(self, cloud: Cloud, pace: float) -> None:
        super().__init__(cloud, pace)
        others = [
            retrier
            for retrier in load(DEFINITION)["States"]["Analyze Image"]["Retry"]
            if not {"ThrottledError", "Lambda.TooManyRequestsException"} & set(retrier["ErrorEquals"])
        ]
        self.analyze = Retriers([OLD_THROTTLES, *others])

    def _analyse(self, image: Image) -> float | None:
        content = image.content or f"bytes#{image.number}"
        if not isinstance(analyses.begin(ANALYSES, content, image.key), Recognition):
            answer = rekognition.recognize("bucket", image.key, "1")
            if isinstance(answer, Recognition):
                analyses.finish(ANALYSES, content, answer)
            else:
                analyses.give_up(ANALYSES, content, image.key)
        return None


class _FailedError(Exception):
    """A task has no attempt left."""


def _record_id(image: Image) -> str:
    return f"image#{image.number}"
