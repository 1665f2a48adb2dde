from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.timestamps import SinceFormat, read_time, written

AT = 1_700_000_000.0  # 2023-11-14T22:13:20Z
MIDNIGHT = 1_699_920_000.0
MOMENTS = st.datetimes(
    min_value=datetime(1971, 1, 2),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(2250, 1, 1),  # noqa: DTZ001 (as above)
    timezones=st.just(UTC),
)  # around an epoch of 0 a number does not say its unit
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20z",
        "2023-11-14t22:13:20Z",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.000000000Z",
        "2023-11-14T22:13:20,000Z",
        "2023-11-14T23:13:20+01:00",
        "2023-11-14T23:13:20+0100",
        "2023-11-14T23:13:20+01",
        "2023-11-14 23:13:20 +0100",
        "2023-11-14 22:13:20 UTC",
        "2023-11-14 22:13:20 +0000 UTC",
        "2023-11-14 22:13:20 GMT",
        "20231114T221320Z",
        "20231114221320",
        "2023-W46-2T22:13:20Z",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Tue, 14 Nov 2023 22:13:20 +0000",
        "14 Nov 2023 23:13:20 +0100",
        "Tue, 14 Nov 2023 22:13:20 -0000",
        "1700000000",
        "1700000000.0",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
        "/Date(1700000000000)/",
        "/Date(1700000000000+0100)/",
        " 2023-11-14T22:13:20Z ",
        1_700_000_000,
        1_700_000_000.0,
        1_700_000_000_000,
        1_700_000_000_000_000,
        1_700_000_000_000_000_000,
    ],
)
def test_one_moment_is_read_from_every_way_of_writing_it(text: Any) -> None:
    assert read_time(text) == AT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2023-11-14", MIDNIGHT),
        ("20231114", MIDNIGHT),
        ("2023-11-14T22:13:20.123456Z", AT + 0.123456),
        (1_700_000_000_123, AT + 0.123),
        ("1700000000123", AT + 0.123),
        (0, 0.0),
        (-1.5, -1.5),
        ("1969-12-31T23:59:59Z", -1.0),
        ("2023-11-14T22:12:60Z", AT - 20),
        ("0001-01-01T00:00:00Z", -62_135_596_800.0),
        ("9999-12-31T23:59:59Z", 253_402_300_799.0),
    ],
)
def test_fractions_dates_and_the_ends_of_time(value: Any, seconds: float) -> None:
    assert read_time(value) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, [], {}, {"$date": 1}, "", " ", "now", "yesterday", "null", "11/12/2023", "14.11.2023", "2023",
        "2023-13-01", "2023-02-30", "2023-11-14T25:00:00Z", "2023-11-14T22:13:20+99:00", "0000-00-00 00:00:00", "12:30",
        "1712011200000000000000000", "-", "+", "1e9", "0x1f", "١٧٠٠٠٠٠٠٠٠", "1712345", math.nan, math.inf, -math.inf, 1e30,
        10**30, -(10**30), "Date(1)", "/Date(x)/", "2023-11-14T22:13:20Z" * 10, "\x00", "x" * 10_000,
        "0001-01-01T00:00:00+14:00", "Tue, 99 Nov 2023 22:13:20 GMT",
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_a_short_reason(value: Any) -> None:
    with pytest.raises(ValueError, match="no time") as refused:
        read_time(value)
    assert len(str(refused.value)) < 130


@given(moment=MOMENTS, zone=ZONES, separator=st.sampled_from("T "))
def test_iso_is_read_back_from_every_zone(moment: datetime, zone: timezone, separator: str) -> None:
    assert read_time(moment.astimezone(zone).isoformat(separator)) == pytest.approx(moment.timestamp(), abs=1e-6)


@given(moment=MOMENTS, zone=ZONES)
def test_mail_dates_are_read_back_to_the_second(moment: datetime, zone: timezone) -> None:
    assert read_time(format_datetime(moment.astimezone(zone))) == moment.replace(microsecond=0).timestamp()


@given(moment=MOMENTS, unit=st.sampled_from([1, 10**3, 10**6, 10**9]), as_text=st.booleans())
def test_epochs_are_told_apart_by_their_size(moment: datetime, unit: int, as_text: bool) -> None:
    # From the time on at which a unit cannot be taken for the next smaller one.
    seconds = max(int(moment.timestamp()), 100_000_001)
    value = seconds * unit
    assert read_time(str(value) if as_text else value) == pytest.approx(seconds, rel=1e-12)


@given(value=st.text(max_size=70) | st.floats() | st.integers() | st.text(alphabet="0123456789-+:TZ ./", max_size=40))
def test_anything_is_a_time_or_a_value_error(value: Any) -> None:
    try:
        seconds = read_time(value)
    except ValueError:
        return
    assert -62_135_596_800 <= seconds < 253_402_300_800


@pytest.mark.parametrize(
    ("style", "text"), [("iso", "2023-11-14T22:13:20Z"), ("epoch", "1700000000"), ("epoch_ms", "1700000000000")]
)
def test_what_is_asked_for_is_rounded_down_to_the_second(style: SinceFormat, text: str) -> None:
    assert written(AT, style) == written(AT + 0.999, style) == text
