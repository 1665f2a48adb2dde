from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import NotUnderstood
from syncd.domain.jsonbody import MAX_DEPTH, canonical, parse, parse_message, parse_object, same
from syncd.domain.jsontypes import Json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "line 1, column 2"),
        (b'{"a":1', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"[1] [2]", "Extra data"),
        (b'{"a":"\xff"}', "not UTF-8: byte 6"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "1e999 is out of range"),
        (b'{"a":1,"b":{"c":1,"c":2}}', "'c' occurs twice"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00":1}', "surrogate"),
        (b"[" * 1_000 + b"]" * 1_000, "nested deeper"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper"),
        (b"[" + b"9" * 5_000 + b"]", "5000 digits"),
        (b'["a\nb"]', "not JSON"),
    ],
)
def test_what_readers_take_differently_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        parse(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a":{"a":1}}', {"a": {"a": 1}}),
        (b'["\\ud83d\\ude00","\\u0000"]', ["😀", "\0"]),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (b"[18446744073709551616, 1.5]", [2**64, 1.5]),
    ],
)
def test_what_means_one_thing_is_read(body: bytes, value: Json) -> None:
    assert parse(body) == value


@given(VALUES)
def test_every_json_value_is_read_as_it_was_written(value: Json) -> None:
    assert same(parse(json.dumps(value).encode()), value)
    assert same(parse(canonical(value).encode()), value)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_one_error(body: bytes) -> None:
    try:
        parse(body)
    except NotUnderstood:
        return


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[]", "an array"), (b"1", "a number"), (b"true", "a boolean"), (b"null", "null"), (b'"{}"', "a string")],
)
def test_an_object_is_asked_for_by_name(body: bytes, kind: str) -> None:
    with pytest.raises(NotUnderstood, match=f"it is {kind}"):
        parse_object(body)


def test_a_message_that_was_encoded_twice_is_read() -> None:
    assert parse_message(json.dumps(json.dumps({"a": 1})).encode()) == {"a": 1}
    with pytest.raises(NotUnderstood):
        parse_message(json.dumps(json.dumps(json.dumps({"a": 1}))).encode())


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, True, False),
        (0, False, False),
        ([0], [False], False),
        ({"a": 1}, {"a": True}, False),
        (1, 1.0, True),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ([1, 2], [1], False),
        ({}, [], False),
        (None, False, False),
        ("1", 1, False),
    ],
)
def test_equality_is_that_of_json(left: Json, right: Json, equal: bool) -> None:
    assert same(left, right) is equal
    assert same(right, left) is equal


@given(VALUES)
def test_the_canonical_text_is_what_the_standard_library_writes_sorted_and_without_blanks(value: Json) -> None:
    assert canonical(value) == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
