from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.settings.values import duration, listed, size, switch


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5s", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        (5, 5),
        (0.5, 0.5),
        ("2 ", 2),
    ],
)
def test_a_duration_is_seconds_or_text_with_units(text: object, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "ten", "10 minutes", "-1", -1, "1m x", "m", True, None, float("inf"), float("nan"), [1]]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        duration(text)


@given(st.integers(0, 10**6), st.sampled_from(["s", "m", "h", "d"]))
def test_a_duration_in_a_unit_is_its_number_times_the_unit(number: int, unit: str) -> None:
    assert duration(f"{number}{unit}") == number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


@pytest.mark.parametrize(
    ("text", "count"), [("65536", 65536), ("64KiB", 65536), ("1MiB", 2**20), ("10MB", 10**7), ("1.5 KiB", 1536), (7, 7)]
)
def test_a_size_is_bytes_or_text_with_units(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["64K", "-1", -1, "1.3B", "many", True, 1.5, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        size(text)


def test_a_switch_reads_the_usual_words_and_nothing_else() -> None:
    assert [switch(word) for word in ("TRUE", "1", "on", "yes", True)] == [True] * 5
    assert [switch(word) for word in ("false", "0", "Off", "no", False)] == [False] * 5
    with pytest.raises(ValueError):
        switch("maybe")


def test_a_list_is_read_from_commas_and_from_json() -> None:
    assert listed("a, b,,c ") == ["a", "b", "c"]
    assert listed('["a,b"]') == ["a,b"]
    with pytest.raises(ValueError, match="JSON"):
        listed("[oops")
