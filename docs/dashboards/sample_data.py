"""A day of a made-up shop for pets: some 9,000 images, quiet at night, and Rekognition throttling at 14:00.

Numbers only need to look like the real ones; they are the same at every run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

SECONDS_A_DAY = 86_400
# From here to there Rekognition throttles, retries run out, and images fail.
INCIDENT = (14 * 3600, 14 * 3600 + 2400)

# One row per log widget, by title: what the Logs Insights query would answer.
TABLES: dict[str, tuple[list[str], list[list[str]]]] = {
    "Activity by API client": (
        ["apiKeyId", "requests", "refused", "p95_ms"],
        [
            ["k3x8shelter", "18,204", "41", "148"],
            ["p0adoption", "9,377", "212", "161"],
            ["z7photobox", "2,950", "1,103", "97"],
            ["-", "2,880", "0", "212"],
        ],
    ),
    "API requests by method": (
        ["method", "path", "requests", "refused_or_failed", "failed", "p50_ms", "p95_ms"],
        [
            ["GET", "/images/{id}", "18,377", "204", "3", "52", "139"],
            ["POST", "/upload", "9,102", "1,117", "2", "88", "214"],
            ["GET", "/health", "2,880", "0", "0", "61", "212"],
            ["GET", "/images", "2,204", "12", "0", "97", "318"],
            ["POST", "/people/reviews", "446", "3", "0", "71", "160"],
        ],
    ),
    "Functions - runs, cold starts, memory": (
        ["function", "runs", "cold_starts", "longest_cold_start_ms", "p95_ms", "memory_mb", "of_mb"],
        [
            ["ImagesApiFunction", "24,211", "61", "693", "96", "118", "256"],
            ["ImageProcessorFunction", "9,402", "48", "911", "1,480", "203", "512"],
            ["FileManagerFunction", "9,130", "44", "702", "412", "109", "256"],
            ["UploadApiFunction", "9,084", "39", "655", "131", "124", "256"],
            ["MetricsPublisherFunction", "6,377", "12", "588", "14", "98", "256"],
            ["ReviewApiFunction", "1,204", "22", "671", "84", "117", "256"],
            ["NotificationServiceFunction", "447", "97", "640", "133", "104", "256"],
            ["Reconciler", "96", "96", "671", "903", "107", "256"],
            ["FailureRecorderFunction", "31", "9", "633", "171", "103", "256"],
        ],
    ),
}


def traffic(second: float) -> float:
    """Images a minute at a time of day: few at night, most in the early evening."""
    hour = second / 3600
    return 1.2 + 9 * math.exp(-(((hour - 18) / 3.2) ** 2)) + 6 * math.exp(-(((hour - 11) / 2.6) ** 2))


def _incident(second: float) -> bool:
    return INCIDENT[0] <= second < INCIDENT[1]


def _share(part: float, bad: float | None = None) -> Callable[[float, float, random.Random], float]:
    """A count that is a part of the traffic, another one during the incident."""

    def count(second: float, minutes: float, dice: random.Random) -> float:
        share = bad if bad is not None and _incident(second) else part
        images = traffic(second) * minutes
        images += random.Random(second).gauss(0, math.sqrt(images))  # noqa: S311 - the same images in every graph
        expected = max(0.0, images * share)
        own = math.sqrt(expected * max(0.0, 1 - share)) if share < 1 else 0.0
        return max(0.0, round(dice.gauss(expected, own)))

    return count


def _level(normal: float, spread: float, bad: float | None = None) -> Callable[[float, float, random.Random], float]:
    """A height that swings around a normal value, around another during the incident."""

    def level(second: float, minutes: float, dice: random.Random) -> float:
        height = bad if bad is not None and _incident(second) else normal
        return max(0.0, height * math.exp(dice.gauss(0, spread)))

    return level


_ANIMALS = {"cat": 0.48, "dog": 0.37, "other": 0.11}
_REASONS = {
    "NOT_AN_IMAGE": 0.012,
    "UNSUPPORTED_FORMAT": 0.014,
    "TOO_SMALL": 0.004,
    "TRUNCATED": 0.005,
    "DAMAGED": 0.001,
    "EMPTY": 0.002,
    "UNSAFE_CONTENT": 0.0,  # ContentSafety is off by default
}
_CAPACITY: dict[str, dict[str, float]] = {
    "ConsumedReadCapacityUnits": {"DetectionLogs": 9, "Analyses": 0.5, "Reviews": 0.4},
    "ConsumedWriteCapacityUnits": {"DetectionLogs": 16, "Analyses": 3, "Reviews": 4},
}
_FUNCTION_MILLISECONDS = {
    "ImageProcessor": 1_200,
    "FileManager": 380,
    "Reconciler": 820,
    "FailureRecorder": 150,
    "ConvertImage": 2_000,
}

# By metric and statistic ("" for any): how its values come about.
_SHAPES: dict[tuple[str, str], Callable[[float, float, random.Random], float]] = {
    ("ImageReceived", ""): _share(1),
    ("ImageRegistered", ""): _share(0),
    ("EstimatedCost", "SampleCount"): _share(0.99, 0.8),
    ("EstimatedCost", ""): lambda second, minutes, dice: traffic(second) * minutes * 0.00115 * dice.uniform(0.93, 1.07),
    ("ImageFailed", ""): _share(0.0005, 0.12),
    ("ImageUncertain", ""): _share(0.04),
    ("ConfidenceScore", "p10"): _level(71, 0.03),
    ("ConfidenceScore", "p50"): _level(96.8, 0.004),
    ("ConfidenceScore", "p90"): _level(99.4, 0.001),
    ("Precision", "Minimum"): _level(97, 0.01),
    ("PrecisionBound", "Minimum"): _level(98, 0.005),
    ("RekognitionCall", ""): _share(0.93),
    ("AnalysisReused", ""): _share(0.03),
    ("ImageWaited", ""): _share(0, 0.3),
    ("DuplicateIgnored", ""): _share(0.004),
    ("Count", ""): _share(3.7),
    ("4XXError", ""): _share(0.15),
    ("5XXError", ""): _share(0.0004, 0.01),
    ("Latency", "p50"): _level(58, 0.08),
    ("Latency", "p95"): _level(170, 0.2),
    ("Latency", "p99"): _level(420, 0.25, 700),
    ("ProcessingTime", "p50"): _level(2_300, 0.06, 6_000),
    ("ProcessingTime", "p95"): _level(3_900, 0.12, 21_000),
    ("ProcessingTime", "p99"): _level(5_600, 0.15, 38_000),
    ("ExecutionsStarted", ""): _share(1.004),
    ("ExecutionsSucceeded", ""): _share(1, 0.85),
    ("ExecutionsFailed", ""): _share(0.0005, 0.12),
    ("ExecutionTime", "p50"): _level(1_900, 0.06, 5_500),
    ("ExecutionTime", "p95"): _level(3_400, 0.12, 20_000),
    ("ExecutionTime", "p99"): _level(5_000, 0.15, 37_000),
    ("SuccessfulRequestCount", ""): _share(0.93, 0.8),
    ("ThrottledCount", ""): _share(0, 1.9),
    ("ServerErrorCount", ""): _share(0.0004),
    ("ResponseTime", ""): _level(640, 0.1, 900),
    ("Throttles", ""): _share(0),
    ("MemoryUsedOf256MB", ""): _level(121, 0.02),
    ("MemoryUsedOf512MB", ""): _level(196, 0.05),
    ("MemoryUsedOf1769MB", ""): _level(420, 0.15),
    ("ReviewsWaiting", ""): _level(31, 0.3),
    ("OldestReviewHours", ""): _level(9, 0.1),
    ("ColdStartTime", "SampleCount"): _share(0.04),
    ("ColdStartTime", ""): _level(680, 0.12),
    ("SuccessfulRequestLatency", ""): _level(6, 0.15),
    ("IteratorAge", ""): _level(900, 0.4),
}


def values(metric: str, dimensions: dict[str, str], stat: str, period: int) -> list[float]:
    """A day of one statistic of a metric, one value a period."""
    dice = random.Random(f"{metric} {sorted(dimensions.items())} {stat}")  # noqa: S311 - no secret, the same each time
    shape = _shape(metric, dimensions, stat)
    return [shape(second, period / 60, dice) for second in range(0, SECONDS_A_DAY, period)]


def _shape(metric: str, dimensions: dict[str, str], stat: str) -> Callable[[float, float, random.Random], float]:
    function = dimensions.get("FunctionName", "").removesuffix("FunctionName")
    if metric == "ImageClassified":
        return _share(_ANIMALS[dimensions["Animal"]])
    if metric == "ImageRejected":
        return _share(_REASONS.get(dimensions["ReasonCode"], 0.001))
    if metric == "Duration":
        normal = _FUNCTION_MILLISECONDS.get(function, 110)
        return _level(normal, 0.12, normal * 1.3 if function == "ImageProcessor" else None)
    if metric == "Errors":
        return _share(0.001, 1.9) if function == "ImageProcessor" else _share(0.0001)
    if metric == "ExecutionsStarted" and dimensions["StateMachineArn"] == "ReviewWorkflowArn":
        return _share(0.06)
    if metric in _CAPACITY:
        return _share(_CAPACITY[metric][dimensions["TableName"].removesuffix("TableName")])
    if metric == "ReconcileGap":
        return lambda second, minutes, dice: 7.0 if INCIDENT[0] + 900 <= second < INCIDENT[1] + 900 else 0.0
    if metric == "ApproximateNumberOfMessagesVisible" and dimensions["QueueName"] == "ImageEventsDeadLetterQueueName":
        return lambda second, minutes, dice: 1.0 if INCIDENT[1] <= second < INCIDENT[1] + 5400 else 0.0
    nothing = _share(0)
    return _SHAPES.get((metric, stat)) or _SHAPES.get((metric, ""), nothing)
