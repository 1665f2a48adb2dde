from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.jsonbody import same
from syncd.domain.jsontypes import JsonObject
from syncd.domain.merge import merge

FIELDS = st.dictionaries(
    st.sampled_from("abcd"), st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", [1], {"k": 1}])
)
TIMES = st.sampled_from([1.0, 2.0])


@pytest.mark.parametrize(
    ("base", "stored", "incoming", "result", "changed", "differs"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, True, False),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, False, True),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, False, False),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, True, True),
        ({"a": 1}, {"a": 1}, {}, {}, True, False),
        ({"a": 1}, {}, {"a": 1}, {}, False, True),
        ({"a": 1}, {}, {}, {}, False, False),
        ({}, {}, {"a": None}, {"a": None}, True, False),
        ({"a": 1}, {"a": 1}, {"a": True}, {"a": True}, True, False),
        (None, {}, {"a": 1}, {"a": 1}, True, False),
        (None, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, True, True),
    ],
)
def test_the_side_that_changed_wins_over_the_side_that_did_not(
    base: Any, stored: Any, incoming: Any, result: Any, changed: bool, differs: bool
) -> None:
    merged = merge(base=base, stored=stored, incoming=incoming, stored_at=2.0, incoming_at=1.0)
    assert same(merged.data, result)
    assert (merged.changed, merged.differs) == (changed, differs)
    assert merged.conflicts == ()


@pytest.mark.parametrize(
    ("stored_at", "incoming_at", "result"), [(1.0, 2.0, "theirs"), (2.0, 1.0, "ours"), (1.0, 1.0, "theirs")]
)
def test_where_both_changed_the_later_wins_and_at_one_time_the_greater(
    stored_at: float, incoming_at: float, result: str
) -> None:
    merged = merge(
        base={"a": "was"}, stored={"a": "ours"}, incoming={"a": "theirs"}, stored_at=stored_at, incoming_at=incoming_at
    )
    assert merged.data == {"a": result}
    assert merged.conflicts == ("a",)


def test_a_field_that_a_partial_event_does_not_name_is_left_alone() -> None:
    merged = merge(
        base={"a": 1, "b": 1},
        stored={"a": 1, "b": 2},
        incoming={"a": 3},
        stored_at=1.0,
        incoming_at=2.0,
        partial=True,
    )
    assert merged.data == {"a": 3, "b": 2}
    assert not merged.differs


@given(base=FIELDS, stored=FIELDS, incoming=FIELDS, stored_at=TIMES, incoming_at=TIMES, partial=st.booleans())
def test_merging_the_same_thing_again_changes_nothing(
    base: JsonObject, stored: JsonObject, incoming: JsonObject, stored_at: float, incoming_at: float, partial: bool
) -> None:
    once = merge(
        base=base, stored=stored, incoming=incoming, stored_at=stored_at, incoming_at=incoming_at, partial=partial
    )
    agreed = {**base, **incoming} if partial else incoming
    again = merge(
        base=agreed,
        stored=once.data,
        incoming=incoming,
        stored_at=max(stored_at, incoming_at),
        incoming_at=incoming_at,
        partial=partial,
    )
    assert same(again.data, once.data)
    assert not again.changed
    assert again.conflicts == ()


@given(base=FIELDS, ours=FIELDS, theirs=FIELDS, at=TIMES, other=TIMES)
def test_both_sides_come_to_the_same_content_whoever_merges(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, at: float, other: float
) -> None:
    here = merge(base=base, stored=ours, incoming=theirs, stored_at=at, incoming_at=other)
    there = merge(base=base, stored=theirs, incoming=ours, stored_at=other, incoming_at=at)
    assert same(here.data, there.data)
    assert here.changed == there.differs


@given(base=FIELDS, stored=FIELDS, incoming=FIELDS, stored_at=TIMES, incoming_at=TIMES)
def test_no_value_is_made_up_and_no_change_of_one_side_alone_is_lost(
    base: JsonObject, stored: JsonObject, incoming: JsonObject, stored_at: float, incoming_at: float
) -> None:
    merged = merge(base=base, stored=stored, incoming=incoming, stored_at=stored_at, incoming_at=incoming_at)
    absent = object()

    def like(left: Any, right: Any) -> bool:
        return left is right if absent in (left, right) else same(left, right)

    for name in {*base, *stored, *incoming}:
        was, ours, theirs = (side.get(name, absent) for side in (base, stored, incoming))
        winner = merged.data.get(name, absent)
        if like(ours, was):
            assert like(winner, theirs)
        elif like(theirs, was):
            assert like(winner, ours)
        else:
            assert like(winner, ours) or like(winner, theirs)
    assert merged.changed == (not same(merged.data, stored))
    assert merged.differs == (not same(merged.data, incoming))
