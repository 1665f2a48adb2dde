"""AMQP 1.0 values as bytes: as much as the double needs to read a message's sections without a copy of its body.

Layouts: OASIS AMQP 1.0 part 1 (types), section 1.6. Performatives, settlement and flow are proton's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from uuid import UUID

#: What a decoded value may be. Symbols come as str, timestamps as int milliseconds.
Value = None | bool | int | float | str | bytes | UUID | list["Value"] | dict["Value", "Value"]

_FIXED: dict[int, tuple[int, Callable[[bytes], Value]]] = {
    0x40: (0, lambda _: None),
    0x41: (0, lambda _: True),
    0x42: (0, lambda _: False),
    0x43: (0, lambda _: 0),
    0x44: (0, lambda _: 0),
    0x45: (0, lambda _: []),
    0x50: (1, lambda raw: raw[0]),
    0x51: (1, lambda raw: struct.unpack(">b", raw)[0]),
    0x52: (1, lambda raw: raw[0]),
    0x53: (1, lambda raw: raw[0]),
    0x54: (1, lambda raw: struct.unpack(">b", raw)[0]),
    0x55: (1, lambda raw: struct.unpack(">b", raw)[0]),
    0x56: (1, lambda raw: raw[0] == 1),
    0x60: (2, lambda raw: struct.unpack(">H", raw)[0]),
    0x61: (2, lambda raw: struct.unpack(">h", raw)[0]),
    0x70: (4, lambda raw: struct.unpack(">I", raw)[0]),
    0x71: (4, lambda raw: struct.unpack(">i", raw)[0]),
    0x72: (4, lambda raw: struct.unpack(">f", raw)[0]),
    0x73: (4, lambda raw: raw.decode("utf-32-be")),
    0x74: (4, bytes),
    0x80: (8, lambda raw: struct.unpack(">Q", raw)[0]),
    0x81: (8, lambda raw: struct.unpack(">q", raw)[0]),
    0x82: (8, lambda raw: struct.unpack(">d", raw)[0]),
    0x83: (8, lambda raw: struct.unpack(">q", raw)[0]),
    0x84: (8, bytes),
    0x94: (16, bytes),
    0x98: (16, lambda raw: UUID(bytes=raw)),
}
_TEXT = {0xA1, 0xA3, 0xB1, 0xB3}


class Malformed(Exception):
    """Not AMQP, or an end in the middle."""


def decode(raw: bytes, at: int) -> tuple[Value, int]:
    """The value that begins at `at`, and where the next one begins. A described value comes without its descriptor."""
    try:
        code = raw[at]
        at += 1
        if code == 0x00:
            _, at = decode(raw, at)
            return decode(raw, at)
        if (fixed := _FIXED.get(code)) is not None:
            end = at + fixed[0]
            return fixed[1](raw[at:end]), end
        return _variable(raw, code, at)
    except (IndexError, struct.error, ValueError, TypeError, RecursionError) as error:
        raise Malformed(str(error)) from error


def _variable(raw: bytes, code: int, at: int) -> tuple[Value, int]:
    start, end = _extent(raw, code, at)
    if end > len(raw):
        raise Malformed("a value ends behind the message")
    kind = code >> 4
    if kind in (0xA, 0xB):
        return (raw[start:end].decode() if code in _TEXT else raw[start:end]), end
    if kind in (0xC, 0xD):
        items = list(_items(raw, code, start))
        if code in (0xC1, 0xD1):
            # A key is a symbol, text or a number in every map of the protocol.
            return dict(zip(items[::2], items[1::2], strict=True)), end  # a map
        return items, end
    if kind in (0xE, 0xF):
        return raw[start:end], end  # an array: nothing in a message's own sections needs one decoded
    raise Malformed(f"no such type: {code:#x}")


def _items(raw: bytes, code: int, start: int) -> Iterator[Value]:
    count, at = (raw[start], start + 1) if code >> 4 == 0xC else (struct.unpack_from(">I", raw, start)[0], start + 4)
    for _ in range(count):
        value, at = decode(raw, at)
        yield value


def _extent(raw: bytes, code: int, at: int) -> tuple[int, int]:
    """Where the content of a value of variable size begins and ends."""
    if (code >> 4) & 1:
        return at + 4, at + 4 + struct.unpack_from(">I", raw, at)[0]
    return at + 1, at + 1 + raw[at]


def skip(raw: bytes, at: int) -> int:
    """Where the value after the one at `at` begins."""
    try:
        code = raw[at]
        if code == 0x00:
            return skip(raw, skip(raw, at + 1))
        if (fixed := _FIXED.get(code)) is not None:
            end = at + 1 + fixed[0]
        elif code >= 0xA0:
            end = _extent(raw, code, at + 1)[1]
        else:
            raise Malformed(f"no such type: {code:#x}")
    except (IndexError, struct.error, RecursionError) as error:
        raise Malformed("the message ends in the middle of a value") from error
    if end > len(raw):
        raise Malformed("a value ends behind the message")
    return end


def sections(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """(descriptor, where the section's value begins, where it ends), in order."""
    at = 0
    while at < len(raw):
        if raw[at] != 0x00:
            raise Malformed("a message's section has no descriptor")
        descriptor, begin = decode(raw, at + 1)
        if not isinstance(descriptor, int) or not 0x70 <= descriptor <= 0x78:
            raise Malformed(f"no such section: {descriptor!r}")
        at = skip(raw, begin)
        yield descriptor, begin, at


def map_items(raw: bytes, at: int) -> tuple[int, bytes]:
    """How many keys and values the map at `at` holds, and their bytes."""
    code = raw[at]
    start, end = _extent(raw, code, at + 1)
    if code == 0xC1:
        return raw[start], raw[start + 1 : end]
    return struct.unpack_from(">I", raw, start)[0], raw[start + 4 : end]


def symbol(text: str) -> bytes:
    return b"\xa3" + bytes([len(text)]) + text.encode("ascii")


def string(text: str) -> bytes:
    raw = text.encode()
    return b"\xb1" + struct.pack(">I", len(raw)) + raw


def long(value: int) -> bytes:
    return b"\x81" + struct.pack(">q", value)


def timestamp(seconds: float) -> bytes:
    return b"\x83" + struct.pack(">q", round(seconds * 1000))


def mapping(descriptor: int, count: int, items: bytes) -> bytes:
    """A map section; `count` is keys plus values."""
    return b"\x00\x53" + bytes([descriptor]) + b"\xd1" + struct.pack(">II", len(items) + 4, count) + items
