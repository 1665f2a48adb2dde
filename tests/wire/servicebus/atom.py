"""Entities as Atom entries and back, as azure.servicebus.management reads and writes them (its `_generated/models`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.wire.servicebus.entity import Entity
from tests.wire.servicebus.namespace import Topic
from tests.wire.servicebus.specs import EntitySpec, QueueSpec, SubscriptionSpec, TopicSpec

ATOM = "http://www.w3.org/2005/Atom"
CONNECT = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
COUNTS = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
#: .NET's longest TimeSpan: what the service shows for "for ever".
FOR_EVER = "P10675199DT2H48M5.4775807S"
_DURATION = re.compile(r"P(?:(?P<D>\d+)D)?(?:T(?:(?P<H>\d+)H)?(?:(?P<M>\d+)M)?(?:(?P<S>[\d.]+)S)?)?")


class Unreadable(Exception):
    """The body is no description of an entity."""


def duration(seconds: float | None) -> str:
    return FOR_EVER if seconds is None else f"PT{f'{seconds:.3f}'.rstrip('0').rstrip('.')}S"


def seconds(text: str) -> float | None:
    """Of an ISO 8601 duration; None for ever. Raises Unreadable."""
    if text == FOR_EVER:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Unreadable(f"no duration: {text!r}")
    return sum(float(match[unit] or 0) * each for unit, each in (("D", 86_400), ("H", 3600), ("M", 60), ("S", 1)))


Pairs = Iterable[tuple[str, str]]


def _elements(pairs: Pairs) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in pairs)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _common(spec: EntitySpec | TopicSpec, now: float) -> list[tuple[str, str]]:
    at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return [
        ("DefaultMessageTimeToLive", duration(spec.ttl)),
        ("EnableBatchedOperations", "true"),
        ("Status", "Active" if spec.enabled else "Disabled"),
        ("CreatedAt", at),
        ("UpdatedAt", at),
        ("AccessedAt", at),
        ("AutoDeleteOnIdle", FOR_EVER),
        ("EntityAvailabilityStatus", "Available"),
    ]


def _received(spec: EntitySpec) -> list[tuple[str, str]]:
    return [
        ("LockDuration", duration(spec.lock_duration)),
        ("RequiresSession", _flag(spec.requires_session)),
        ("DeadLetteringOnMessageExpiration", _flag(spec.dead_letter_on_expiration)),
        ("MaxDeliveryCount", str(spec.max_delivery_count)),
    ]


def _sent(spec: EntitySpec | TopicSpec) -> list[tuple[str, str]]:
    window = spec.duplicate_detection
    return [
        ("MaxSizeInMegabytes", "1024"),
        ("RequiresDuplicateDetection", _flag(window is not None)),
        ("DuplicateDetectionHistoryTimeWindow", duration(600.0 if window is None else window)),
        ("MaxMessageSizeInKilobytes", str(spec.max_message_size // 1024)),
    ]


def _counts(entity: Entity) -> str:
    entity.expire()
    states = [stored.state for stored in entity.stored.values()]
    scheduled = states.count("scheduled")
    dead = len(entity.dead.stored) if entity.dead is not None else 0
    counts = {
        "ActiveMessageCount": len(states) - scheduled,
        "DeadLetterMessageCount": dead,
        "ScheduledMessageCount": scheduled,
        "TransferMessageCount": 0,
        "TransferDeadLetterMessageCount": 0,
    }
    inner = "".join(f"<d2p1:{name}>{count}</d2p1:{name}>" for name, count in counts.items())
    total = _elements([("MessageCount", str(len(states) + dead))])
    return f'{total}<CountDetails xmlns:d2p1="{COUNTS}">{inner}</CountDetails>'


def _described(kind: str, inner: str) -> str:
    return f'<{kind} xmlns="{CONNECT}" xmlns:i="{INSTANCE}">{inner}</{kind}>'


def queue(entity: Entity, now: float) -> str:
    spec = entity.spec
    return _described(
        "QueueDescription", _elements([*_received(spec), *_sent(spec), *_common(spec, now)]) + _counts(entity)
    )


def subscription(entity: Entity, now: float) -> str:
    spec = entity.spec
    return _described("SubscriptionDescription", _elements([*_received(spec), *_common(spec, now)]) + _counts(entity))


def topic(entity: Topic, now: float) -> str:
    more = [("SubscriptionCount", str(len(entity.subscriptions)))]
    return _described("TopicDescription", _elements([*_sent(entity.spec), *_common(entity.spec, now), *more]))


def rule(name: str, text: str, now: float) -> str:
    kind = {"1=1": "TrueFilter", "1=0": "FalseFilter"}.get(text.replace(" ", ""), "SqlFilter")
    expression = _elements([("SqlExpression", text), ("CompatibilityLevel", "20")])
    action = '<Action i:type="EmptyRuleAction"/>'
    at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    ends = _elements([("CreatedAt", at), ("Name", name)])
    return _described("RuleDescription", f'<Filter i:type="{kind}">{expression}</Filter>{action}{ends}')


def namespace_info(name: str) -> str:
    return _described(
        "NamespaceInfo", _elements([("MessagingSKU", "Standard"), ("Name", name), ("NamespaceType", "Messaging")])
    )


def entry(title: str, description: str) -> str:
    return (
        f'<entry xmlns="{ATOM}"><title type="text">{escape(title)}</title>'
        f'<content type="application/xml">{description}</content></entry>'
    )


def feed(title: str, entries: list[str]) -> str:
    return f'<feed xmlns="{ATOM}"><title type="text">{escape(title)}</title>{"".join(entries)}</feed>'


def error(status: int, detail: str) -> str:
    return f"<Error><Code>{status}</Code><Detail>{escape(detail)}</Detail></Error>"


def read(body: str, kind: str) -> ElementTree.Element:
    """The description in an entry that was sent. Raises Unreadable."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as wrong:
        raise Unreadable(f"no XML: {wrong}") from wrong
    found = root.find(f".//{{{CONNECT}}}{kind}")
    if found is None:
        raise Unreadable(f"there is no {kind} in it")
    return found


class Fields:
    """The texts of a description, each asked for with what it is if it is left out."""

    def __init__(self, described: ElementTree.Element) -> None:
        self._texts = {child.tag.rpartition("}")[2]: child.text or "" for child in described}

    def flag(self, name: str, default: bool) -> bool:
        return self._texts[name] == "true" if name in self._texts else default

    def number(self, name: str, default: int) -> int:
        return int(self._texts[name]) if name in self._texts else default

    def span(self, name: str, default: float | None) -> float | None:
        return seconds(self._texts[name]) if name in self._texts else default

    def window(self) -> float | None:
        wanted = self.flag("RequiresDuplicateDetection", False)
        return self.span("DuplicateDetectionHistoryTimeWindow", 600.0) if wanted else None

    @property
    def enabled(self) -> bool:
        return self._texts.get("Status", "Active") == "Active"

    def queue(self, name: str) -> QueueSpec:
        return QueueSpec(
            name=name,
            lock_duration=self.span("LockDuration", 60.0) or 60.0,
            max_delivery_count=self.number("MaxDeliveryCount", 10),
            duplicate_detection=self.window(),
            ttl=self.span("DefaultMessageTimeToLive", None),
            dead_letter_on_expiration=self.flag("DeadLetteringOnMessageExpiration", False),
            requires_session=self.flag("RequiresSession", False),
            max_message_size=self.number("MaxMessageSizeInKilobytes", 256) * 1024,
            enabled=self.enabled,
        )

    def subscription(self, name: str) -> SubscriptionSpec:
        return SubscriptionSpec(
            name=name,
            lock_duration=self.span("LockDuration", 60.0) or 60.0,
            max_delivery_count=self.number("MaxDeliveryCount", 10),
            ttl=self.span("DefaultMessageTimeToLive", None),
            dead_letter_on_expiration=self.flag("DeadLetteringOnMessageExpiration", False),
            requires_session=self.flag("RequiresSession", False),
            enabled=self.enabled,
        )

    def topic(self, name: str) -> TopicSpec:
        return TopicSpec(
            name=name,
            duplicate_detection=self.window(),
            ttl=self.span("DefaultMessageTimeToLive", None),
            max_message_size=self.number("MaxMessageSizeInKilobytes", 256) * 1024,
            enabled=self.enabled,
        )
