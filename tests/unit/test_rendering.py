"""How pages show times, spans and counts."""

from __future__ import annotations

import pytest

from syncd.http.rendering import _count, _span, _when


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.25, "250 ms"),
        (1.84, "1.8 s"),
        (42.4, "42 s"),
        (95, "1 min 35 s"),
        (3600, "1 h 0 min"),
        (86_400, "24 h 0 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_a_span_is_shown_with_two_units_at_most(seconds: float | None, text: str) -> None:
    assert _span(seconds) == text


@pytest.mark.parametrize(
    ("stored", "text"),
    [(None, "–"), ("", "–"), ("2023-11-14T22:13:20.500Z", "14 Nov 22:13:20"), ("someday", "someday")],
)
def test_a_time_is_shown_in_utc_and_what_is_none_as_it_came(stored: str | None, text: str) -> None:
    assert _when(stored) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (1_234_567, "1\N{NO-BREAK SPACE}234\N{NO-BREAK SPACE}567")]
)
def test_a_count_has_its_thousands_apart(value: float | None, text: str) -> None:
    assert _count(value) == text
