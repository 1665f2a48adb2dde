"""Documents as items of Cosmos DB and back: nothing of a document is lost to the service's own names, ids and numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.azure.cosmos.stored import expired, fields_of, given_id, size_of, stored_id, text_of, to_item
from syncd.domain.errors import Invalid, TooLarge
from tests.wire.cosmos.items import compact, read_json

NAMES = st.one_of(
    st.sampled_from(["id", "ttl", "_etag", "_ts", "_rid", "_self", "_partition", "_expires", "_integers", "_field.id"]),
    st.text(max_size=5),
)
#: As the service stores them: no lone surrogates, finite numbers.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
SYSTEM = {"_rid": "r", "_self": "s", "_etag": '"e"', "_attachments": "a", "_ts": 1}


def _clean(name: str) -> str:
    return name.encode("utf-8", "ignore").decode()


def _item(data: dict[str, Any], *, ttl: float | None = None, now: float = 0.0) -> dict[str, Any]:
    return to_item("i", data, text_of(data), {"_partition": "p"}, ttl=ttl, now=now)


@given(data=st.dictionaries(NAMES.map(_clean), VALUES, max_size=6))
def test_a_document_comes_back_as_it_was_through_numbers_that_are_doubles(data: dict[str, Any]) -> None:
    text = json.dumps(data)
    item = _item(data)
    assert item["id"] == "i"
    assert item["ttl"] == -1
    back = read_json(compact(item | SYSTEM))
    assert json.loads(json.dumps(fields_of(back))) == json.loads(text)


@given(identifier=st.text(min_size=1, max_size=40))
def test_an_id_is_one_that_the_service_takes_and_comes_back(identifier: str) -> None:
    identifier = _clean(identifier) or "x"
    stored = stored_id(identifier)
    assert not set(stored) & set("/\\?#%")
    assert stored.strip() == stored
    assert stored not in (".", "..")
    assert given_id(stored) == identifier


@given(one=st.text(max_size=6), other=st.text(max_size=6))
def test_two_ids_never_share_an_item(one: str, other: str) -> None:
    one, other = _clean(one) or "x", _clean(other) or "y"
    assert (one == other) == (stored_id(one) == stored_id(other))


@pytest.mark.parametrize("identifier", ["conn-1", "t:issue.01ABC", "x~0123", "task~3", "müller", "a b", "!zz", "!c3"])
def test_ids_that_the_service_takes_stay_readable(identifier: str) -> None:
    assert given_id(identifier) == identifier
    if "!" not in identifier:
        assert stored_id(identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "x" * 1024, "/" * 400])
def test_what_cannot_be_an_id_is_refused(identifier: str) -> None:
    with pytest.raises(Invalid, match="1023"):
        stored_id(identifier)


def test_an_integer_that_somebody_else_has_changed_is_left_as_it_is() -> None:
    item = _item({"list": [2**60], "n": 2**60})
    item |= {"list": [], "n": "not a number any more"}
    assert fields_of(item) == {"list": [], "n": "not a number any more"}


@pytest.mark.parametrize(("ttl", "stored", "end"), [(0.2, 1, 100.2), (10.0, 10, 110.0), (3e9, 2147483647, 100 + 3e9)])
def test_a_time_to_live_is_whole_seconds_for_the_service_and_exact_for_us(ttl: float, stored: int, end: float) -> None:
    item = _item({}, ttl=ttl, now=100.0)
    assert item["ttl"] == stored
    assert not expired(item, end - 0.1)
    assert expired(item, end)


def test_for_ever_is_said_so_that_no_default_of_the_container_decides() -> None:
    assert _item({}, ttl=math.inf)["ttl"] == -1


def test_sizes_are_bytes_and_not_characters() -> None:
    text = text_of({"a": "ü"})
    assert size_of(text, limit=100, what="it") == len('{"a":"ü"}'.encode())
    with pytest.raises(TooLarge, match="it has 10 bytes"):
        size_of(text, limit=9, what="it")
    with pytest.raises(ValueError, match="Out of range"):
        text_of({"a": math.nan})
