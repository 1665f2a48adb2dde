from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import Invalid
from syncd.domain.jsonbody import same
from syncd.domain.jsontypes import JsonObject
from syncd.domain.merge import ABSENT, Merged, Resolution, Rule, Rules, merge

SCALARS = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([1.0, "x"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("kl"), inner),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from("abcd"), VALUES)
TIMES = st.sampled_from([1.0, 2.0])
RULES = st.builds(
    Rules,
    st.sampled_from(Rule),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(Rule), max_size=2),
)
#: Rules under which both sides, each merging the other's content, decide alike.
SYMMETRIC = st.sampled_from([Rule.LAST_WRITE_WINS, Rule.MERGE_FIELDS])


def like(left: Any, right: Any) -> bool:
    return left is right if ABSENT in (left, right) else same(left, right)


def told(incoming: JsonObject, merged: Merged) -> JsonObject:
    """The other side after a push of what it is owed."""
    after = {**incoming}
    for name in merged.owed:
        after.pop(name, None)
        if name in merged.data:
            after[name] = merged.data[name]
    return after


def open_fields(merged: Merged) -> set[str]:
    return {one.field for one in merged.resolutions if one.taken == "open"}


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


@given(
    base=FIELDS,
    stored=FIELDS,
    incoming=FIELDS,
    stored_at=TIMES,
    incoming_at=TIMES,
    partial=st.booleans(),
    rules=RULES,
    held=st.sets(st.sampled_from("abcd"), max_size=1),
)
def test_merging_the_same_thing_again_changes_nothing(
    base: JsonObject,
    stored: JsonObject,
    incoming: JsonObject,
    stored_at: float,
    incoming_at: float,
    partial: bool,
    rules: Rules,
    held: set[str],
) -> None:
    before = copy.deepcopy((base, stored, incoming))
    once = merge(
        base=base,
        stored=stored,
        incoming=incoming,
        stored_at=stored_at,
        incoming_at=incoming_at,
        partial=partial,
        rules=rules,
        held=held,
    )
    assert same(list(before), [base, stored, incoming])
    again = merge(
        base={**base, **incoming} if partial else incoming,
        stored=once.data,
        incoming=incoming,
        stored_at=max(stored_at, incoming_at),
        incoming_at=incoming_at,
        partial=partial,
        rules=rules,
        held=held | open_fields(once),
    )
    assert same(again.data, once.data)
    assert not again.changed
    assert again.owed == once.owed
    assert again.resolutions == ()


@given(base=FIELDS, ours=FIELDS, theirs=FIELDS, at=TIMES, other=TIMES, rule=SYMMETRIC)
def test_both_sides_come_to_the_same_content_whoever_merges(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, at: float, other: float, rule: Rule
) -> None:
    here = merge(base=base, stored=ours, incoming=theirs, stored_at=at, incoming_at=other, rules=Rules(rule))
    there = merge(base=base, stored=theirs, incoming=ours, stored_at=other, incoming_at=at, rules=Rules(rule))
    assert same(here.data, there.data)
    assert here.changed == bool(there.owed)


@given(base=FIELDS, ours=FIELDS, theirs=FIELDS, at=TIMES, other=TIMES)
def test_the_source_wins_here_is_the_local_side_wins_there(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, at: float, other: float
) -> None:
    here = merge(
        base=base, stored=ours, incoming=theirs, stored_at=at, incoming_at=other, rules=Rules(Rule.SOURCE_WINS)
    )
    there = merge(
        base=base, stored=theirs, incoming=ours, stored_at=other, incoming_at=at, rules=Rules(Rule.LOCAL_WINS)
    )
    assert same(here.data, there.data)


@given(
    base=FIELDS, stored=FIELDS, incoming=FIELDS, stored_at=TIMES, incoming_at=TIMES, partial=st.booleans(), rules=RULES
)
def test_no_change_of_one_side_alone_is_lost_and_every_other_is_reported(
    base: JsonObject,
    stored: JsonObject,
    incoming: JsonObject,
    stored_at: float,
    incoming_at: float,
    partial: bool,
    rules: Rules,
) -> None:
    merged = merge(
        base=base,
        stored=stored,
        incoming=incoming,
        stored_at=stored_at,
        incoming_at=incoming_at,
        partial=partial,
        rules=rules,
    )
    reported = {one.field: one for one in merged.resolutions}
    assert len(reported) == len(merged.resolutions)
    assert merged.data.keys() <= {*base, *stored, *incoming}
    for name in {*base, *stored, *incoming}:
        was, ours, theirs = (side.get(name, ABSENT) for side in (base, stored, incoming))
        winner = merged.data.get(name, ABSENT)
        if partial and name not in incoming:
            assert like(winner, ours)
            assert name not in merged.owed
            assert name not in reported
            continue
        conflict = not (like(ours, theirs) or like(ours, was) or like(theirs, was))
        assert (name in reported) == conflict
        if like(ours, was):
            assert like(winner, theirs)
        elif like(theirs, was):
            assert like(winner, ours)
        elif conflict:
            assert like(winner, reported[name].result)
            assert reported[name].rule is rules.of(name)
            if rules.of(name) is not Rule.MERGE_FIELDS:
                assert like(winner, ours) or like(winner, theirs)
        waiting = name in reported and reported[name].taken == "open"
        assert (name in merged.owed) == (not waiting and not like(winner, theirs))
    assert merged.changed == (not same(merged.data, stored))


@given(
    base=FIELDS,
    edits=st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), VALUES | st.just(ABSENT)), max_size=8),
    merges=st.lists(st.booleans(), max_size=8),
    rules=RULES,
)
def test_two_sides_that_edit_in_turns_end_alike_in_all_but_what_waits_for_a_person(
    base: JsonObject, edits: list[tuple[bool, str, Any]], merges: list[bool], rules: Rules
) -> None:
    here, there, agreed = dict(base), dict(base), dict(base)
    here_at = there_at = now = 1.0
    held: set[str] = set()

    def meet() -> None:
        nonlocal here, there, agreed, here_at
        merged = merge(
            base=agreed,
            stored=here,
            incoming=there,
            stored_at=here_at,
            incoming_at=there_at,
            rules=rules,
            held=held,
        )
        held.update(open_fields(merged))
        here_at = max(here_at, there_at) if merged.changed else here_at
        here, there = dict(merged.data), told(there, merged)
        agreed = dict(there)

    for ours, name, value in edits:
        now += 1
        side = here if ours else there
        side.pop(name, None)
        if value is not ABSENT:
            side[name] = value
        here_at, there_at = (now, there_at) if ours else (here_at, now)
        if merges and merges.pop():
            meet()
    meet()
    for name in {*here, *there} - held:
        assert like(here.get(name, ABSENT), there.get(name, ABSENT))


@given(base=FIELDS, ours=FIELDS, theirs=FIELDS, at=TIMES, other=TIMES)
def test_members_that_one_side_added_to_a_list_stay_and_those_that_one_side_removed_go(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, at: float, other: float
) -> None:
    merged = merge(
        base=base, stored=ours, incoming=theirs, stored_at=at, incoming_at=other, rules=Rules(Rule.MERGE_FIELDS)
    )

    def holds(members: Any, one: Any) -> bool:
        return any(same(one, other) for other in members)

    for resolution in merged.resolutions:
        if not (isinstance(resolution.ours, list) and isinstance(resolution.theirs, list)):
            continue
        was = resolution.base if isinstance(resolution.base, list) else []
        for one in [*was, *resolution.ours, *resolution.theirs]:
            mine, others, before = (holds(side, one) for side in (resolution.ours, resolution.theirs, was))
            assert holds(resolution.result, one) == (mine and others if before else mine or others)
