"""Schedules against tables from the calendar, and against a brute-force scan that shares no code with them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.domain.errors import Invalid
from syncd.domain.schedules import fires_between, jitter, last_between, parse_schedule
from syncd.domain.times import parse

ZONES = ("UTC", "Europe/Luxembourg", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca")
LOW = (0, 0, 0, 1, 1, 0)
HIGH = (59, 59, 23, 31, 12, 6)


def at(text: str) -> float:
    return parse(text)


def utc(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@pytest.mark.parametrize(
    ("text", "zone", "after", "fires"),
    [
        ("every 30s", "UTC", "2026-01-01T00:00:00", ["2026-01-01T00:00:30", "2026-01-01T00:01:00"]),
        ("every 5m", "UTC", "2026-01-01T00:03:00", ["2026-01-01T00:05:00", "2026-01-01T00:10:00"]),
        ("EVERY 1h", "UTC", "2026-01-01T00:59:59", ["2026-01-01T01:00:00"]),
        ("0 0 3 * * *", "UTC", "2026-01-01T03:00:00", ["2026-01-02T03:00:00", "2026-01-03T03:00:00"]),
        ("0 3 * * *", "UTC", "2026-01-01T02:59:59", ["2026-01-01T03:00:00"]),
        ("0 0 */6 * * *", "UTC", "2026-01-01T00:00:00", ["2026-01-01T06:00:00", "2026-01-01T12:00:00"]),
        ("15/20 * * * *", "UTC", "2026-01-01T00:00:00", ["2026-01-01T00:15:00", "2026-01-01T00:35:00"]),
        # 4 January 2026 is a Sunday
        ("0 0 * * 0", "UTC", "2026-01-01T00:00:00", ["2026-01-04T00:00:00", "2026-01-11T00:00:00"]),
        ("0 0 * * 7", "UTC", "2026-01-01T00:00:00", ["2026-01-04T00:00:00"]),
        ("0 0 * * sun", "UTC", "2026-01-01T00:00:00", ["2026-01-04T00:00:00"]),
        ("0 0 * * 1-5", "UTC", "2026-01-02T00:00:00", ["2026-01-05T00:00:00", "2026-01-06T00:00:00"]),
        ("0 0 * * Fri-Mon", "UTC", "2026-01-05T00:00:00", ["2026-01-09T00:00:00", "2026-01-10T00:00:00"]),
        ("0 0 * * 5-1", "UTC", "2026-01-05T00:00:00", ["2026-01-09T00:00:00", "2026-01-10T00:00:00"]),
        (
            "0 0 * * 6-7",
            "UTC",
            "2026-01-01T00:00:00",
            ["2026-01-03T00:00:00", "2026-01-04T00:00:00", "2026-01-10T00:00:00"],
        ),
        (
            "0 0 * * 7-1",
            "UTC",
            "2026-01-01T00:00:00",
            ["2026-01-04T00:00:00", "2026-01-05T00:00:00", "2026-01-11T00:00:00"],
        ),
        ("0 0 1 nov-feb *", "UTC", "2026-02-02T00:00:00", ["2026-11-01T00:00:00", "2026-12-01T00:00:00"]),
        ("0 22-2/2 * * *", "UTC", "2026-01-01T02:00:00", ["2026-01-01T22:00:00", "2026-01-02T00:00:00"]),
        # day of month and weekday must both match
        ("0 0 13 * fri", "UTC", "2026-01-01T00:00:00", ["2026-02-13T00:00:00", "2026-03-13T00:00:00"]),
        # leap days; 2100 has none
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00:00", ["2104-02-29T00:00:00"]),
        ("0 0 29 2 mon", "UTC", "2080-03-01T00:00:00", ["2112-02-29T00:00:00"]),
        ("0 0 31 * *", "UTC", "2026-01-31T00:00:00", ["2026-03-31T00:00:00", "2026-05-31T00:00:00"]),
        # the skipped hour: 29 March 2026, 02:00 becomes 03:00 (01:00 UTC)
        ("30 2 * * *", "Europe/Luxembourg", "2026-03-28T12:00:00", ["2026-03-29T01:30:00", "2026-03-30T00:30:00"]),
        ("30 2,3 * * *", "Europe/Luxembourg", "2026-03-29T00:00:00", ["2026-03-29T01:30:00", "2026-03-30T00:30:00"]),
        # the repeated hour: 25 October 2026, 03:00 becomes 02:00 (01:00 UTC)
        ("30 2 * * *", "Europe/Luxembourg", "2026-10-24T12:00:00", ["2026-10-25T00:30:00", "2026-10-26T01:30:00"]),
        ("30 * * * *", "Europe/Luxembourg", "2026-10-25T00:00:00", ["2026-10-25T00:30:00", "2026-10-25T01:30:00"]),
        # a whole day that Samoa skipped
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00", ["2011-12-30T22:00:00", "2012-12-29T22:00:00"]),
    ],
)
def test_a_schedule_fires_when_the_calendar_says(text: str, zone: str, after: str, fires: list[str]) -> None:
    schedule = parse_schedule(text, zone)
    assert [utc(t) for t in fires_between(schedule, at(after), at("2200-01-01"), len(fires))] == fires


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("61 * * * *", ["minute", "'61'", "0-59"]),
        ("* * * * * 8", ["weekday", "0-7", "sun-sat"]),
        ("* * * foo *", ["month", "'foo'", "1-12", "jan-dec"]),
        ("* * 0 * *", ["day of month", "1-31"]),
        ("* 24 * * *", ["hour", "0-23"]),
        ("60 * * * * *", ["second", "0-59"]),
        ("*/0 * * * *", ["minute", "step", "1 to 60"]),
        ("*/99 * * * *", ["minute", "step"]),
        ("1-2-3 * * * *", ["minute", "allowed forms"]),
        ("*-5 * * * *", ["minute", "allowed forms"]),
        (", * * * *", ["minute"]),
        ("-1 * * * *", ["minute"]),
        ("0 0 ٣ * *", ["day of month", "not a number"]),
        ("0 0 30 2 *", ["no such date", "30"]),
        ("0 0 31 4,6,9,nov *", ["no such date", "31"]),
        ("* * * *", ["4 fields", "every"]),
        ("* * * * * * *", ["7 fields"]),
        ("", ["0 fields"]),
        ("every 0s", ["at least 1"]),
        ("every 5 minutes", ["every <n>m"]),
        ("every", ["every <n>s"]),
        ("every -1s", ["every <n>s"]),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_field_and_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        parse_schedule(text)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.errors


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="timezone"):
        parse_schedule("every 1m", zone)


@given(st.text(max_size=30) | st.lists(st.text("0123456789*,-/afnorsu", max_size=6), max_size=7).map(" ".join))
def test_any_text_is_read_or_refused_and_never_breaks(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except Invalid:
        return
    assert schedule.next_after(at("2026-01-01")) is not None


def test_nothing_fires_beyond_the_calendar() -> None:
    schedule = parse_schedule("0 0 1 1 *")
    assert schedule.next_after(at("9999-12-30")) is None
    assert parse_schedule("0 0 29 2 *", "Europe/Luxembourg").next_after(at("9996-03-01")) is None
    assert parse_schedule("0 0 1 1 *").next_after(-70_000_000_000.0) is not None


def field(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    every = st.just(frozenset(range(low, high + 1)))
    return every | st.frozensets(st.integers(low, high), min_size=1, max_size=4)


def rendered(values: frozenset[int], low: int, high: int) -> str:
    return "*" if len(values) == high - low + 1 else ",".join(map(str, sorted(values)))


sets = st.tuples(*(field(low, high) for low, high in zip(LOW[1:], HIGH[1:], strict=True)))
# Two days around each change of 2026 in the zones above, a leap day, and the turn of a year.
starts = st.sampled_from(
    [
        "2026-03-28",
        "2026-10-24",
        "2026-03-07",
        "2026-10-31",
        "2026-04-04",
        "2026-10-03",
        "2026-02-14",
        "2024-02-28",
        "2026-12-31",
    ]
).flatmap(lambda day: st.integers(0, 86400).map(lambda second: at(day) + second))


def scan(fields: tuple[frozenset[int], ...], zone: ZoneInfo, after: float, until: float) -> list[float]:
    """Every local minute that matches, turned into instants by the standard library."""
    minutes, hours, days, months, weekdays = fields
    moment = datetime.fromtimestamp(after, UTC).replace(tzinfo=None, second=0, microsecond=0) - timedelta(days=2)
    end = datetime.fromtimestamp(until, UTC).replace(tzinfo=None) + timedelta(days=2)
    found: set[float] = set()
    while moment <= end:
        if (
            moment.minute in minutes
            and moment.hour in hours
            and moment.day in days
            and moment.month in months
            and (moment.weekday() + 1) % 7 in weekdays
        ):
            first, second = (moment.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
            found.add(first)
            if second > first and len(hours) == 24:
                found.add(second)
        moment += timedelta(minutes=1)
    return sorted(t for t in found if after < t <= until)


@settings(max_examples=60, deadline=None)
@given(sets, st.sampled_from(ZONES), starts)
def test_fires_equal_a_brute_force_scan_of_every_minute(
    fields: tuple[frozenset[int], ...], zone: str, after: float
) -> None:
    text = " ".join(rendered(v, low, high) for v, low, high in zip(fields, LOW[1:], HIGH[1:], strict=True))
    _, _, days, months, _ = fields
    if not any(day <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1] for day in days for month in months):
        with pytest.raises(Invalid, match="no such date"):
            parse_schedule(text, zone)
        return
    schedule = parse_schedule(text, zone)
    until = after + 2 * 86400
    expected = scan(fields, ZoneInfo(zone), after, until)
    assert fires_between(schedule, after, until, 10_000) == expected
    assert last_between(schedule, after, until) == (expected[-1] if expected else None)


@settings(max_examples=60, deadline=None)
@given(field(0, 59), field(0, 59), field(0, 23), starts)
def test_seconds_equal_a_brute_force_scan_of_every_second(
    seconds: frozenset[int], minutes: frozenset[int], hours: frozenset[int], after: float
) -> None:
    text = f"{rendered(seconds, 0, 59)} {rendered(minutes, 0, 59)} {rendered(hours, 0, 23)} * * *"
    expected = [
        float(t)
        for t in range(int(after) + 1, int(after) + 7201)
        if t % 60 in seconds and t // 60 % 60 in minutes and t // 3600 % 24 in hours
    ]
    assert fires_between(parse_schedule(text), after, after + 7200, 10_000) == expected


@given(st.integers(1, 10_000), st.floats(0, 4e9))
def test_an_interval_is_counted_from_the_epoch_whenever_one_asks(seconds: int, t: float) -> None:
    found = parse_schedule(f"every {seconds}s").next_after(t)
    assert found is not None
    assert found % seconds == 0
    assert found - seconds <= t < found


@given(sets, st.sampled_from(ZONES), starts)
@settings(max_examples=60, deadline=None)
def test_instants_rise_strictly(fields: tuple[frozenset[int], ...], zone: str, after: float) -> None:
    minutes, hours, *_ = fields
    schedule = parse_schedule(f"{rendered(minutes, 0, 59)} {rendered(hours, 0, 23)} * * *", zone)
    fires = fires_between(schedule, after, after + 86400 * 2, 500)
    assert all(a < b for a, b in itertools.pairwise(fires))


@given(st.text(max_size=10), st.floats(0, 4e9), st.just(0.0) | st.floats(0.001, 1e5))
def test_jitter_is_stable_and_inside_its_span(job: str, tick: float, span: float) -> None:
    drawn = jitter(job, tick, span)
    assert drawn == jitter(job, tick, span)
    assert 0 <= drawn < span or (span == 0 and drawn == 0)


def test_jitter_spreads_jobs_over_the_span() -> None:
    drawn = [jitter(f"job-{n}", 1_700_000_000.0, 100.0) for n in range(200)]
    assert min(drawn) < 10
    assert max(drawn) > 90
