"""Step Functions, Lambda and Rekognition: what they admit, and how long they take. All times are in seconds.

AWS documents the quotas. It does not say how late a Wait state or a new Lambda environment is, nor whether Rekognition
admits more than its quota for a moment: these are assumptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from tests.benchmarks.pace.virtual_time import Activity, Bucket, Busiest, World

T = TypeVar("T")

# StartExecution of Standard workflows in us-east-1. EventBridge tries again what is refused.
STARTS_AT_ONCE, STARTS_A_SECOND = 1300, 300

TRANSITION = (0.02, 0.06)
WAKE_UP = (0.02, 0.3)  # after the time that a Wait state waits for
LATE_WAKE_UP = (0.3, 2.0)
WARM_START, COLD_START = (0.01, 0.03), (0.7, 1.3)
READ_PICTURE = (0.03, 0.1)
MOVE_PICTURE = (0.15, 0.35)
REKOGNITION_WAY, REKOGNITION_LOOKS = (0.005, 0.02), (0.3, 0.7)

ANALYSER, MOVER = "ImageProcessorFunction", "FileManagerFunction"


class LambdaThrottledError(Exception):
    """Lambda has no environment free: Lambda.TooManyRequestsException."""


class Lambda:
    """Functions, of which so many may run at once."""

    def __init__(self, world: World, concurrency: int) -> None:
        self._world, self._concurrency = world, concurrency
        self._running = self.most = 0
        self._idle: Counter[str] = Counter()  # environments that are kept warm, by function
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()  # billed
        self.throttled = 0

    def invoke(self, function: str, code: Callable[[], Activity[T]]) -> Activity[T]:
        """Run a function; raises LambdaThrottledError, or what the function raises."""
        if self._running >= self._concurrency:
            self.throttled += 1
            yield self._world.random.uniform(*WARM_START)
            raise LambdaThrottledError
        self._running += 1
        self.most = max(self.most, self._running)
        is_cold = not self._idle[function]
        self._idle[function] -= not is_cold
        start = self._world.now
        try:
            yield self._world.random.uniform(*(COLD_START if is_cold else WARM_START))
            return (yield from code())
        finally:
            self._running -= 1
            self._idle[function] += 1
            self.calls[function] += 1
            self.seconds[function] += self._world.now - start  # type: ignore[assignment]  # Counter counts in floats too


class Rekognition:
    """The client, for the code that runs in a World: it admits `quota` calls a second, as many at once, and no more."""

    def __init__(self, world: World, quota: float) -> None:
        self._world = world
        self._bucket = Bucket(world, quota, max(1.0, quota))
        self.ours = Busiest()  # calls of the product, admitted or not
        self.throttled = 0
        self.unreadable: set[str] = set()  # keys of pictures that it cannot decode

    def admits(self) -> bool:
        """Whether a call that comes now, from the product or from others, is within the quota."""
        return self._bucket.takes()

    def detect_labels(self, *, Image: Any, MaxLabels: int, MinConfidence: float) -> Any:
        """As in botocore."""
        random = self._world.random
        self._world.takes(lambda: random.uniform(*REKOGNITION_WAY), self._comes)
        return self._world.takes(lambda: random.uniform(*REKOGNITION_LOOKS), lambda: self._sees(Image))

    def _comes(self) -> None:
        self.ours.add(self._world.now)
        if not self.admits():
            self.throttled += 1
            raise _error("ProvisionedThroughputExceededException")

    def _sees(self, image: Any) -> Any:
        if image["S3Object"]["Name"] in self.unreadable:
            raise _error("InvalidImageFormatException")
        return {"Labels": [{"Name": "Cat", "Confidence": 99.0}], "LabelModelVersion": "3.0"}


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "DetectLabels")


class StepFunctions:
    """When executions start and states begin."""

    def __init__(self, world: World, late: float) -> None:
        self._world, self._late = world, late  # the share of late wake-ups
        self._starts = Bucket(world, STARTS_A_SECOND, STARTS_AT_ONCE)
        self.transitions = 0

    def start(self) -> Activity[None]:
        """Wait until the execution may start; those that came before are first."""
        yield self._starts.reserve()

    def enter(self) -> Activity[None]:
        """A state begins."""
        self.transitions += 1
        yield self._world.random.uniform(*TRANSITION)

    def wait_until(self, time: float) -> Activity[None]:
        """A Wait state; it is never early."""
        yield from self.enter()
        random = self._world.random
        late = random.uniform(*(LATE_WAKE_UP if random.random() < self._late else WAKE_UP))
        yield max(0.0, time - self._world.now) + late
