"""Settings of a `rest` connection: every mistake at once, each with its place and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.http.restplan import faults_of, plan_of
from syncd.domain.errors import Invalid
from syncd.domain.jsontypes import JsonObject

WRITES = {"create": "/c", "update": "/c/{id}", "delete": "/c/{id}"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def settings(**described: Any) -> JsonObject:
    return {"baseUrl": "https://x/api", "types": {"c": {"list": "/c", "get": "/c/{id}", **described}}}


def test_the_smallest_settings_read_a_list_and_nothing_else() -> None:
    plan = plan_of({"baseUrl": "https://x/api/", "types": {"contact": {"list": "/contacts"}}})
    kind = plan.kinds["contact"]
    assert (plan.base_url, kind.creates, kind.updates, kind.deletes) == ("https://x/api", "none", False, False)
    assert (kind.incremental, kind.conditional, kind.deletes_visible) == (False, False, False)


def test_what_is_described_is_what_the_type_can_do() -> None:
    described = {
        **WRITES,
        "since": "since",
        "updatedAt": "at",
        "deleted": "gone",
        "version": "rev",
        "conditional": "if-match",
        "creates": {"style": "lookup", "parameter": "ref", "field": "ref", "delay": 30},
        "fields": {"name": "a.name", "first": "mails.0", "count": "n"},
        "readOnly": ["count"],
    }
    kind = plan_of(settings(**described)).kinds["c"]
    assert (kind.creates, kind.updates, kind.deletes, kind.lookup_delay) == ("lookup", True, True, 30.0)
    assert (kind.incremental, kind.conditional, kind.deletes_visible) == (True, True, True)
    assert {name for name in ("name", "first", "count", "other") if kind.fields.holds(name)} == {"name"}


def test_a_create_of_which_nothing_is_said_is_never_repeated() -> None:
    assert plan_of(settings(**WRITES)).kinds["c"].creates == "blind"


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({}, "baseUrl", "needed"),
        ({}, "types", "needed"),
        ({"baseUrl": "x"}, "baseUrl", "an address such as"),
        ({"baseUrl": "ftp://x"}, "baseUrl", "an address such as"),
        ({"baseUrl": "http://[::1"}, "baseUrl", "an address such as"),
        ({"baseUrl": "http://x:0"}, "baseUrl", "an address such as"),
        ({"baseUrl": "http://u:p@x"}, "baseUrl", "no user name"),
        ({"baseUrl": "http://x?a=1"}, "baseUrl", r"no \?"),
        ({"baseURL": "http://x"}, "baseURL", "did you mean baseUrl"),
        ({"types": []}, "types", "must be an object; it is an array"),
        ({"types": {}}, "types", "at least one"),
        ({"types": {"a b": {}}}, "types.a b", "letters, digits"),
        ({"types": {"c": 5}}, "types.c", "must be an object"),
        ({"headers": {"Authorization": "x"}}, "headers.Authorization", "send it in credential"),
        ({"headers": {"X-Api-Key": "x"}}, "headers.X-Api-Key", "send it in credential"),
        ({"headers": {"a b": "x"}}, "headers.a b", "not the name of a header"),
        ({"headers": {"X": "a\r\nb"}}, "headers.X", "control characters"),
        ({"test": "me"}, "test", "a path below baseUrl"),
        (settings(list=5), "types.c.list", "must be text"),
        (settings(list="c"), "types.c.list", "a path below baseUrl"),
        (settings(list="//evil"), "types.c.list", "a path below baseUrl"),
        (settings(list="https://evil/c"), "types.c.list", "a path below baseUrl"),
        (settings(list="/../c"), "types.c.list", "climb out"),
        (settings(list="/c?x=1"), "types.c.list", r"without \?"),
        (settings(list="/c/{id}"), "types.c.list", "must not hold"),
        (settings(get="/c"), "types.c.get", "must hold {id} once"),
        (settings(get="/c/{id}/{id}"), "types.c.get", "must hold {id} once"),
        (settings(get="/{owner}/{id}"), "types.c.get", "no other placeholder"),
        ({"types": {"c": {}}}, "types.c.list", "neither be listed nor written"),
        ({"types": {"c": {"update": "/c/{id}"}}}, "types.c.get", "needed where objects are written"),
        (settings(updateMethod="POST"), "types.c.updateMethod", "one of PATCH, PUT"),
        (settings(lst="/c"), "types.c.lst", "did you mean list"),
        (settings(items=5), "types.c.items", "dotted path"),
        (settings(items="a..b"), "types.c.items", "none of them empty"),
        (settings(id=""), "types.c.id", "none of them empty"),
        (settings(paging="pages"), "types.c.paging.style", "did you mean page"),
        (settings(paging=5), "types.c.paging", "must be an object"),
        (settings(paging={}), "types.c.paging.style", "needed"),
        (settings(paging="cursor"), "types.c.paging.next", "needed"),
        (settings(paging={"style": "page", "next": "n"}), "types.c.paging.next", "is for cursor and link"),
        (settings(paging={"style": "page", "most": 0}), "types.c.paging.most", "from 1 to 10000; it is 0"),
        (settings(paging={"style": "page", "most": True}), "types.c.paging.most", "it is a boolean"),
        (settings(paging={"style": "page", "param": "p"}), "types.c.paging.param", "did you mean parameter"),
        (settings(since="s"), "types.c.updatedAt", "how far a pull has come"),
        (settings(since={"format": "epoch"}, updatedAt="u"), "types.c.since.parameter", "needed"),
        (settings(since={"parameter": "s", "format": "unix"}, updatedAt="u"), "types.c.since.format", "one of iso"),
        (settings(etag=True, version="v"), "types.c.etag", "either a field"),
        (settings(etag="yes"), "types.c.etag", "true or false"),
        (settings(conditional="if-match"), "types.c.conditional", "needs version or etag"),
        (settings(conditional="field", etag=True), "types.c.version", "needed where conditional is field"),
        (settings(deleted={"values": ["x"]}), "types.c.deleted.path", "needed"),
        (settings(creates="idempotent"), "types.c.create", "needed where creates"),
        (settings(creates="idempotant", create="/c"), "types.c.creates.style", "did you mean idempotent"),
        (settings(creates={"style": "lookup"}, create="/c"), "types.c.creates.field", "needed"),
        (settings(creates={"style": "lookup", "field": "f"}, create="/c"), "types.c.creates.parameter", "needed"),
        (settings(creates={"style": "idempotent", "header": "a b"}, create="/c"), "types.c.creates.header", "name of"),
        (settings(fields={"a": 5}), "types.c.fields.a", "dotted path"),
        (settings(fields={"a": "x", "b": "x.y"}), "types.c.fields.b", "x.y is part of what a names already"),
        (settings(fields={"a": "x", "b": "x"}), "types.c.fields.b", "part of what a names already"),
        (settings(fields={"a": "x"}, writable=["b"]), "types.c.writable", "'b' is not one of fields"),
        (settings(leaveOut=["a..b"]), "types.c.leaveOut", "none of them empty"),
        (settings(leaveOut=["a"], fields={"b": "b"}), "types.c.leaveOut", "left out anyway"),
        (settings(readOnly="a"), "types.c.readOnly", "a list of names"),
        (settings(query={"a": []}), "types.c.query.a", "must be text"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_place(given: JsonObject, path: str, words: str) -> None:
    found = faults_of(given)
    assert path in found
    assert re.search(words, found[path])


def test_all_mistakes_come_at_once() -> None:
    wrong = {
        "baseUrl": "x",
        "tst": "/x",
        "types": {"c": {"list": "c", "get": "/c"}, "d": {"list": "/d", "paging": "q"}},
    }
    assert set(faults_of(wrong)) == {"baseUrl", "tst", "types.c.list", "types.c.get", "types.d.paging.style"}
    with pytest.raises(Invalid) as refused:
        plan_of(wrong)
    assert "settings.types.c.get" in refused.value.errors


@given(described=st.dictionaries(
    st.sampled_from(
        ["list", "get", "create", "update", "delete", "items", "id", "updatedAt", "version", "deleted", "paging", "since",
         "fields", "creates", "conditional", "etag", "readOnly", "writable", "query", "wrap"]
    ),
    JSON | st.sampled_from(["/c", "/c/{id}", "a.b", "page", "link", {"style": "page"}, {"a": "b"}, True]),
))  # fmt: skip
def test_any_description_is_complained_about_or_can_be_used(described: JsonObject) -> None:
    wrong = faults_of({"baseUrl": "http://x", "types": {"c": described}})
    assert all(path.startswith("types.c") and text for path, text in wrong.items())
    if not wrong:
        plan_of({"baseUrl": "http://x", "types": {"c": described}})
