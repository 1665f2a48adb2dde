"""What holds of every merge, whatever the two sides and their rules."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.jsonbody import same
from syncd.domain.jsontypes import JsonObject
from syncd.domain.merge import ABSENT, Merged, Rule, Rules, merge

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
