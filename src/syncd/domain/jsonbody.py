"""JSON from outside, read strictly: what one reader takes as one value and the next reader as another is refused.

RFC 8259 leaves duplicate names, lone surrogates, huge numbers and nesting to the reader, and Python's reader adds NaN. What is
let in here is stored, compared, pushed to other systems and read by other languages; it must mean one thing everywhere.
"""

from __future__ import annotations

import json
import math
import sys
from json import encoder
from typing import TYPE_CHECKING

from syncd.domain.errors import NotUnderstood
from syncd.domain.jsontypes import Json, JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable

#: Levels of arrays and objects. Deeper than any document that a provider of ours sends (GitHub's reach 8); the interpreter's own
#: limit would be its stack.
MAX_DEPTH = 64
#: Characters of a name or number that a reason quotes.
_QUOTED = 60


def parse(body: bytes) -> Json:
    """The value in `body`. Raises NotUnderstood with a reason that says where and why."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotUnderstood(f"the body is not UTF-8: byte {error.start} begins no character") from None
    try:
        value = _READER.decode(text)
    except RecursionError:
        raise NotUnderstood(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NotUnderstood("the body is empty") from None
        raise NotUnderstood(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # Python refuses integers beyond 4,300 digits: reading them takes quadratic time
        raise NotUnderstood(_long_number(text)) from None
    _check_depth(value)
    if b"\\u" in body:  # the only way in: UTF-8 itself holds no surrogates
        _check_characters(value)
    return value


def parse_object(body: bytes) -> JsonObject:
    """As `parse`, and it must be an object."""
    value = parse(body)
    if not isinstance(value, dict):
        raise NotUnderstood(f"the body must be a JSON object; it is {kind_of(value)}")
    return value


def parse_message(body: bytes) -> JsonObject:
    """As `parse_object`; a string that holds JSON is read once more, because producers in the field encode twice."""
    value = parse(body)
    return parse_object(value.encode() if isinstance(value, str) else body)


def kind_of(value: Json) -> str:
    """What a person calls this kind of value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def same(left: Json, right: Json) -> bool:
    """Equal as JSON. Python's own `==` takes true for 1 and false for 0."""
    return bool(left == right) and _alike(left, right)


def _alike(left: Json, right: Json) -> bool:
    """Of two values that Python finds equal: is true nowhere taken for 1? `==` itself is one call into C for a whole record."""
    kind = type(left)
    if kind is str or left is right:
        return True
    if kind is dict:
        for name, value in left.items():
            if type(value) is not str and value is not (other := right[name]) and not _alike(value, other):
                return False
        return True
    if kind is list:
        for one, other in zip(left, right, strict=True):
            if type(one) is not str and one is not other and not _alike(one, other):
                return False
        return True
    return (kind is bool) == (type(right) is bool)


def canonical(value: Json) -> str:
    """One text per value: names sorted, no blanks. For hashes and for ties that every replica must break alike."""
    return _CANONICAL(value)


def _object(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotUnderstood(f"the name {twice[:_QUOTED]!r} occurs twice in one object")
    return found


def _constant(name: str) -> Json:
    raise NotUnderstood(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotUnderstood(f"the number {text[:_QUOTED]} is out of range")
    return value


def _long_number(text: str) -> str:
    """Which number it was."""
    digits = ""

    def found(number: str) -> int:
        nonlocal digits
        if not digits and len(number.lstrip("-")) > sys.get_int_max_str_digits():
            digits = number
        return 0

    json.loads(text, parse_int=found)
    return f"the number {digits[:_QUOTED]}... has {len(digits)} digits"


def _check_depth(value: Json) -> None:
    """Level by level: pages of a hundred records are read here, and a call for each value would take longer than decoding it."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise NotUnderstood(f"the body is nested deeper than {MAX_DEPTH} levels")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]


def _check_characters(value: Json) -> None:
    try:
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, list):
            for inner in value:
                _check_characters(inner)
        elif isinstance(value, dict):
            for name, inner in value.items():
                name.encode()
                _check_characters(inner)
    except UnicodeEncodeError:
        raise NotUnderstood("the body holds half of a surrogate pair, which is no character") from None


def _canonical() -> Callable[[Json], str]:
    """Python's own encoder, made once. JSONEncoder makes one for each call, which costs more than to encode a record."""
    slow = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    made = getattr(encoder, "c_make_encoder", None)
    if made is None:
        return slow.encode
    parts = made(None, slow.default, encoder.encode_basestring, None, ":", ",", True, False, False)
    return lambda value: "".join(parts(value, 0))


_CANONICAL = _canonical()
_READER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
