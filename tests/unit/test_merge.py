from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.domain.errors import Invalid
from syncd.domain.jsonbody import same
from syncd.domain.jsontypes import JsonObject
from syncd.domain.merge import ABSENT, Resolution, Rule, Rules, merge


def like(left: Any, right: Any) -> bool:
    return left is right if ABSENT in (left, right) else same(left, right)


@pytest.mark.parametrize(
    ("base", "stored", "incoming", "result", "changed", "owed"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, True, ""),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, False, "a"),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, False, ""),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, True, "a"),
        ({"a": 1}, {"a": 1}, {}, {}, True, ""),
        ({"a": 1}, {}, {"a": 1}, {}, False, "a"),
        ({"a": 1}, {}, {}, {}, False, ""),
        ({}, {}, {"a": None}, {"a": None}, True, ""),
        ({"a": 1}, {"a": 1}, {"a": True}, {"a": True}, True, ""),
        ({"a": {"k": [1]}}, {"a": {"k": [1]}}, {"a": {"k": [True]}}, {"a": {"k": [True]}}, True, ""),
        ({"a": 1}, {"a": 1}, {"a": 1.0}, {"a": 1}, False, ""),
        (None, {}, {"a": 1}, {"a": 1}, True, ""),
        (None, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, True, "a"),
    ],
)
@pytest.mark.parametrize("rule", Rule)
def test_the_side_that_changed_wins_over_the_side_that_did_not_whatever_the_rule(
    rule: Rule, base: Any, stored: Any, incoming: Any, result: Any, changed: bool, owed: str
) -> None:
    merged = merge(base=base, stored=stored, incoming=incoming, stored_at=2.0, incoming_at=1.0, rules=Rules(rule))
    assert same(merged.data, result)
    assert (merged.changed, merged.owed) == (changed, frozenset(owed))
    assert merged.resolutions == ()


@pytest.mark.parametrize(
    ("rule", "stored_at", "incoming_at", "result", "taken", "owed"),
    [
        (Rule.LAST_WRITE_WINS, 1.0, 2.0, "theirs", "theirs", False),
        (Rule.LAST_WRITE_WINS, 2.0, 1.0, "ours", "ours", True),
        (Rule.LAST_WRITE_WINS, 1.0, 1.0, "theirs", "theirs", False),
        (Rule.SOURCE_WINS, 2.0, 1.0, "theirs", "theirs", False),
        (Rule.LOCAL_WINS, 1.0, 2.0, "ours", "ours", True),
        (Rule.MERGE_FIELDS, 1.0, 2.0, "theirs", "theirs", False),
        (Rule.MERGE_FIELDS, 2.0, 1.0, "ours", "ours", True),
        (Rule.MANUAL, 1.0, 2.0, "ours", "open", False),
    ],
)
def test_where_both_changed_the_rule_decides_and_says_what_it_did(
    rule: Rule, stored_at: float, incoming_at: float, result: str, taken: Any, owed: bool
) -> None:
    merged = merge(
        base={"a": "was"},
        stored={"a": "ours"},
        incoming={"a": "theirs"},
        stored_at=stored_at,
        incoming_at=incoming_at,
        rules=Rules(Rule.MANUAL, {"a": rule}),
    )
    assert merged.data == {"a": result}
    assert merged.owed == (frozenset("a") if owed else frozenset())
    assert merged.resolutions == (
        Resolution(field="a", rule=rule, taken=taken, base="was", ours="ours", theirs="theirs", result=result),
    )


@pytest.mark.parametrize(
    ("base", "earlier", "later", "result"),
    [
        ({"k": 1, "l": 1}, {"k": 2, "l": 1}, {"k": 1, "l": 2}, {"k": 2, "l": 2}),
        ({"k": 1}, {"k": 2}, {"k": 3}, {"k": 3}),
        ({"k": 1, "l": 1}, {"k": 2}, {"k": 3, "l": 1}, {"k": 3}),
        ({"k": {"m": [1]}}, {"k": {"m": [1, 2]}}, {"k": {"m": [], "n": 1}}, {"k": {"m": [2], "n": 1}}),
        (ABSENT, {"k": 1}, {"l": 1}, {"k": 1, "l": 1}),
        (None, [1, 2], [3, 1], [3, 1, 2]),
        (["a", "b", "c"], ["a", "b", "c", "d"], ["c", "a"], ["c", "a", "d"]),
        (["a"], ["b"], ["c"], ["c", "b"]),
        ([1, {"k": 1}], [{"k": 1}], [1, {"k": 1}, True], [{"k": 1}, True]),
        ([{"k": 1}], [{"k": 2}], [{"k": 3}], [{"k": 3}, {"k": 2}]),
        (["a"], ["a", "b", "b"], ["a", "c"], ["a", "c", "b"]),
        ([], [1], [1.0, 2], [1.0, 2]),
        ("x", ["y"], "z", "z"),
        ({"k": 1}, {"k": 2}, ABSENT, ABSENT),
    ],
)
@pytest.mark.parametrize("stored_is_later", [False, True])
def test_objects_merge_by_key_and_lists_as_sets_in_the_order_of_the_later(
    base: Any, earlier: Any, later: Any, result: Any, stored_is_later: bool
) -> None:
    def field(value: Any) -> JsonObject:
        return {} if value is ABSENT else {"a": value}

    stored, incoming = (later, earlier) if stored_is_later else (earlier, later)
    merged = merge(
        base=field(base),
        stored=field(stored),
        incoming=field(incoming),
        stored_at=2.0 if stored_is_later else 1.0,
        incoming_at=1.0 if stored_is_later else 2.0,
        rules=Rules(Rule.MERGE_FIELDS),
    )
    assert same(merged.data, field(result))
    assert merged.owed == (frozenset() if like(result, incoming) else {"a"})
    [resolution] = merged.resolutions
    assert resolution.taken == ("ours" if like(result, stored) else "theirs" if like(result, incoming) else "merged")


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
    assert not merged.owed


def test_a_field_that_waits_for_a_person_stays_and_is_reported_again_only_when_the_other_side_changes_it_again() -> (
    None
):
    held: dict[str, Any] = {"stored_at": 1.0, "incoming_at": 2.0, "held": {"a"}}
    unmoved = merge(base={"a": 2, "b": 1}, stored={"a": 1, "b": 1}, incoming={"a": 2, "b": 5}, **held)
    assert unmoved.data == {"a": 1, "b": 5}
    assert (unmoved.owed, unmoved.resolutions) == (frozenset(), ())
    moved = merge(base={"a": 2}, stored={"a": 1}, incoming={"a": 3}, **held)
    assert (moved.data, moved.changed, moved.owed) == ({"a": 1}, False, frozenset())
    assert moved.resolutions == (
        Resolution(field="a", rule=Rule.MANUAL, taken="open", base=2, ours=1, theirs=3, result=1),
    )
    removed = merge(base={"a": 2}, stored={"a": 1}, incoming={}, **held)
    assert [one.theirs for one in removed.resolutions] == [ABSENT]
    agreed = merge(base={"a": 2}, stored={"a": 1}, incoming={"a": 1}, **held)
    assert agreed.resolutions == ()


def test_absence_is_a_key_left_out_of_the_json_form_and_null_is_a_value() -> None:
    resolution = Resolution(
        field="a", rule=Rule.LOCAL_WINS, taken="ours", base=ABSENT, ours=None, theirs=1, result=None
    )
    assert resolution.as_json() == {
        "field": "a",
        "rule": "local_wins",
        "taken": "ours",
        "ours": None,
        "theirs": 1,
        "result": None,
    }
    assert "result" not in replace(resolution, result=ABSENT).as_json()


@pytest.mark.parametrize(
    ("given_rules", "expected"),
    [
        ({}, Rules()),
        ({"conflict": "manual"}, Rules(Rule.MANUAL)),
        ({"conflict": {"default": "local_wins"}}, Rules(Rule.LOCAL_WINS)),
        ({"conflict": {"fields": {"a": "manual"}}}, Rules(fields={"a": Rule.MANUAL})),
    ],
)
def test_rules_are_read_from_a_connection(given_rules: JsonObject, expected: Rules) -> None:
    assert Rules.of_connection(given_rules) == expected


@pytest.mark.parametrize(
    ("conflict", "path"),
    [
        ("newest", "conflict"),
        (None, "conflict"),
        (["manual"], "conflict"),
        ({"default": "x"}, "conflict.default"),
        ({"default": ["manual"]}, "conflict.default"),
        ({"fields": ["a"]}, "conflict.fields"),
        ({"fields": {"a": "x"}}, "conflict.fields.a"),
        ({"feilds": {}}, "conflict.feilds"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_its_path(conflict: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Rules.of_connection({"conflict": conflict})
    assert list(refused.value.errors) == [path]
