from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.collections import ENTITIES
from syncd.domain.ids import partition_of
from syncd.domain.jsonbody import canonical, same
from syncd.domain.records import alias_id, blank
from syncd.domain.shapes import entity_of, flat, is_wrapped, shown_id, stored_id

P = "tenant:contact"
TAKEN = [
    "id",
    "tenantId",
    "type",
    "version",
    "deleted",
    "schema",
    "_syncd",
    "ttl",
    "data",
    "links",
    "_etag",
    "dirtySince",
]
names = st.one_of(st.sampled_from([*TAKEN, *ENTITIES.paths, "kind", "name"]), st.text(max_size=8))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=6)


def entity(**fields: Any) -> dict[str, Any]:
    return {**blank("tenant", "contact", 1_700_000_000.0), **fields}


@given(
    data=objects, later=st.dictionaries(st.sampled_from(["newField", "ttl2", "changedAt"]), values), dirty=st.booleans()
)
def test_flat_and_back_loses_nothing(data: dict[str, Any], later: dict[str, Any], dirty: bool) -> None:
    whole = entity(data=data, links={"c": {"base": data, "want": 1}}, externalIds={"c": "1"}, version=3, **later)
    if dirty:
        whole["dirtySince"] = whole["updatedAt"]
    stored = json.loads(json.dumps(flat(whole)))
    assert canonical(entity_of(stored, P)) == canonical(whole)


@given(data=objects)
def test_no_field_of_the_data_is_met_by_a_query_or_by_the_store_itself(data: dict[str, Any]) -> None:
    plain = flat(entity(data={}))
    stored = flat(entity(data=data))
    for name in {*ENTITIES.paths, *ENTITIES.scanned, "id", "ttl", "_etag", "_ts"}:
        assert stored.get(name, "absent") == plain.get(name, "absent")


@given(document=objects)
def test_every_document_of_another_system_is_an_entity_whose_fields_survive(document: dict[str, Any]) -> None:
    old = {**document, "tenantId": "tenant"}
    read = entity_of(old, P)
    if read is None:
        assert is_wrapped(old)
        return
    if type(old.get("_syncd")) is dict and "links" in old["_syncd"]:
        return
    assert is_wrapped(read)
    assert (read["version"], read["links"], read["externalIds"]) == (0, {}, {})
    for name, value in document.items():
        known = name in ("id", "tenantId", "type", "createdAt", "updatedAt", "deleted", "schema", "_etag")
        assert known or same(read["data"][name], value)
    assert entity_of(flat(read), P) == read


@pytest.mark.parametrize("path", [*ENTITIES.paths, *ENTITIES.scanned, *ENTITIES.across])
def test_what_of_an_entity_is_queried_by_lies_where_the_store_looks(path: str) -> None:
    whole = entity(data={path: "theirs"}, **{path: "ours"})
    assert flat(whole)[path] == "ours"
    assert entity_of(flat(whole), P) == whole


def test_fields_lie_at_the_top_and_ours_beside_them() -> None:
    stored = flat(entity(data={"name": "Ada", "type": "person", "connectionId": "x"}, version=2))
    assert stored["name"] == "Ada"
    assert (stored["type"], stored["version"], stored["deleted"]) == ("contact", 2, False)
    assert stored["_syncd"]["data"] == {"type": "person", "connectionId": "x"}
    assert set(stored) == {
        "name",
        "tenantId",
        "type",
        "version",
        "createdAt",
        "updatedAt",
        "deleted",
        "schema",
        "_syncd",
    }


@pytest.mark.parametrize(
    ("field", "value", "ours"),
    [
        ("type", "contact", True),
        ("type", "customer", False),
        ("updatedAt", "2024-01-02T03:04:05Z", True),
        ("updatedAt", "yesterday", False),
        ("updatedAt", 1704164645, False),
        ("deleted", True, True),
        ("deleted", "no", False),
        ("version", 7, False),
        ("dirtySince", "2024-01-02T03:04:05Z", False),
        ("externalId", "sf-1", False),
        ("_etag", "x", True),
    ],
)
def test_a_field_of_an_old_document_is_ours_only_where_it_can_be(field: str, value: object, ours: bool) -> None:
    read = entity_of({"tenantId": "tenant", "name": "Ada", field: value}, P)
    assert read is not None
    assert read["data"] == ({"name": "Ada"} if ours else {"name": "Ada", field: value})
    assert read["version"] == 0
    if field == "updatedAt" and ours:
        assert read["updatedAt"] == read["changedAt"] == "2024-01-02T03:04:05.000Z"


def test_what_is_wrapped_or_nobodys_is_left_as_it_is() -> None:
    assert entity_of(entity(), P) is None
    assert entity_of({"n": 1}, P) is None
    assert entity_of({"tenantId": "another", "n": 1}, P) is None


@given(stored=st.text(min_size=1, max_size=20))
def test_an_old_id_is_shown_as_one_of_ours_and_found_again(stored: str) -> None:
    shown = shown_id(P, stored)
    assert partition_of(shown) == P
    assert shown_id(P, shown) == shown
    if not stored.startswith(f"{P}."):
        assert stored_id(P, shown) == stored


def test_an_alias_and_an_id_of_another_partition_lie_nowhere_else() -> None:
    assert stored_id(P, alias_id("c", "1")) is None
    assert stored_id(P, "tenant:issue.1") is None
