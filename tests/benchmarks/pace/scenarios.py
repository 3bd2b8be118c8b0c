"""How many images at which quota, what else goes on, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ops import definitions
from pet_detector.rules.prices import prices
from tests.benchmarks.pace.cloud import ANALYSER, MOVER
from tests.benchmarks.pace.virtual_time import START, Activity, World
from tests.benchmarks.pace.workflow import Cloud, Image, OldWorkflow, Workflow

PACE = 0.9  # of the quota: RekognitionCallsPerSecond is 45 by default, where the quota is 50
# Write units: expect_turn writes a record of 2 KB into the table and the two indexes that hold it; all else is small.
UNITS_OF_A_RECORD = 2 * 3
ALONE = 300  # images whose price, when none waits, is that of any image
PATIENCE = 50  # times as long as Rekognition needs for all: then a simulation is given up
MILLION = 1_000_000


@dataclass(frozen=True)
class Scenario:
    """What happens. `quota` is in calls of Rekognition a second."""

    name: str
    images: int
    quota: float
    is_old: bool = False  # as it was before images took turns
    pace: float = PACE  # of the quota
    folder: str = "input"
    seconds_apart: float = 0.0  # 0: all at once
    live: int = 0  # uploads besides
    live_seconds: float = 0.0  # in which these come; 0: while the first half of the others is analysed
    others: float = 0.0  # share of the quota that somebody else takes without telling
    copies: float = 0.0  # share of the images that have the bytes of another one
    unreadable: float = 0.0  # share of the images that Rekognition cannot decode
    concurrency: int = 1000  # of Lambda
    late: float = 0.0  # share of the images that Step Functions wakes up to two seconds late
    seed: int = 1


@dataclass(frozen=True)
class Times:
    """Seconds from the upload to the final record."""

    half: float
    most: float  # 95 %
    nearly_all: float  # 99 %
    longest: float

    @classmethod
    def of(cls, images: Sequence[Image]) -> Times:
        """The times of these images, of which there is one at least."""
        times = sorted(image.ended - image.stored for image in images)
        return cls(*(times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.95, 0.99, 1)))


@dataclass(frozen=True)
class Result:
    """What came of a scenario; times in seconds."""

    scenario: Scenario
    failed: int  # live ones included
    floor: float  # in which Rekognition can be asked about all different images, at the product's pace
    end: float
    times: Times
    live: Times | None
    busiest: int  # calls of Rekognition in the busiest second, throttled ones included
    calls: int
    throttled: int
    transitions: float  # more than of an image that does not wait; so are the next ones
    writes: float
    dollars: float  # a million images
    hottest: int  # writes to one item in its busiest second
    refused: int  # writes that DynamoDB throttled
    functions: int  # that ran at once
    no_function: int  # calls of functions that Lambda throttled

    @property
    def over_floor(self) -> float:
        """The end, in floors."""
        return self.end / self.floor


@dataclass(frozen=True)
class _Spent:
    """What an image costs, beside Rekognition and what all images cost alike."""

    transitions: float
    writes: float
    dollars: float

    @classmethod
    def of(cls, cloud: Cloud, images: int) -> _Spent:
        functions, writes, unit = cloud.functions, cloud.dynamodb.writes, prices()
        dollars = cloud.states.transitions * unit["states_standard_transition"]
        units = sum(writes.values()) + (UNITS_OF_A_RECORD - 1) * writes["image"]
        dollars += units * unit["dynamodb_write_unit"]
        for name in (ANALYSER, MOVER):
            gigabytes = definitions.memory_megabytes(name) / 1024
            dollars += functions.seconds[name] * gigabytes * unit["lambda_gb_second_arm64"]
            dollars += functions.calls[name] * unit["lambda_request"]
        return cls(cloud.states.transitions / images, sum(writes.values()) / images, dollars / images)


def simulate(scenario: Scenario) -> Result:
    """Let it happen, until every image has ended."""
    images, live, cloud = _run(scenario)
    everything = [*images, *live]
    different = len({image.content or f"bytes#{image.number}" for image in everything})
    spent, alone = _Spent.of(cloud, len(everything)), _alone(scenario.is_old)
    rekognition, dynamodb = cloud.rekognition, cloud.dynamodb
    return Result(
        scenario,
        failed=sum(bool(image.failed) for image in everything),
        floor=different / (scenario.quota * scenario.pace),
        end=max(image.ended for image in everything) - START,
        times=Times.of(images),
        live=Times.of(live) if live else None,
        busiest=rekognition.ours.most,
        calls=rekognition.ours.total,
        throttled=rekognition.throttled,
        transitions=spent.transitions - alone.transitions,
        writes=spent.writes - alone.writes,
        dollars=(spent.dollars - alone.dollars) * MILLION,
        hottest=max((busiest.most for busiest in dynamodb.hottest.values()), default=0),
        refused=dynamodb.throttled,
        functions=cloud.functions.most,
        no_function=cloud.functions.throttled,
    )


@cache
def _alone(is_old: bool) -> _Spent:
    scenario = Scenario("one after the other", ALONE, 50, is_old, seconds_apart=3.0)
    return _Spent.of(_run(scenario)[2], ALONE)


def _run(scenario: Scenario) -> tuple[list[Image], list[Image], Cloud]:
    world = World(scenario.seed)
    cloud = Cloud(world, quota=scenario.quota, concurrency=scenario.concurrency, late=scenario.late)
    pace = scenario.quota * scenario.pace
    workflow = (OldWorkflow if scenario.is_old else Workflow)(cloud, pace)
    images = [
        Image(number, START + number * scenario.seconds_apart, scenario.folder) for number in range(scenario.images)
    ]
    for image in images:
        if world.random.random() < scenario.copies:
            image.content = f"bytes#{world.random.randrange(scenario.images)}"
        if world.random.random() < scenario.unreadable:
            cloud.rekognition.unreadable.add(image.key)
    period = scenario.live_seconds or scenario.images / pace / 2
    live = [Image(scenario.images + number, START + world.random.uniform(0, period)) for number in range(scenario.live)]
    for image in [*images, *live]:
        world.begin(workflow.execution(image), image.stored)
    if scenario.others:
        world.begin(_others(cloud, scenario, lambda: all(image.ended for image in images)), START)
    with cloud.holds_the_product():
        world.run(PATIENCE * scenario.images / pace + period + 3600)
    return images, live, cloud


def _others(cloud: Cloud, scenario: Scenario, are_done: Callable[[], bool]) -> Activity[None]:
    """Somebody else, who insists on a share of the quota, as SDKs do."""
    world, interval = cloud.world, 1 / (scenario.quota * scenario.others)
    due = world.now
    while not are_done():
        while not cloud.rekognition.admits():
            yield 0.2 / scenario.quota
        due = max(due + interval, world.now - 1)
        yield max(0.0, due - world.now)
