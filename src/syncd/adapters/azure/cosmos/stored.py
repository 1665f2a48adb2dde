"""Documents as items: the fields at the top, beside them what the service and this adapter keep.

    id          ours, with the characters that the service refuses written as !xx
    _partition  our partition; in a container with a key path of its own, that field instead or beside it
    ttl         whole seconds, -1 for ever: always said, so that the container's default never decides
    _expires    the exact end in Unix seconds, as expired items may be deleted late (time-to-live)
    _integers   paths of whole numbers that do not fit an IEEE 754 double, which is all that the service's numbers are; their
                digits lie in their place as text

Fields of a document that have one of these names, or one of the service's own, are kept under `_field.<name>`.
"""

from __future__ import annotations

import json
import math
import re

from syncd.domain.errors import Invalid, TooLarge
from syncd.domain.jsontypes import Json, JsonObject

PARTITION = "_partition"
EXPIRES = "_expires"
INTEGERS = "_integers"
_ESCAPE = "_field."
_SERVICE = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts", "_lsn"})
_RESERVED = _SERVICE | {"id", "ttl", PARTITION, EXPIRES, INTEGERS}

#: https://learn.microsoft.com/azure/cosmos-db/concepts-limits: / \ ? # are refused. Control characters, % and blanks at the ends
#: come back changed through URLs; ! is what escapes.
_UNSAFE = re.compile(r"[/\\?#%!\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s|\s$")
_ESCAPED = re.compile(r"(?:![0-9a-f]{2})+")
_ID_BYTES = 1023
#: The largest time to live that the service takes.
_LONGEST = 2_147_483_647
#: Whole numbers up to here are exact in a double.
_EXACT = 2**53
_LONG_DIGITS = re.compile(r"\d{16}")


def stored_id(identifier: str) -> str:
    """Raises Invalid for what cannot be an id."""
    # A URL's path loses steps of dots alone.
    text = (
        "".join(f"!{ord(character):02x}" for character in identifier)
        if identifier in (".", "..")
        else _UNSAFE.sub(lambda found: "".join(f"!{byte:02x}" for byte in found[0].encode()), identifier)
    )
    if not 1 <= len(text.encode()) <= _ID_BYTES:
        raise Invalid(f"an id has 1 to {_ID_BYTES} bytes; {identifier[:60]!r}... has {len(text.encode())}")
    return text


def given_id(stored: str) -> str:
    """What `stored_id` was given; an id of another system that only looks escaped stays as it is."""
    if "!" not in stored:
        return stored
    try:
        given = _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("!", "")).decode(), stored)
    except UnicodeDecodeError:
        return stored
    return given if stored_id(given) == stored else stored


def text_of(data: JsonObject) -> str:
    """The fields as JSON. Raises ValueError for NaN, which is none."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def size_of(text: str, *, limit: int, what: str) -> int:
    """Bytes of the fields. Raises TooLarge."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise TooLarge(f"{what} has {size} bytes, more than {limit}")
    return size


def to_item(
    identifier: str, data: JsonObject, text: str, placed: JsonObject, *, ttl: float | None, now: float
) -> JsonObject:
    """`text`: of `data`; `placed`: the fields by which the container is partitioned; `ttl`: seconds, None for ever."""
    item: JsonObject = {_ESCAPE + name if _kept(name) else name: value for name, value in data.items()}
    if _LONG_DIGITS.search(text):
        found: list[list[str | int]] = []
        item = _written(item, [], found)
        if found:
            item[INTEGERS] = found
    item |= placed
    item["id"] = stored_id(identifier)
    item["ttl"] = -1
    if ttl is not None and ttl != math.inf:
        item["ttl"] = min(max(1, math.ceil(ttl)), _LONGEST)
        item[EXPIRES] = now + ttl
    return item


def expired(item: JsonObject, now: float) -> bool:
    end = item.get(EXPIRES)
    return isinstance(end, int | float) and end <= now


def fields_of(item: JsonObject) -> JsonObject:
    """The document's own fields."""
    for path in item.get(INTEGERS) or ():
        _restore(item, path)
    return {
        name.removeprefix(_ESCAPE) if name.startswith(_ESCAPE) else name: value
        for name, value in item.items()
        if name not in _RESERVED
    }


def _kept(name: str) -> bool:
    return name in _RESERVED or name.startswith(_ESCAPE)


def _written(value: Json, path: list[str | int], found: list[list[str | int]]) -> Json:
    """A copy with the digits of long integers as text, and where they are."""
    if isinstance(value, dict):
        return {name: _written(one, [*path, name], found) for name, one in value.items()}
    if isinstance(value, list):
        return [_written(one, [*path, index], found) for index, one in enumerate(value)]
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        found.append(path)
        return str(value)
    return value


def _restore(item: JsonObject, path: list[str | int]) -> None:
    """Nothing where another system has changed the document meanwhile."""
    holder: Json = item
    try:
        for step in path[:-1]:
            holder = holder[step]
        text = holder[path[-1]]
        if isinstance(text, str):
            holder[path[-1]] = int(text)
    except (KeyError, IndexError, TypeError, ValueError):
        return


def etag_of(item: JsonObject) -> str:
    """The service's is an HTTP entity tag with its quotes; ours is what stands between them."""
    return str(item["_etag"]).strip('"')
