from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.dotted import ABSENT, Path, getter, nested, path_of, shown, without
from syncd.domain.jsontypes import JsonObject

NAMES = st.sampled_from(["a", "b", "c", "0", "é"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
OBJECTS = st.dictionaries(
    NAMES,
    st.recursive(st.integers() | st.none(), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8),
)


@pytest.mark.parametrize(
    ("given_path", "value", "found"),
    [
        ("a", {"a": 1}, 1),
        ("a", {"a": None}, None),
        ("a", {}, ABSENT),
        ("a.b", {"a": {"b": [1]}}, [1]),
        ("a.b", {"a": [1]}, ABSENT),
        ("a.b", {"a": "b"}, ABSENT),
        ("a.1.b", {"a": [0, {"b": 2}]}, 2),
        ("a.2", {"a": [0]}, ABSENT),
        ("a.-1", {"a": [0]}, ABSENT),
        ("a.0", {"a": {"0": "name"}}, "name"),
        (["a.b", "c"], {"a.b": {"c": 3}}, 3),
        ("0", [5], 5),
        ("a", "text", ABSENT),
        ("a", None, ABSENT),
    ],
)
def test_a_path_leads_through_objects_and_positions_of_lists(given_path: Any, value: Any, found: Any) -> None:
    assert getter(path_of(given_path))(value) == found


@pytest.mark.parametrize(
    "given_path", ["", ".", "a.", ".a", "a..b", [], [""], ["a", 1], 5, None, {}, "." * 40, "a." * 16 + "a"]
)
def test_what_is_no_path_is_refused(given_path: Any) -> None:
    with pytest.raises(ValueError, match="must be a dotted path"):
        path_of(given_path)


def test_a_path_can_be_shown() -> None:
    assert (shown(("a", "b")), shown(())) == ("a.b", "the body")


@given(path=PATHS, value=st.integers())
def test_what_is_put_at_a_path_is_read_there(path: Path, value: int) -> None:
    assert getter(path)(nested({path: value})) == value


@given(item=OBJECTS, path=PATHS)
def test_what_is_taken_out_is_gone_everything_else_stays_and_the_original_is_untouched(
    item: JsonObject, path: Path
) -> None:
    before = copy.deepcopy(item)
    rest = without(item, path)
    assert item == before
    assert getter(path)(rest) is ABSENT
    if getter(path)(item) is not ABSENT:
        inner = rest if len(path) == 1 else getter(path[:-1])(rest)
        inner[path[-1]] = getter(path)(item)
    assert rest == before


def test_of_two_places_where_one_leads_through_the_other_the_later_wins() -> None:
    assert nested({("a",): 1, ("a", "b"): 2}) == {"a": {"b": 2}}
    assert nested({("a", "b"): 2, ("a",): 1, ("c", "d"): 3, ("c", "e"): 4}) == {"a": 1, "c": {"d": 3, "e": 4}}
