"""Every alarm against data that must fire it and data that must not, by our own evaluator of CloudWatch's rules.

test_alarms_on_the_engine.py repeats it where the embedded AWS can evaluate an alarm: it cannot for MATH_ALARMS.
"""

from __future__ import annotations

import pytest

from tests.observability.cases import ALSO_QUIET, CASES, ONE_BAD, SAME_METRIC, Data, kind_of
from tests.observability.evaluator import Metrics, expression_of, metrics_of, state
from tests.observability.stack import observability

ALARMS = observability().of_type("AWS::CloudWatch::Alarm")

# Those in metric math, by kind: the embedded AWS stores them at best, and never evaluates them.
MATH_ALARMS = {
    "ApiClientErrorsAlarm",
    "AvailabilityAlarm",
    "FailedShareAlarm",
    "LatencyAlarm",
    "OnTimeAlarm",
    "OpenExecutionsAlarm",
    "ReconcilerSilentAlarm",
    "RuleFailuresAlarm",
    "TableErrorsAlarm",
    "TableThrottlesAlarm",
    "UnattendedAlarm",
}
# The only one to which silence is bad news.
FIRES_ON_SILENCE = {"ReconcilerSilentAlarm"}
FILLED = [name for name, alarm in ALARMS.items() if "FILL(" in (expression_of(alarm) or "")]


def put(alarm: str, data: Data, *, elsewhere: bool = False, late: int = 0) -> Metrics:
    """A case's data under the metrics that the alarm names; elsewhere: under those of another resource.

    late: nothing has come yet of the last so many seconds.
    """
    metrics = Metrics()
    by_id = {metric.get("Id", ""): metric for metric in metrics_of(ALARMS[alarm])}
    for name, periods in data.items():
        metric = by_id[name]
        if elsewhere:
            metric = metric | {"Dimensions": [{**d, "Value": f"another-{d['Value']}"} for d in metric["Dimensions"]]}
        for index, values in enumerate(periods):
            metrics.put(metric, index * int(metric["Period"]) + late, values)
    return metrics


def test_every_alarm_has_data_that_fires_it_and_no_data_is_left_over() -> None:
    assert {kind_of(alarm) for alarm in ALARMS} == set(CASES)
    assert set(ALSO_QUIET) <= set(CASES)


def test_alarms_in_metric_math_are_those_that_the_engine_cannot_evaluate() -> None:
    assert {kind_of(name) for name, alarm in ALARMS.items() if expression_of(alarm)} == MATH_ALARMS


@pytest.mark.parametrize("alarm", ALARMS)
def test_fires(alarm: str) -> None:
    assert state(ALARMS[alarm], put(alarm, CASES[kind_of(alarm)].fires)) == "ALARM"


@pytest.mark.parametrize("late", [60, 120])
@pytest.mark.parametrize("alarm", FILLED)
def test_fires_although_the_newest_data_is_not_there_yet(alarm: str, late: int) -> None:
    """FILL takes the place of what comes late; without it CloudWatch looks further back."""
    assert state(ALARMS[alarm], put(alarm, CASES[kind_of(alarm)].fires, late=late)) == "ALARM"


def test_no_filled_minute_decides_alone() -> None:
    minutes = [ALARMS[name] for name in FILLED if {int(m["Period"]) for m in metrics_of(ALARMS[name])} == {60}]
    assert minutes
    for alarm in minutes:
        assert alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]) < alarm["EvaluationPeriods"]


@pytest.mark.parametrize("alarm", ALARMS)
def test_stays_quiet(alarm: str) -> None:
    for data in [CASES[kind_of(alarm)].quiet, *ALSO_QUIET.get(kind_of(alarm), [])]:
        assert state(ALARMS[alarm], put(alarm, data)) == "OK", data


@pytest.mark.parametrize("alarm", ALARMS)
def test_is_not_told_of_other_resources(alarm: str) -> None:
    if kind_of(alarm) in FIRES_ON_SILENCE or not all(metric["Dimensions"] for metric in metrics_of(ALARMS[alarm])):
        pytest.skip("watches the account, or fires on silence")
    assert state(ALARMS[alarm], put(alarm, CASES[kind_of(alarm)].fires, elsewhere=True)) == "OK"


@pytest.mark.parametrize("alarm", ALARMS)
def test_silence_is_no_alarm_but_of_the_reconciler(alarm: str) -> None:
    assert state(ALARMS[alarm], Metrics()) == ("ALARM" if kind_of(alarm) in FIRES_ON_SILENCE else "OK")


@pytest.mark.parametrize("alarm", ALARMS)
def test_ends_when_the_data_is_good_again(alarm: str) -> None:
    """Bad data before the evaluated periods is over."""
    if kind_of(alarm) in FIRES_ON_SILENCE:
        pytest.skip("fires on silence")
    periods = int(ALARMS[alarm]["EvaluationPeriods"])
    old: Data = {name: [*[[]] * periods, *data] for name, data in CASES[kind_of(alarm)].fires.items()}
    assert state(ALARMS[alarm], put(alarm, old)) == "OK"


def test_two_statistics_of_one_metric_read_the_same_data() -> None:
    for alarm, properties in ALARMS.items():
        metrics = {
            m.get("Id", ""): (m["Namespace"], m["MetricName"], str(m["Dimensions"])) for m in metrics_of(properties)
        }
        for name, same in SAME_METRIC.get(kind_of(alarm), {}).items():
            assert metrics[name] == metrics[same]
            assert not any(values for values in CASES[kind_of(alarm)].fires.get(name, []))


@pytest.mark.parametrize("alarm", [alarm for alarm in ALARMS if kind_of(alarm) in ONE_BAD])
def test_one_bad_event_burns_no_budget_too_fast(alarm: str) -> None:
    for count in (1, 2, 20, 50, 69, 166, 1_000):
        assert state(ALARMS[alarm], put(alarm, ONE_BAD[kind_of(alarm)](count))) == "OK", count


@pytest.mark.parametrize("window", ["FastLongBurn", "FastShortBurn", "SlowLongBurn", "SlowShortBurn"])
def test_slow_windows_fire_at_a_lower_burn_than_fast_ones(window: str) -> None:
    """Eight times the sustainable rate: not enough for the fast pair, which pages at once, and enough for the slow."""
    alarm = f"{window}.AvailabilityAlarm"
    data: Data = {"errors": [[1] * 8 + [0] * 992], "requests": [[1] * 1_000]}
    assert state(ALARMS[alarm], put(alarm, data)) == ("OK" if window.startswith("Fast") else "ALARM")
