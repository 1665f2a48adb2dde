"""What a connection shows of our own writes, before their answers are known."""

from __future__ import annotations

import pytest

from syncd.domain.edits import edit, remove
from syncd.domain.fields import ALL_FIELDS
from syncd.domain.jsontypes import JsonObject
from syncd.domain.pushing import begin, sending, settled
from syncd.domain.receiving import Incoming, agreed, order_of, receive
from syncd.domain.records import Change, Subscriber

SUBSCRIBERS = [Subscriber("crm", "both")]


def shown(data: JsonObject, at: float) -> Incoming:
    return Incoming(
        connection_id="crm",
        external_id="7",
        operation="update",
        data=data,
        occurred_at=at,
        order=order_of(at, "update", at),
    )


def seen(entity: JsonObject | None, data: JsonObject, at: float) -> Change:
    return receive(entity, shown(data, at), tenant_id="t", entity_type="contact", subscribers=SUBSCRIBERS, now=at)


def changed(entity: JsonObject, data: JsonObject, at: float) -> JsonObject:
    found = edit(entity, data, tenant_id="t", entity_type="contact", subscribers=SUBSCRIBERS, now=at).entity
    assert found is not None
    return found


@pytest.fixture
def unanswered() -> JsonObject:
    """Known from the connection as {a: 1, b: 1}, changed to {a: 2}, and sent; nobody knows what became of it."""
    entity = seen(None, {"a": 1, "b": 1}, 1000.0).entity
    assert entity is not None
    entity = changed(entity, {"a": 2}, 1001.0)
    wanted = sending(entity, "crm", ALL_FIELDS)
    assert wanted is not None
    assert wanted.changes == {"a": 2, "b": None}
    return begin(entity, "t:contact.1", "crm", wanted, "replica/one", 1002.0)


def test_what_came_through_and_only_that_counts_as_agreed_on(unanswered: JsonObject) -> None:
    link = unanswered["links"]["crm"]
    assert agreed(link, {"a": 1, "b": 1}) == {"a": 1, "b": 1}, "it never came through"
    assert agreed(link, {"a": 2}) == {"a": 2}
    assert agreed(link, {"a": 2, "b": 9}) == {"a": 2, "b": 1}, "somebody changed b since"


def test_a_later_edit_of_ours_stands_over_the_echo_of_an_earlier_one_whatever_the_clocks_say(
    unanswered: JsonObject,
) -> None:
    later = changed(unanswered, {"a": 3}, 1003.0)
    change = seen(later, {"a": 2}, 2000.0)
    assert change.entity is not None
    assert change.entity["data"] == {"a": 3}
    assert change.resolutions == ()
    link = change.entity["links"]["crm"]
    assert link["want"] > link["pushed"], "and is still owed"


def test_any_of_several_writes_without_an_answer_is_our_own(unanswered: JsonObject) -> None:
    later = changed(unanswered, {"a": 3}, 1003.0)
    wanted = sending(later, "crm", ALL_FIELDS)
    assert wanted is not None
    later = changed(begin(later, "t:contact.1", "crm", wanted, "replica/two", 1100.0), {"a": 4}, 1101.0)
    for value in (1, 2, 3):
        change = seen(later, {"a": value} if value > 1 else {"a": 1, "b": 1}, 2000.0)
        assert change.entity is not None
        assert (change.entity["data"], change.resolutions) == ({"a": 4}, ())


def test_the_echo_of_our_own_write_does_not_bring_back_what_we_deleted_since(unanswered: JsonObject) -> None:
    gone = remove(unanswered, subscribers=SUBSCRIBERS, now=1003.0).entity
    assert gone is not None
    assert seen(gone, {"a": 2}, 2000.0).entity is None
    revived = seen(gone, {"a": 2, "b": 9}, 2000.0).entity
    assert revived is not None
    assert not revived["deleted"], "what somebody else changed is worth more than the deletion"


def test_an_answer_ends_it(unanswered: JsonObject) -> None:
    assert "sent" not in settled(unanswered, "crm", 2, 1003.0)["links"]["crm"]
