"""Data that must fire each alarm, and data that must not.

A case gives the values of each metric (by its id in metric math; "" without) for each period, the newest first. The
quiet ones lie just below the threshold, or just too short: they show where the line is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pet_detector.rules.business_metrics import measurements
from pet_detector.rules.models import Record

Periods = Sequence[Sequence[float]]
Data = Mapping[str, Periods]


@dataclass(frozen=True)
class Case:
    """What fires an alarm, and what does not although it comes close."""

    fires: Data
    quiet: Data


def one(*values: float) -> Data:
    """Values of the only metric, in the newest period."""
    return {"": [list(values)]}


def now(**values: Sequence[float]) -> Data:
    """Values of several metrics, in the newest period."""
    return {name: [data] for name, data in values.items()}


CASES = {
    # p95 needs one in twenty; two minutes of three need two.
    "ProcessingSlowAlarm": Case({"": [[12_000] * 3, [2_000], [11_000] * 3]}, {"": [[9_900] * 20, [9_000] * 20]}),
    "FailedShareAlarm": Case(
        now(finished=[0.0012] * 94, failed=[1] * 6),
        now(finished=[0.0012] * 95, failed=[1] * 5),
    ),
    "HeldImagesAlarm": Case(one(1), one(0)),
    "UnsafeContentAlarm": Case(one(1), one(0)),
    "ReconcileGapAlarm": Case({"": [[1, 0], [2, 0]]}, {"": [[0, 0], [0, 0]]}),
    "ReviewExecutionsFailedAlarm": Case(
        now(failed=[1], timedOut=[1], aborted=[1]),
        now(failed=[1], timedOut=[], aborted=[1]),
    ),
    "VerdictsPendingAlarm": Case({"": [[1, 0], [2, 0]]}, {"": [[0, 0], [0, 0]]}),
    "PrecisionFallenAlarm": Case(one(89.9), one(90.0)),
    "ReviewsOverdueAlarm": Case(one(72.5), one(71.5)),
    # Nothing for an hour, and the last word in time; what it says is that nothing is lost.
    "ReconcilerSilentAlarm": Case({"runs": [[], [], [], [], [0]]}, {"runs": [[], [], [], [0]]}),
    "SuddenCostAlarm": Case(one(*[0.0012] * 4_200), one(*[0.0012] * 4_100)),
    "ExecutionsFailedAlarm": Case(one(1, 1, 1), one(1, 1)),
    "ExecutionsTimedOutAlarm": Case(one(1), one(0)),
    "ExecutionsAbortedAlarm": Case(one(1), one(0)),
    "OpenExecutionsAlarm": Case(
        now(open=[810_000], limit=[1_000_000]),
        now(open=[790_000], limit=[1_000_000]),
    ),
    "WorkflowFunctionErrorsAlarm": Case(one(*[1] * 50), one(*[1] * 49)),
    "FunctionErrorsAlarm": Case(one(1, 1, 1), one(1, 1)),
    "ScheduledFunctionErrorsAlarm": Case(one(1, 1), one(1)),
    "Memory256Alarm": Case(one(90, 206), one(90, 205)),
    "Memory512Alarm": Case(one(300, 411), one(300, 410)),
    "Memory1769Alarm": Case(one(300, 1416), one(300, 1415)),
    "ConcurrencyAlarm": Case({"": [[801], [950]]}, {"": [[790], [800]]}),
    "ApiErrorsAlarm": Case(one(1, 1, 1), one(1, 1, 0, 0)),
    "ApiClientErrorsAlarm": Case(
        now(refused=[1] * 31 + [0] * 69, requests=[1] * 100),
        now(refused=[1] * 30 + [0] * 70, requests=[1] * 100),
    ),
    "RekognitionThrottlesAlarm": Case(now(labels=[1] * 40, moderation=[1] * 10), now(labels=[1] * 49, moderation=[])),
    "RuleFailuresAlarm": Case(now(uploadedKept=[1]), now(uploadedFailed=[0], failedLost=[0])),
    "NoticesUndeliveredAlarm": Case(one(1), one(0)),
    "StreamStalledAlarm": Case({"": [[310_000], [400_000], [301_000]]}, {"": [[290_000], [300_000], [100]]}),
    "MessagesAlarm": Case(one(0, 1), one(0, 0)),
    "UnattendedAlarm": Case(
        now(age=[86_300, 86_500], taken=[0]),
        now(age=[86_300, 200_000], taken=[0, 1]),  # somebody is at it
    ),
    # Burn rates: of 1,000 images or requests 15 use up 15 thousandths, 15 times more than the objective allows.
    "OnTimeAlarm": Case(
        now(finished=[3_000] * 985 + [61_000] * 10, late=[], failed=[1] * 5),
        now(finished=[3_000] * 900 + [60_000] * 96, failed=[1] * 4),
    ),
    "AvailabilityAlarm": Case(
        now(errors=[1] * 15 + [0] * 985, requests=[1] * 1_000),
        now(errors=[1] * 5 + [0] * 995, requests=[1] * 1_000),
    ),
    "LatencyAlarm": Case(
        now(requests=[100] * 850 + [1_100] * 150),
        now(requests=[100] * 600 + [1_000] * 351 + [1_100] * 49),
    ),
}

# More quiet data: too little traffic for a ratio, or too short a time.
ALSO_QUIET: dict[str, list[Data]] = {
    "ProcessingSlowAlarm": [{"": [[60_000] * 9]}, {"": [[3_000] * 96 + [60_000] * 4] * 3}],
    "FailedShareAlarm": [now(finished=[0.0012] * 17, failed=[1] * 2), now(finished=[0.0012] * 500)],
    "ReconcileGapAlarm": [{"": [[5, 0], [0, 0]]}],  # started again, and finished by the next run
    "VerdictsPendingAlarm": [{"": [[5, 0], [0, 0]]}],  # started again, and carried out
    "ConcurrencyAlarm": [{"": [[1_000]]}],
    "ApiClientErrorsAlarm": [now(refused=[1] * 49, requests=[1] * 49), now(requests=[1] * 400)],
    "StreamStalledAlarm": [{"": [[900_000], [900_000]]}],
    "UnattendedAlarm": [now(age=[86_400])],
    "OpenExecutionsAlarm": [now(open=[900_000])],
    "OnTimeAlarm": [now(finished=[61_000], failed=[1]), now(finished=[100] * 1_000)],
    "AvailabilityAlarm": [now(errors=[1] * 2, requests=[1] * 2)],
    "LatencyAlarm": [now(requests=[5_000] * 2)],
}


def _processing_time(**times: str) -> float:
    """What is measured of an image that finished three seconds after 14:30, with these times in its record."""
    finished: Record = {"ProcessingStatus": "rejected", "ReasonCode": "EMPTY", "UpdatedAt": "2026-11-21T14:30:03.000Z"}
    (taken,) = [m.value for m in measurements({}, cast(Record, {**finished, **times})) if m.metric == "ProcessingTime"]
    return taken


# 100,000 images at once, at five calls a second: for hours most of them only wait, and each finishes seconds after its
# turn. That it came hours before its turn fires nothing; what is paid may.
_WAITED = _processing_time(ReceivedAt="2026-11-21T09:30:00.000Z", TurnAt="2026-11-21T14:30:00.000Z")
LONG_BURST: dict[str, Data] = {
    "ProcessingSlowAlarm": {"": [[_WAITED] * 300] * 3},
    "OnTimeAlarm": now(finished=[_WAITED] * 1_500),
    "FailedShareAlarm": now(finished=[0.0012] * 1_500),
    "ReconcileGapAlarm": {"": [[0, 0], [0, 0]]},  # tests/unit/test_reconciler.py: what waits is no gap
    "ReconcilerSilentAlarm": {"runs": [[0]] * 4},  # nor does a run take too long
    "ScheduledFunctionErrorsAlarm": one(0, 0, 0, 0),
    "ExecutionsTimedOutAlarm": one(0),
    "OpenExecutionsAlarm": now(open=[100_000], limit=[1_000_000]),
    "WorkflowFunctionErrorsAlarm": one(*[0] * 1_500),  # that it is not yet its turn is an answer
    "ConcurrencyAlarm": {"": [[60]] * 3},  # who waits for more than a second waits outside of Lambda
    "RekognitionThrottlesAlarm": now(labels=[0], moderation=[0]),
    "SuddenCostAlarm": one(*[0.0012] * 18_000),
}
FIRES_IN_A_LONG_BURST = {"SuddenCostAlarm"}

# One bad image or request of so many must not fire a burn rate, however few they are.
ONE_BAD: dict[str, Callable[[int], Data]] = {
    "OnTimeAlarm": lambda all_: now(finished=[61_000] + [3_000] * (all_ - 1)),
    "AvailabilityAlarm": lambda all_: now(errors=[1] + [0] * (all_ - 1), requests=[1] * all_),
    "LatencyAlarm": lambda all_: now(requests=[5_000] + [100] * (all_ - 1)),
}
# Two ids read the same metric with two statistics: data is given once, under the first of them.
SAME_METRIC = {"OnTimeAlarm": {"late": "finished"}, "LatencyAlarm": {"slow": "requests"}}


# Functions that the workflow retries, those that only Lambda or a client does, and those whose next run is the retry.
_FUNCTIONS = {
    "WorkflowFunctionErrorsAlarm": (
        *("ImageProcessor", "ConvertImage", "FileManager", "NotificationService", "FailureRecorder"),
    ),
    "FunctionErrorsAlarm": (
        *("MetricsPublisher", "ReviewQueue", "UploadApi", "ImagesApi", "ErasureApi", "PageApi", "ReviewApi"),
        "FiguresApi",
    ),
    "ScheduledFunctionErrorsAlarm": ("Reconciler", "ReviewKeeper"),
}


def kind_of(alarm: str) -> str:
    """The key of an alarm's cases: those of nested stacks and of functions share theirs."""
    name = alarm.rpartition(".")[2]
    function = name.removesuffix("ErrorsAlarm")
    return next((kind for kind, functions in _FUNCTIONS.items() if function in functions), name)
