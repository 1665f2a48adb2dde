"""A message as AMQP 1.0 bytes, written once, for a batch that carries it as it is.

The SDK builds four objects for a message and walks through a table of types for each value, which costs more than all else that a
webhook costs. What we send is known: texts, small numbers, one body. Layouts: OASIS AMQP 1.0, part 1 section 1.6 (values) and part 3
section 3.2 (sections of a message). A test decodes what is written here with the SDK, and compares it with what the SDK writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

#: What stands before a text or a body, by its size in bytes; longer ones have four bytes of it.
_TEXT = [b"\xa1" + bytes([size]) for size in range(256)]
_BINARY = [b"\xa0" + bytes([size]) for size in range(256)]
_SYMBOL = [b"\xa3" + bytes([size]) for size in range(256)]
_NULL = b"\x40"
#: Between the id and the correlation id: user id, to, subject, reply-to.
_UNUSED = _NULL * 4
#: Between the content type and the group id, which is the session: encoding, expiry, creation.
_UNUSED_TOO = _NULL * 3
_ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA = (b"\x00\x53" + bytes([code]) for code in (0x72, 0x73, 0x74, 0x75))
_DUE_NAME = b"x-opt-scheduled-enqueue-time"

Scalar = str | int | bool


def message(
    body: bytes,
    *,
    message_id: str,
    correlation_id: str | None,
    content_type: str | None,
    session_id: str | None,
    due_ms: int | None,
    properties: Mapping[str, Scalar],
) -> bytes:
    """`due_ms`: milliseconds since the Unix epoch. Raises ValueError for a text that is no Unicode, or a number beyond 64 bits."""
    parts: list[bytes] = []
    if due_ms is not None:
        parts += (_ANNOTATIONS, _compound(0xC1, 2, symbol(_DUE_NAME) + struct.pack(">Bq", 0x83, due_ms)))
    fields = [text(message_id), _UNUSED, _NULL if correlation_id is None else text(correlation_id)]
    fields.append(_NULL if content_type is None else symbol(content_type.encode("ascii")))
    if session_id is not None:
        fields += (_UNUSED_TOO, text(session_id))
    parts += (_PROPERTIES, _compound(0xC0, 7 if session_id is None else 11, b"".join(fields)))
    pairs: list[bytes] = []
    for name, value in properties.items():
        pairs += (_NAMES.get(name) or text(name), text(value) if type(value) is str else _other(value))
    parts += (_APPLICATION, _compound(0xC1, len(pairs), b"".join(pairs)), _DATA)
    size = len(body)
    parts += (_BINARY[size] if size < 256 else struct.pack(">BI", 0xB0, size), body)
    return b"".join(parts)


def text(value: str) -> bytes:
    raw = value.encode()
    size = len(raw)
    return (_TEXT[size] if size < 256 else struct.pack(">BI", 0xB1, size)) + raw


def symbol(raw: bytes) -> bytes:
    return _SYMBOL[len(raw)] + raw


def _other(value: Scalar) -> bytes:
    if isinstance(value, bool):
        return b"\x41" if value else b"\x42"
    if isinstance(value, str):
        return text(str(value))
    try:
        return struct.pack(">Bb", 0x54, value) if -128 <= value < 128 else struct.pack(">Bi", 0x71, value)
    except struct.error:
        pass
    try:
        return struct.pack(">Bq", 0x81, value)
    except struct.error as error:
        raise ValueError(f"{value} is beyond 64 bits") from error


def _compound(code: int, count: int, items: bytes) -> bytes:
    """A list (0xC0) or a map (0xC1); their long forms are 16 above."""
    size = len(items)
    if size < 255 and count < 256:
        return struct.pack(">BBB", code, size + 1, count) + items
    return struct.pack(">BII", code + 16, size + 4, count) + items


#: The names that are in every message, or nearly.
_NAMES = {
    name: text(name)
    for name in (
        *(
            "kind",
            "originId",
            "schema",
            "lane",
            "hop",
            "attempt",
            "group",
            "tenantId",
            "connectionId",
            "registrationId",
        ),
        *("eventId", "receivedAt", "expiresAt", "correlationId", "traceparent", "reservation", "resumed", "bodyRef"),
        *("headers", "notBefore", "sentBy"),
    )
}
