"""A message as the broker keeps it: the sender's bytes, and the few fields that it looks at."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from tests.wire.servicebus import encoding
from tests.wire.servicebus.encoding import Malformed, Value

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION, DATA, SEQUENCE, VALUE, FOOTER = range(0x70, 0x79)
#: The annotations that the broker sets itself: a sender's are dropped.
OWN_ANNOTATIONS = frozenset(
    {"x-opt-sequence-number", "x-opt-enqueued-time", "x-opt-locked-until", "x-opt-enqueue-sequence-number"}
    | {"x-opt-message-state", "x-opt-deadletter-source", "x-opt-scheduled-enqueue-time"}
)


@dataclass(slots=False, kw_only=True)
class Message:
    """Kept as it came, so that a receiver sees exactly what the sender encoded."""

    size: int
    """Bytes on the wire as it was sent."""
    before: bytes
    """The properties section."""
    application: bytes
    """The application properties section; dead-lettering adds to it."""
    after: bytes
    """Body and footer."""
    priority: int = 4
    durable: bool = False
    ttl: float | None = None
    message_id: str | None = None
    session_id: str | None = None
    fields: list[Value] = field(default_factory=list)
    annotations: dict[Value, Value] = field(default_factory=dict)
    kept_annotations: bytes = b""
    kept_count: int = 0

    @property
    def scheduled_for(self) -> float | None:
        """Unix seconds."""
        due = self.annotations.get("x-opt-scheduled-enqueue-time")
        return due / 1000 if isinstance(due, int) else None

    @cached_property
    def application_properties(self) -> dict[Value, Value]:
        try:
            value = encoding.decode(self.application, 0)[0] if self.application else {}
        except Malformed:
            return {}  # passed on as it came; only rules and rows look into it
        return value if isinstance(value, dict) else {}

    @cached_property
    def body(self) -> bytes:
        """Data sections joined; a value or sequence section as its encoded bytes."""
        parts = []
        for descriptor, begin, end in encoding.sections(self.after):
            if descriptor == DATA:
                value, _ = encoding.decode(self.after, begin)
                parts.append(value if isinstance(value, bytes) else b"")
            elif descriptor != FOOTER:
                parts.append(self.after[begin:end])
        return b"".join(parts)

    def with_properties(self, extra: dict[str, str]) -> Message:
        """The same message with more application properties."""
        kept = {key: value for key, value in self.application_properties.items() if key not in extra}
        if len(kept) == len(self.application_properties) and self.application:
            count, items = encoding.map_items(self.application, encoding.skip(self.application, 1))
        else:
            count, items = _strings(kept)
        more, added = _strings(extra)
        application = encoding.mapping(APPLICATION, count + more, items + added)
        copied = {name: value for name, value in vars(self).items() if name not in ("application_properties", "body")}
        return Message(**{**copied, "application": application})


def _strings(pairs: dict[Value, Value] | dict[str, str]) -> tuple[int, bytes]:
    # Only texts can be replaced: the two dead-letter properties are texts, and nothing else is ever replaced.
    encoded = b"".join(encoding.string(str(key)) + encoding.string(str(value)) for key, value in pairs.items())
    return 2 * len(pairs), encoded


def parse(raw: bytes) -> Message:
    """Raises Malformed."""
    message = Message(size=len(raw), before=b"", application=b"", after=b"")
    at = 0
    body = len(raw)
    for descriptor, begin, end in encoding.sections(raw):
        if descriptor == HEADER:
            _header(message, encoding.decode(raw, begin)[0])
        elif descriptor == ANNOTATIONS:
            _annotations(message, raw, begin)
        elif descriptor == PROPERTIES:
            message.before = raw[at:end]
            _properties(message, encoding.decode(raw, begin)[0])
        elif descriptor == APPLICATION:
            message.application = raw[at:end]
        elif descriptor >= DATA:
            body = at
            break
        at = end
    message.after = raw[body:]
    if not message.after:
        raise Malformed("a message without a body")
    return message


def _header(message: Message, header: Value) -> None:
    fields = header if isinstance(header, list) else []
    durable, priority, ttl = (*fields, None, None, None)[:3]
    message.durable = durable is True
    message.priority = priority if isinstance(priority, int) else 4
    message.ttl = ttl / 1000 if isinstance(ttl, int) else None


def _properties(message: Message, properties: Value) -> None:
    message.fields = properties if isinstance(properties, list) else []
    fields = (*message.fields, *[None] * 13)
    message.message_id = None if fields[0] is None else str(fields[0])
    message.session_id = fields[10] if isinstance(fields[10], str) else None


def _annotations(message: Message, raw: bytes, begin: int) -> None:
    value = encoding.decode(raw, begin)[0]
    message.annotations = value if isinstance(value, dict) else {}
    count, items = encoding.map_items(raw, begin)
    at = 0
    kept = []
    for _ in range(count // 2):
        key, middle = encoding.decode(items, at)
        end = encoding.skip(items, middle)
        if key not in OWN_ANNOTATIONS:
            kept.append(items[at:end])
        at = end
    message.kept_annotations, message.kept_count = b"".join(kept), 2 * len(kept)


def batch(raw: bytes) -> list[Message] | None:
    """The messages of a batch transfer (message-format 0x80013700), None if it is a single message.

    proton does not hand out a transfer's message-format. A batch is known by its body: each data section is itself an AMQP
    message with sections of its own, and there are no application properties. A payload that is an encoded AMQP message,
    byte for byte, would be mistaken; no sender of ours sends one.
    """
    messages = []
    try:
        for descriptor, begin, _ in encoding.sections(raw):
            if descriptor in (ANNOTATIONS, PROPERTIES):
                continue  # the envelope repeats those of the first message, for partitioned entities
            inner = encoding.decode(raw, begin)[0]
            if descriptor != DATA or not isinstance(inner, bytes):
                return None
            messages.append(parse(inner))
    except Malformed:
        return None
    return messages or None


_SEQUENCE, _ENQUEUED, _LOCKED, _STATE = (
    encoding.symbol(name)
    for name in ("x-opt-sequence-number", "x-opt-enqueued-time", "x-opt-locked-until", "x-opt-message-state")
)
_FIRST, _DUE = encoding.symbol("x-opt-enqueue-sequence-number"), encoding.symbol("x-opt-scheduled-enqueue-time")


def encode(
    message: Message,
    *,
    sequence: int,
    enqueued_at: float,
    deliveries: int,
    ttl: float | None,
    locked_until: float | None = None,
    first_sequence: int | None = None,
    due: float | None = None,
    state: int = 0,
) -> bytes:
    """The message with the broker's header and annotations, as a receiver gets it. Times are Unix seconds."""
    lives = b"\x40" if ttl is None else b"\x70" + struct.pack(">I", min(round(ttl * 1000), 0xFFFFFFFF))
    header = (b"\x41" if message.durable else b"\x42") + b"\x50" + bytes([message.priority]) + lives
    header += b"\x42\x70" + struct.pack(">I", deliveries)
    items = [_SEQUENCE, encoding.long(sequence), _ENQUEUED, encoding.timestamp(enqueued_at)]
    if locked_until is not None:
        items += (_LOCKED, encoding.timestamp(locked_until))
    if first_sequence is not None:
        items += (_FIRST, encoding.long(first_sequence))
    if due is not None:
        items += (_DUE, encoding.timestamp(due))
    if state:
        items += (_STATE, b"\x71" + struct.pack(">i", state))
    count = len(items) + message.kept_count
    annotations = encoding.mapping(ANNOTATIONS, count, b"".join(items) + message.kept_annotations)
    return b"".join(
        (
            b"\x00\x53\x70\xc0",
            bytes([len(header) + 1, 5]),
            header,
            annotations,
            message.before,
            message.application,
            message.after,
        )
    )
