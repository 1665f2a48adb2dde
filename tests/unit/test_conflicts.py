from __future__ import annotations

from typing import Any

import pytest

from syncd.domain.conflicts import (
    RECORD_BYTES,
    VALUE_BYTES,
    Choice,
    ConflictRecord,
    chosen,
    conflict_id,
    document_of,
    open_fields,
    settled,
)
from syncd.domain.errors import Invalid
from syncd.domain.jsonbody import canonical
from syncd.domain.jsontypes import JsonObject
from syncd.domain.merge import ABSENT, Resolution, Rule

NOW = 1_700_000_000.0


def resolution(name: str, taken: Any = "open", **sides: Any) -> Resolution:
    values = {side: sides.get(side, ABSENT) for side in ("base", "ours", "theirs", "result")}
    rule = Rule.MANUAL if taken == "open" else Rule.LAST_WRITE_WINS
    return Resolution(field=name, rule=rule, taken=taken, **values)


def document(*resolutions: Resolution) -> JsonObject:
    record = ConflictRecord(
        entity_id="t:contact.1",
        entity_type="contact",
        connection_id="crm",
        remote_version="v1",
        resolutions=resolutions,
    )
    return document_of("t", record, NOW)


def test_a_record_is_open_while_a_field_waits_and_else_resolved_by_its_rules() -> None:
    waiting = document(resolution("a", ours=1, theirs=2, result=1), resolution("b", "theirs", theirs=2, result=2))
    assert (waiting["status"], open_fields(waiting), "resolvedAt" in waiting) == ("open", ["a"], False)
    done = document(resolution("b", "ours", ours=1, theirs=2, result=1))
    assert (done["status"], done["resolvedBy"], done["resolvedAt"]) == ("resolved", "rule", done["createdAt"])
    assert "integrationId" not in done


def test_the_id_says_the_tenant_and_is_another_for_each_version_of_what_was_said() -> None:
    ids = {conflict_id("t.x", *parts) for parts in (("e", "c", "1"), ("e", "c", "2"), ("e", "d", "1"), ("f", "c", "1"))}
    assert len(ids) == 4
    assert all(one.startswith("t.x.") for one in ids)


def test_a_choice_becomes_the_value_of_its_side_and_absence_stays_absence() -> None:
    found = document(resolution("a", ours=None, theirs=2), resolution("b", ours=1), resolution("c", ours=1, theirs=2))
    choices = {"a": Choice("ours"), "b": Choice("theirs"), "c": Choice("value", [3])}
    assert chosen(found, choices) == {"a": None, "b": ABSENT, "c": [3]}
    assert chosen(found, {"c": Choice("value")}) == {"c": ABSENT}


def test_a_field_that_does_not_wait_is_named_with_those_that_do() -> None:
    found = document(resolution("a", ours=1, theirs=2), resolution("b", "ours", ours=1, theirs=2))
    with pytest.raises(Invalid) as refused:
        chosen(found, {"b": Choice("ours"), "x": Choice("theirs")})
    assert refused.value.errors == dict.fromkeys(
        ("fields.b", "fields.x"), "does not wait for a decision; those that do: a"
    )


def test_a_side_that_is_too_large_is_left_out_by_name_and_cannot_be_taken() -> None:
    found = document(resolution("a", ours=1, theirs="x" * VALUE_BYTES, result=1))
    [field] = found["fields"]
    assert field["omitted"] == ["theirs"]
    assert "theirs" not in field
    with pytest.raises(Invalid, match="too large to be kept"):
        chosen(found, {"a": Choice("theirs")})
    assert chosen(found, {"a": Choice("ours")}) == {"a": 1}


def test_a_record_is_bounded_and_keeps_first_what_waits_for_a_person() -> None:
    large = "x" * (VALUE_BYTES - 100)
    many = [resolution(f"f{number}", "theirs", ours=large, theirs=large, result=large) for number in range(9_000)]
    found = document(*many, resolution("last", ours=1, theirs=2, result=1))
    assert len(canonical(found).encode()) < 1.5 * RECORD_BYTES
    assert found["fields"][0]["field"] == "last"
    assert len(found["fields"]) + found["moreFields"] == 9_001


def test_a_record_is_resolved_when_its_last_open_field_is_decided() -> None:
    found = document(resolution("a", ours=1, theirs=2, result=1), resolution("b", ours=1, theirs=2, result=1))
    half = settled(found, {"a": ("theirs", 2)}, by="ann", now=NOW + 1)
    assert (half["status"], open_fields(half)) == ("open", ["b"])
    assert half["fields"][0] == {**found["fields"][0], "taken": "theirs", "result": 2}
    whole = settled(half, {"a": ("ours", 1), "b": ("value", ABSENT)}, by="ann", now=NOW + 2)
    assert (whole["status"], whole["resolvedBy"], whole["resolvedAt"]) == (
        "resolved",
        "ann",
        "2023-11-14T22:13:22.000Z",
    )
    assert [one.get("result", "absent") for one in whole["fields"]] == [2, "absent"]
    assert whole["fields"][0]["taken"] == "theirs"
