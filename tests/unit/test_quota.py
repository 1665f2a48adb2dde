from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.adaptive import Adaptive, adapted, factor_after
from syncd.domain.quota import (
    LONGEST_WAIT,
    SHORTEST_WAIT,
    bounded_wait,
    http_date,
    is_spent,
    reset_after,
    retry_after,
    used_share,
)

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
NAMES = st.sampled_from(
    [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "retry-after",
        "date",
        "sforce-limit-info",
        "x-shopify-shop-api-call-limit",
        "x-hubspot-ratelimit-max",
        "x-hubspot-ratelimit-remaining",
    ]
)


@pytest.mark.parametrize(
    ("headers", "used"),
    [
        ({}, None),
        ({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4000"}, 0.2),
        ({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0"}, 1.0),
        ({"x-ratelimit-limit": "5000"}, None),
        ({"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-limit": "many", "x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "120"}, 0.0),
        ({"x-rate-limit-limit": "10", "x-rate-limit-remaining": "5"}, 0.5),
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "25"}, 0.75),
        ({"ratelimit": "limit=100, remaining=10, reset=7"}, 0.9),
        ({"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'}, 0.5),
        ({"x-hubspot-ratelimit-max": "110", "x-hubspot-ratelimit-remaining": "55"}, 0.5),
        ({"sforce-limit-info": "api-usage=4500/5000"}, 0.9),
        ({"sforce-limit-info": "per-app-api-usage=1/250(appName=x); api-usage=10/100"}, 0.1),
        ({"sforce-limit-info": "api-usage=1/0"}, None),
        ({"x-shopify-shop-api-call-limit": "32/40"}, 0.8),
    ],
)
def test_how_much_is_used_is_read_from_each_providers_headers(headers: dict[str, str], used: float | None) -> None:
    assert used_share(headers) == (None if used is None else pytest.approx(used))


@pytest.mark.parametrize(
    ("headers", "spent"),
    [
        ({}, False),
        ({"x-ratelimit-remaining": "0"}, True),
        ({"x-ratelimit-remaining": "1"}, False),
        ({"x-ratelimit-remaining": "none"}, False),
        ({"ratelimit": '"default";r=0;t=30'}, True),
        ({"ratelimit": "limit=100, remaining=0, reset=7"}, True),
    ],
)
def test_a_spent_quota_is_one_with_nothing_left(headers: dict[str, str], spent: bool) -> None:
    assert is_spent(headers) is spent


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:12:20 GMT"}, -60.0),
        # the provider's clock is an hour ahead: only the distance counts
        ({"retry-after": "Tue, 14 Nov 2023 23:14:20 GMT", "date": "Tue, 14 Nov 2023 23:13:20 GMT"}, 60.0),
        ({"retry-after": "Tue, 99 Nov 2023 22:14:20 GMT"}, None),
    ],
)
def test_retry_after_is_a_number_or_a_date_by_the_providers_clock(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers, NOW) == wait


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"x-ratelimit-reset": "1700000090"}, 90.0),
        ({"x-ratelimit-reset": "1700000090000"}, 90.0),
        ({"x-ratelimit-reset": "90"}, 90.0),
        ({"x-ratelimit-reset": "2023-11-14T22:14:50Z"}, 90.0),
        ({"x-ratelimit-reset": "1700000090", "date": "Tue, 14 Nov 2023 22:14:20 GMT"}, 30.0),
        ({"x-ratelimit-reset": "1699999990"}, -10.0),
        ({"ratelimit-reset": "7"}, 7.0),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit": "limit=100, remaining=0, reset=7"}, 7.0),
        ({"x-ratelimit-reset": "later"}, None),
    ],
)
def test_a_reset_is_a_distance_or_a_moment_in_any_of_its_forms(headers: dict[str, str], wait: float | None) -> None:
    assert reset_after(headers, NOW) == wait


@given(st.dictionaries(NAMES, st.text(max_size=40) | st.from_regex(r"[0-9a-z=;, /.:TZ-]{0,40}", fullmatch=True)))
def test_no_header_makes_the_reading_fail(headers: dict[str, str]) -> None:
    used = used_share(headers)
    assert used is None or used >= 0
    is_spent(headers)
    http_date(headers.get("date"))
    for wait in (retry_after(headers, NOW), reset_after(headers, NOW)):
        assert wait is None or SHORTEST_WAIT <= bounded_wait(wait) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("used", "from_one", "from_half"),
    [
        (0.0, 1.0, 1.0),
        (0.29, 1.0, 1.0),
        (0.3, 1.0, 0.5),
        (0.5, 1.0, 0.5),
        (0.7, 1.0, 0.5),
        (0.71, 0.75, 0.75),
        (0.9, 0.75, 0.75),
        (0.91, 0.5, 0.5),
        (2.0, 0.5, 0.5),
    ],
)
def test_the_pace_goes_down_and_up_with_what_is_used(used: float, from_one: float, from_half: float) -> None:
    assert (factor_after(1.0, used), factor_after(0.5, used)) == (from_one, from_half)


@given(st.lists(st.floats(0, 3)))
def test_the_factor_is_never_other_than_three_values_and_ends_at_one_when_little_is_used(seen: list[float]) -> None:
    adaptive = Adaptive()
    for used in seen:
        before = adaptive.factor("t", "i")
        changed = adaptive.saw("t", "i", used)
        assert adaptive.factor("t", "i") in (0.5, 0.75, 1.0)
        assert changed is (adaptive.factor("t", "i") != before)
    adaptive.saw("t", "i", 0.1)
    assert adaptive.factor("t", "i") == 1.0
    assert adaptive.factor("another", "i") == 1.0


@given(st.integers(1, 10**7), st.sampled_from([0.5, 0.75, 1.0]))
def test_an_adapted_limit_lets_at_least_one_pass(limit: int, factor: float) -> None:
    assert 1 <= adapted(limit, factor) <= limit
