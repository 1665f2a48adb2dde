from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.edits import edit, remove
from syncd.domain.jsontypes import JsonObject
from syncd.domain.receiving import Incoming, moment, order_of, receive
from syncd.domain.records import Change, Subscriber, alias_id, alias_ids, blank, owed_pushes
from syncd.domain.times import DAY, iso

BOTH = (Subscriber("gh"), Subscriber("crm"))


def said(
    data: JsonObject,
    *,
    at: float = 100.0,
    connection: str = "gh",
    operation: Any = "update",
    received: float | None = None,
    partial: bool = False,
) -> Incoming:
    received_at = at + 1 if received is None else received
    return Incoming(
        connection_id=connection,
        external_id=f"{connection}-1",
        operation=operation,
        data=data,
        occurred_at=at,
        order=order_of(at, operation, received_at),
        partial=partial,
    )


def after(entity: JsonObject | None, incoming: Incoming, subscribers: tuple[Subscriber, ...] = BOTH) -> Change:
    before = deepcopy(entity)
    change = receive(
        entity, incoming, tenant_id="t", entity_type="issue", subscribers=subscribers, now=incoming.occurred_at + 5
    )
    assert entity == before, "the stored document is not ours to change"
    return change


def state(*incoming: Incoming) -> JsonObject:
    entity: JsonObject | None = None
    for one in incoming:
        entity = after(entity, one).entity or entity
    assert entity is not None
    return entity


def test_the_first_event_makes_the_entity_and_owes_it_to_every_other_connection() -> None:
    change = after(None, said({"title": "a"}))
    assert change.effect == "created"
    entity = change.entity
    assert entity is not None
    assert (entity["data"], entity["version"], entity["externalIds"]) == ({"title": "a"}, 1, {"gh": "gh-1"})
    assert owed_pushes(entity) == [("crm", 1)]
    assert entity["dirtySince"] == iso(105.0)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
    st.floats(-1e9, 4e9),
    st.sampled_from([BOTH, (Subscriber("gh"), Subscriber("crm", "pull")), ()]),
    st.sampled_from([None, "run:1"]),
    st.booleans(),
)
def test_the_first_word_of_an_object_comes_to_what_merging_it_into_nothing_does(
    data: JsonObject, at: float, subscribers: tuple[Subscriber, ...], page: str | None, timed: bool
) -> None:
    incoming = replace(said(data, at=at), page=page, timed=timed, tag="v1", event_id="e-1")
    change = after(None, incoming, subscribers)
    merged = after(blank("t", "issue", at + 5), incoming, subscribers)
    assert change.entity is not None
    assert change.effect == "created"
    if merged.entity is None or not data:
        return  # nothing in it: no content that a merge could find
    if page is not None:
        assert change.entity["links"]["gh"].pop("page") == [page, "created"]
        merged.entity["links"]["gh"].pop("page")
    assert change.entity == merged.entity


def test_a_connection_that_only_pulls_is_owed_nothing() -> None:
    change = after(None, said({"title": "a"}), (Subscriber("gh"), Subscriber("crm", "pull")))
    assert change.entity is not None
    assert owed_pushes(change.entity) == []
    assert "dirtySince" not in change.entity


def test_the_same_event_again_changes_nothing() -> None:
    entity = state(said({"title": "a"}))
    assert after(entity, said({"title": "a"})) == Change(effect="unchanged", entity=None)


def test_an_older_event_changes_nothing() -> None:
    entity = state(said({"title": "b"}, at=200))
    assert after(entity, said({"title": "a"}, at=100, received=900)) == Change(effect="outdated", entity=None)


def test_an_event_that_says_what_we_hold_owes_nobody_anything() -> None:
    entity = state(said({"title": "a"}))
    change = after(entity, said({"title": "a"}, at=200))
    assert change.effect == "unchanged"
    assert change.entity is not None
    assert change.entity["version"] == 1


def test_a_local_edit_that_is_newer_goes_back_to_the_origin() -> None:
    entity = state(said({"title": "a", "body": "x"}))
    edited = edit(entity, {"title": "b", "body": "x"}, tenant_id="t", entity_type="issue", subscribers=BOTH, now=300.0)
    assert edited.entity is not None
    assert owed_pushes(edited.entity) == [("gh", 2), ("crm", 2)]
    change = after(edited.entity, said({"title": "c", "body": "y"}, at=200))
    assert change.entity is not None
    assert change.entity["data"] == {"title": "b", "body": "y"}
    assert change.conflicts == ("title",)
    assert owed_pushes(change.entity) == [("gh", 3), ("crm", 3)]
    settled = after(change.entity, said({"title": "b", "body": "y"}, at=310))
    assert settled.entity is not None
    assert owed_pushes(settled.entity) == [("crm", 3)], "the origin shows what we hold: its debt is paid"


def test_an_origin_that_lost_what_was_pushed_to_it_is_owed_a_new_version() -> None:
    entity = state(said({"title": "a"}))
    edited = edit(entity, {"title": "b"}, tenant_id="t", entity_type="issue", subscribers=BOTH, now=300.0).entity
    assert edited is not None
    edited["links"]["gh"] |= {"pushed": 2, "base": {"title": "b"}}
    change = after(edited, said({"title": "a"}, at=250))
    assert change.entity is not None
    assert (change.entity["data"], change.effect) == ({"title": "a"}, "updated"), (
        "only the origin changed since the push"
    )
    edited["links"]["gh"]["base"] = {"title": "a"}
    change = after(edited, said({"title": "a"}, at=250))
    assert change.entity is not None
    assert (change.entity["data"], change.entity["version"]) == ({"title": "b"}, 3)
    assert ("gh", 3) in owed_pushes(change.entity)


def test_a_partial_event_that_agrees_leaves_a_debt_as_it_is() -> None:
    entity = state(said({"title": "a", "body": "x"}))
    edited = edit(entity, {"title": "a", "body": "z"}, tenant_id="t", entity_type="issue", subscribers=BOTH, now=300.0)
    assert edited.entity is not None
    change = after(edited.entity, said({"title": "a"}, at=400, partial=True))
    assert change.entity is not None
    assert change.entity["data"] == {"title": "a", "body": "z"}
    assert ("gh", 2) in owed_pushes(change.entity)


def test_a_deletion_leaves_a_tombstone_owed_to_those_who_know_the_entity() -> None:
    entity = state(said({"title": "a"}))
    change = after(entity, said({}, at=200, operation="delete"), (*BOTH, Subscriber("new")))
    assert change.effect == "deleted"
    assert change.entity is not None
    assert change.entity["deleted"] is True
    assert owed_pushes(change.entity) == [("crm", 2)], "a connection that never heard of it is not told"


def test_an_update_that_comes_after_its_deletion_does_not_bring_the_entity_back() -> None:
    entity = state(said({"title": "a"}), said({"title": "a"}, at=200, operation="delete", received=201))
    assert after(entity, said({"title": "b"}, at=200, received=500)).effect == "outdated"
    revived = after(entity, said({"title": "again"}, at=300))
    assert revived.effect == "created"
    assert revived.entity is not None
    assert (revived.entity["deleted"], revived.entity["data"]) == (False, {"title": "again"})


def test_a_deletion_of_what_we_never_saw_keeps_its_older_events_out() -> None:
    change = after(None, said({"title": "a"}, at=200, operation="delete"))
    assert change.effect == "deleted"
    assert change.entity is not None
    assert owed_pushes(change.entity) == []
    assert after(change.entity, said({"title": "a"}, at=100, received=900)).effect == "outdated"


def test_our_own_deletion_is_owed_to_all_who_know_the_entity() -> None:
    entity = state(said({"title": "a"}))
    change = remove(entity, subscribers=BOTH, now=300.0)
    assert change.entity is not None
    assert owed_pushes(change.entity) == [("gh", 2), ("crm", 2)]
    assert remove(change.entity, subscribers=BOTH, now=301.0).entity is None


def test_an_edit_that_changes_nothing_is_none() -> None:
    entity = state(said({"title": "a"}))
    assert edit(entity, {"title": "a"}, tenant_id="t", entity_type="issue", subscribers=BOTH, now=300.0).entity is None


def test_a_provider_whose_clock_is_years_ahead_does_not_freeze_the_entity() -> None:
    assert moment(None, 100.0) == 100.0
    assert moment(90.0, 100.0) == 90.0
    assert moment(1e10, 100.0) == 100.0 + DAY


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([100.0, 200.0, 200.5]),
        st.sampled_from(["create", "update", "delete"]),
        st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 2)),
        st.sampled_from([1000.0, 1001.0, 1002.0]),
    ),
    min_size=1,
    max_size=4,
)


@given(EVENTS)
def test_any_order_and_repetition_of_events_ends_in_one_state(events: list[Any]) -> None:
    incoming = [said(data, at=at, operation=op, received=received) for at, op, data, received in events]
    ends = []
    for order in permutations(incoming):
        entity = state(*order, *order)
        ends.append((entity["deleted"], None if entity["deleted"] else entity["data"], owed_pushes(entity) != []))
    contents = [end[:2] for end in ends]
    assert all(content == contents[0] for content in contents)


@pytest.mark.parametrize(("one", "other"), [(("a", "bc"), ("ab", "c")), (("a", "1"), ("b", "1"))])
def test_aliases_of_different_objects_differ(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert alias_id(*one) != alias_id(*other)


@given(st.lists(st.text("ab:", max_size=4)))
def test_the_aliases_of_a_page_are_those_of_each(external_ids: list[str]) -> None:
    assert alias_ids("gh", external_ids) == [alias_id("gh", one) for one in external_ids]
