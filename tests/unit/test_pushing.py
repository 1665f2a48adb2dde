from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.fields import ALL_FIELDS, Fields
from syncd.domain.pushing import (
    FIRST_CHECK,
    LAST_CHECK,
    LEASE,
    begin,
    create_key,
    dropped,
    due_debts,
    given_back,
    held,
    is_mine,
    lease_for,
    lease_until,
    released,
    reminded,
    sending,
    settled,
    told,
)
from syncd.domain.records import owes
from syncd.domain.times import iso, parse

NOW = 1_700_000_000.0
JsonObject = dict[str, Any]


def entity(data: JsonObject | None = None, *, version: int = 1, deleted: bool = False, **link: Any) -> JsonObject:
    """Owed to the connection `crm`, which knows it as 7 where the link has a base."""
    return {
        "data": {"name": "Ana"} if data is None else data,
        "version": version,
        "deleted": deleted,
        "dirtySince": iso(NOW),
        "externalIds": {"crm": "7"} if "base" in link else {},
        "links": {"crm": {"want": version, "pushed": 0, **link}},
    }


@pytest.mark.parametrize(
    ("data", "base", "changes"),
    [
        pytest.param({"name": "B"}, {"name": "A"}, {"name": "B"}, id="changed"),
        pytest.param({"name": "A"}, {"name": "A"}, None, id="nothing to tell"),
        pytest.param({"name": "A", "x": 1}, {"name": "A"}, {"x": 1}, id="new"),
        pytest.param({"name": "A"}, {"name": "A", "x": 1}, {"x": None}, id="emptied"),
        pytest.param({"name": "A"}, {"name": "A", "x": None}, None, id="what is shown empty is as good as not there"),
        pytest.param({"name": "A", "x": None}, {"name": "A"}, None, id="and so is what we hold empty"),
        pytest.param({"name": "A", "url": "/2"}, {"name": "A", "url": "/1"}, None, id="the system's own to say"),
    ],
)
def test_an_update_says_what_differs(data: JsonObject, base: JsonObject, changes: JsonObject | None) -> None:
    found = sending(entity(data, base=base), "crm", Fields(read_only=frozenset({"url"})))
    assert (None if found is None else (found.operation, found.changes)) == (
        None if changes is None else ("update", changes)
    )


def test_a_field_that_waits_for_a_person_stays_what_the_connection_said() -> None:
    found = sending(
        entity({"name": "Ours", "mail": "new"}, base={"name": "Theirs", "mail": "old"}, open={"name": "conflict"}),
        "crm",
        ALL_FIELDS,
    )
    assert found is not None
    assert (found.changes, found.whole) == ({"mail": "new"}, {"mail": "new", "name": "Theirs"})


@pytest.mark.parametrize(
    ("link", "operation"),
    [
        pytest.param({"base": {"name": "A"}}, "delete", id="it is there"),
        pytest.param({}, None, id="it never was"),
        pytest.param({"create": {"key": "k", "tried": False, "sent": {}}}, None, id="its create was refused"),
        pytest.param({"create": {"key": "k", "tried": True, "sent": {"name": "A"}}}, "create", id="it may be there"),
    ],
)
def test_what_is_deleted_here_is_deleted_there_where_it_is_or_may_be(link: JsonObject, operation: str | None) -> None:
    found = sending(entity(version=5, deleted=True, **link), "crm", ALL_FIELDS)
    assert (None if found is None else found.operation) == operation
    if operation == "create":
        assert found is not None
        assert (found.version, found.whole) == (4, {"name": "A"}), "its deletion is owed after it"


def test_every_attempt_of_one_create_has_one_key_and_the_next_object_another() -> None:
    first = create_key("e", "crm")
    assert create_key("e", "crm", 0) == first
    assert len({first, create_key("e", "crm", 1), create_key("e", "mail"), create_key("f", "crm")}) == 4


def test_a_lease_outlives_two_calls() -> None:
    assert lease_for(30.0) == LEASE > 60
    taken = leased(entity())
    assert lease_until(taken, "crm") == NOW + LEASE
    assert lease_until(entity(), "crm") is None
    assert is_mine(taken, "crm", 1)
    assert not is_mine(taken, "crm", 2)


def leased(before: JsonObject, now: float = NOW) -> JsonObject:
    wanted = sending(before, "crm", ALL_FIELDS)
    assert wanted is not None
    return begin(before, "e", "crm", wanted, "replica/boot", now)


def test_what_a_create_without_an_answer_said_is_kept_over_later_attempts_and_edits() -> None:
    first = leased(entity({"name": "First"}))
    lost = given_back(first, "crm", now=NOW + 1, due=NOW + 2, hop=1, tried=True, error="timeout")
    again = leased({**lost, "data": {"name": "Second"}, "version": 2}, NOW + 5)
    create = again["links"]["crm"]["create"]
    assert (create["sent"], create["since"], create["at"]) == ({"name": "First"}, iso(NOW), iso(NOW + 5))
    assert create["key"] == first["links"]["crm"]["create"]["key"]
    refused = given_back(first, "crm", now=NOW + 1, due=NOW + 2, hop=1, tried=False, error=None)
    fresh = leased({**refused, "data": {"name": "Second"}}, NOW + 5)
    assert fresh["links"]["crm"]["create"]["sent"] == {"name": "Second"}


def test_a_create_that_was_made_is_the_base_as_its_first_attempt_said_it() -> None:
    lost = given_back(leased(entity({"name": "First"})), "crm", now=NOW, due=NOW, hop=1, tried=True, error=None)
    edited = {**lost, "data": {"name": "Second"}, "version": 2}
    wanted = sending(edited, "crm", ALL_FIELDS)
    assert wanted is not None
    ended = told(leased(edited), "crm", wanted, "7")
    assert ended["links"]["crm"]["base"] == {"name": "First"}
    assert ended["externalIds"] == {"crm": "7"}
    done = settled(ended, "crm", wanted.version, NOW)
    assert not owes(done["links"]["crm"])
    assert done["links"]["crm"].keys().isdisjoint({"push", "create", "checkAt", "held"})
    assert "dirtySince" not in done


def test_an_update_that_was_made_is_the_base_without_what_it_emptied() -> None:
    before = entity({"name": "B"}, base={"name": "A", "x": 1, "url": "/7"})
    wanted = sending(before, "crm", Fields(read_only=frozenset({"url"})))
    assert wanted is not None
    assert told(before, "crm", wanted, "7")["links"]["crm"]["base"] == {"name": "B", "url": "/7"}


def test_after_a_deletion_there_is_no_base() -> None:
    before = entity(deleted=True, base={"name": "A"})
    wanted = sending(before, "crm", ALL_FIELDS)
    assert wanted is not None
    after = told(before, "crm", wanted, None)
    assert "base" not in after["links"]["crm"]
    assert sending(after, "crm", ALL_FIELDS) is None


def test_what_was_changed_during_the_call_is_still_owed() -> None:
    changed = leased(entity(version=1))
    changed = {**changed, "version": 2, "links": {"crm": {**changed["links"]["crm"], "want": 2}}}
    after = settled(changed, "crm", 1, NOW)
    assert owes(after["links"]["crm"])
    assert "dirtySince" in after


def test_what_is_held_is_touched_by_nobody_until_a_person_says_so() -> None:
    waiting = held(
        leased(entity()), "crm", bin_name="outcome_unknown", reason="why" * 500, hop=4, tried=True, now=NOW, message="m"
    )
    link = waiting["links"]["crm"]
    assert owes(link)
    assert "push" not in link
    assert len(link["held"]["reason"]) == 500
    assert due_debts(waiting, NOW + 10 * LAST_CHECK) == []
    assert released(waiting, "crm", NOW - 1) is None, "held since: another matter"
    going = released(waiting, "crm", NOW)
    assert going is not None
    assert going["links"]["crm"]["create"]["again"]
    assert due_debts(going, NOW) == [("crm", 1, 5)], "told by maintenance, should the replayed message be lost"
    assert released(going, "crm", NOW + 1) is None
    assert "again" not in leased(going)["links"]["crm"]["create"], "said once"


def test_a_debt_that_is_forgiven_stays_known_by_its_create() -> None:
    waiting = held(
        leased(entity()), "crm", bin_name="outcome_unknown", reason="", hop=0, tried=True, now=NOW, message="m"
    )
    link = dropped(waiting, "crm")["links"]["crm"]
    assert not owes(link)
    assert "held" not in link
    assert link["create"]["tried"]


def test_a_debt_is_told_again_after_two_minutes_and_then_ever_later() -> None:
    owing = entity()
    assert due_debts(owing, NOW + FIRST_CHECK - 1) == []
    waits, now = [], NOW + FIRST_CHECK
    for hop in range(1, 9):
        assert due_debts(owing, now) == [("crm", 1, hop)]
        owing = reminded(owing, "crm", now)
        check = parse(owing["links"]["crm"]["checkAt"])
        assert due_debts(owing, check - 1) == []
        waits.append(check - now)
        now = check
    assert waits[0] == FIRST_CHECK
    assert waits == sorted(waits)
    assert waits[-1] == LAST_CHECK
    assert "patience" not in settled(owing, "crm", 1, now)["links"]["crm"]


contents = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 2), max_size=3)


@given(contents, contents)
def test_once_it_was_told_a_connection_is_owed_nothing_more(data: JsonObject, base: JsonObject) -> None:
    before = entity(data, base=base)
    wanted = sending(before, "crm", ALL_FIELDS)
    if wanted is None:
        present = [{name: value for name, value in side.items() if value is not None} for side in (data, base)]
        assert present[0] == present[1]
        return
    after = told(before, "crm", wanted, "7")
    assert sending(after, "crm", ALL_FIELDS) is None
    filled = {name: value for name, value in {**base, **wanted.changes}.items() if value is not None}
    assert filled == {name: value for name, value in data.items() if value is not None}
