"""Differences as people are shown them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.diffs import SHOWN, brief, diff
from syncd.domain.jsonbody import canonical, same

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
CONTENTS = st.dictionaries(st.sampled_from("abcd"), VALUES)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [{"field": "a", "before": 1, "after": True}]),
        (
            {"b": 1, "a": None},
            {"c": 2},
            [{"field": "a", "before": None}, {"field": "b", "before": 1}, {"field": "c", "after": 2}],
        ),
    ],
    ids=["nothing", "the same", "true is not 1", "gone and come"],
)
def test_each_field_that_differs_is_named_with_both_its_sides(before: Any, after: Any, changes: Any) -> None:
    assert diff(before, after) == changes


@given(CONTENTS, CONTENTS)
def test_the_differences_lead_from_one_side_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    made = dict(before)
    for one in diff(before, after):
        made.pop(one["field"], None)
        if "after" in one:
            made[one["field"]] = one["after"]
    assert same(made, after)


def test_a_long_value_is_shown_by_its_beginning() -> None:
    shown = brief({"text": "x" * 10 * SHOWN})
    assert isinstance(shown, str)
    assert shown.startswith('{"text":"xxx')
    assert shown.endswith(f"... ({len(canonical({'text': 'x' * 10 * SHOWN}))} characters)")
    assert brief("x" * (SHOWN - 2)) == "x" * (SHOWN - 2)
