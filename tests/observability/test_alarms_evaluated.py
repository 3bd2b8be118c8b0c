"""Every alarm against data that must fire it and data that must not, by the evaluator of CloudWatch's rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.observability.cases import (
    ALSO_QUIET,
    CASES,
    FIRES_IN_A_LONG_BURST,
    LONG_BURST,
    ONE_BAD,
    SAME_METRIC,
    Data,
    kind_of,
)
from tests.observability.evaluator import Metrics, composite_state, expression_of, metrics_of, rule_members, state
from tests.support.stacks import observability

STACK = observability()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
OBJECTIVES = [name for name in COMPOSITES if name.endswith("Objective")]

# The only one to which silence is bad news.
FIRES_ON_SILENCE = {"ReconcilerSilentAlarm"}
# Its metric comes once a day: until the next one the last answer holds.
KEEPS_ITS_STATE = {"PrecisionFallenAlarm"}
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


@pytest.mark.parametrize("alarm", [alarm for alarm in ALARMS if kind_of(alarm) in LONG_BURST])
def test_images_that_wait_for_their_turn_fire_nothing_but_the_alarm_on_money(alarm: str) -> None:
    fires = kind_of(alarm) in FIRES_IN_A_LONG_BURST
    assert state(ALARMS[alarm], put(alarm, LONG_BURST[kind_of(alarm)])) == ("ALARM" if fires else "OK")


@pytest.mark.parametrize("alarm", ALARMS)
def test_is_not_told_of_other_resources(alarm: str) -> None:
    if kind_of(alarm) in FIRES_ON_SILENCE or not all(metric["Dimensions"] for metric in metrics_of(ALARMS[alarm])):
        pytest.skip("watches the account, or fires on silence")
    assert state(ALARMS[alarm], put(alarm, CASES[kind_of(alarm)].fires, elsewhere=True), "OK") == "OK"


@pytest.mark.parametrize("alarm", ALARMS)
def test_silence_is_no_alarm_but_of_the_reconciler(alarm: str) -> None:
    assert state(ALARMS[alarm], Metrics(), "OK") == ("ALARM" if kind_of(alarm) in FIRES_ON_SILENCE else "OK")


@pytest.mark.parametrize("alarm", ALARMS)
def test_ends_when_the_data_is_good_again(alarm: str) -> None:
    """Bad data before the evaluated periods is over; of what comes once a day, with the next good answer."""
    if kind_of(alarm) in FIRES_ON_SILENCE:
        pytest.skip("fires on silence")
    periods = int(ALARMS[alarm]["EvaluationPeriods"])
    old: Data = {name: [*[[]] * periods, *data] for name, data in CASES[kind_of(alarm)].fires.items()}
    over = "ALARM" if kind_of(alarm) in KEEPS_ITS_STATE else "OK"
    assert state(ALARMS[alarm], put(alarm, old), "ALARM") == over
    assert state(ALARMS[alarm], put(alarm, CASES[kind_of(alarm)].quiet), "ALARM") == "OK"


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


# --- Composite alarms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_follows_its_members(name: str) -> None:
    """Every clause of the rule fires it on its own, no part of a pair does, and it ends with its cause."""
    rule = COMPOSITES[name]["AlarmRule"]
    members = rule_members(rule)
    assert set(members) <= {alarm["AlarmName"] for alarm in ALARMS.values()}

    def with_alarms(*names: str) -> str:
        return composite_state(rule, {member: "ALARM" if member in names else "OK" for member in members})

    assert with_alarms() == "OK"
    for clause in map(rule_members, rule.split(" OR ")):
        assert with_alarms(*clause) == "ALARM", clause
        for part in clause if len(clause) > 1 else []:
            assert with_alarms(part) == "OK", f"{part} alone"


@pytest.mark.parametrize(("name", "pairs"), [("PageAPerson", ["Fast"]), *[(o, ["Fast", "Slow"]) for o in OBJECTIVES]])
def test_a_window_speaks_only_together_with_the_other_of_its_pair(name: str, pairs: list[str]) -> None:
    windows = {alarm["AlarmName"]: logical.split(".")[0] for logical, alarm in ALARMS.items() if "Burn." in logical}
    found = []
    for clause in COMPOSITES[name]["AlarmRule"].split(" OR "):
        used = [windows[member] for member in rule_members(clause) if member in windows]
        found += [used] if used else []
    expected = [[f"{pair}LongBurn", f"{pair}ShortBurn"] for pair in pairs]
    assert [used for used in found if used not in expected] == []
    assert [pair for pair in expected if pair not in found] == []


def test_a_page_is_about_lost_images_users_who_see_errors_or_money() -> None:
    """What can wait until morning pages nobody."""
    single = [
        members[0]
        for clause in COMPOSITES["PageAPerson"]["AlarmRule"].split(" OR ")
        if len(members := rule_members(clause)) == 1
    ]
    names = {name.removeprefix(f"{STACK.values['ApplicationName']}-") for name in single}
    assert names == {"reconcile-gap", "image-events-dead-letters", "failed-share", "sudden-cost"}


# --- A release that shifts --------------------------------------------------------------------------------------------


def minute_of_ringing(alarm: str, events: dict[str, Callable[[int], list[float]]]) -> int | None:
    """The minute of ten in which an alarm rings first; `events` gives the values of each metric in a minute (1-10)."""
    by_id = {metric.get("Id", ""): metric for metric in metrics_of(ALARMS[alarm])}
    for now in range(1, 11):
        metrics = Metrics()
        for name, values in events.items():
            for minute in range(1, now + 1):
                metrics.put(by_id[name], (now - minute) * 60 + 30, values(minute))
        if state(ALARMS[alarm], metrics) == "ALARM":
            return now
    return None


def share(images: int, every: int) -> Callable[[int], list[float]]:
    """One event in so many of a tenth of the images of a minute, spread evenly."""
    return lambda minute: [1.0] * (minute * images // (10 * every) - (minute - 1) * images // (10 * every))


@pytest.mark.parametrize(("images", "every", "rings"), [(60, 3, 2), (20, 3, 5), (2, 3, None), (2, 1, None), (10, 1, 3)])
def test_failing_images_of_a_tenth_ring_within_the_ten_minutes_of_a_shift(
    images: int, every: int, rings: int | None
) -> None:
    """With the minutes that a metric takes to arrive; docs/observability.md has the odds when images come at random."""
    assert minute_of_ringing("ExecutionsFailedAlarm", {"": share(images, every)}) == rings


def test_where_few_images_come_their_share_rings_before_their_number() -> None:
    """Four a minute, of which all that the release gets fail: two in five minutes."""

    def failed(minute: int) -> list[float]:
        return [1.0] if minute in (2, 4, 7, 9) else []

    def finished(minute: int) -> list[float]:
        return [0.0012] * (4 - len(failed(minute)))

    assert minute_of_ringing("FailedShareAlarm", {"finished": finished, "failed": failed}) == 5
    assert minute_of_ringing("ExecutionsFailedAlarm", {"": failed}) is None


def test_a_slow_release_rings_when_a_tenth_of_the_images_is_slow() -> None:
    assert minute_of_ringing("ProcessingSlowAlarm", {"": lambda _: [3_000.0] * 54 + [12_000.0] * 6}) == 2


def test_an_api_release_that_answers_5xx_to_all_of_its_tenth_rings() -> None:
    busy = {"": lambda _: [1.0] * 30 + [0.0] * 270}
    assert minute_of_ringing("ApiErrorsAlarm", busy) == 1
    few = {"errors": lambda _: [1.0, *[0.0] * 9], "requests": lambda _: [1.0] * 10}
    assert minute_of_ringing("ApiErrorsAlarm", {"": few["errors"]}) is None
    assert minute_of_ringing("FastShortBurn.AvailabilityAlarm", few) == 3


def test_what_sends_a_release_back_are_metric_alarms_by_name() -> None:
    """A composite alarm's name, or one that no alarm has, would count as OK; CodeDeploy takes ten for a group."""
    outputs = {name: STACK.resolve(output["Value"]) for name, output in STACK.template["Outputs"].items()}
    named = {alarm["AlarmName"]: name for name, alarm in ALARMS.items()}
    release = {name: named[value] for name, value in outputs.items() if name.endswith("AlarmName")}
    assert {name: alarm.rpartition(".")[2] for name, alarm in release.items()} == {
        name: name.removesuffix("Name") for name in release
    }
    assert 0 < len(release) <= 10
