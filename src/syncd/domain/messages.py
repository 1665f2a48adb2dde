"""The envelope: what syncd knows about a message without reading its body.

A unit of work keeps its `originId` from first send to last outcome. Every recorded outcome that is not the end sends the next
`hop`; the broker's id of a message is hash(originId)~hop, so a repeated send of one hop is absorbed where the broker dedupes,
and a new hop never is. `attempt` counts failures; throttling, waiting and continuing leave it alone.
"""

from __future__ import annotations

from dataclasses import field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from syncd.domain.ids import digest
from syncd.domain.times import DAY, iso, parse
from syncd.domain.values import immutable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from syncd.domain.jsontypes import JsonObject

Lane = Literal["high", "normal", "low"]
#: Lanes in the order in which they are offered, with their weights: of 13 leases 8 are high, 4 normal and 1 low while all wait.
LANES: dict[Lane, int] = {"high": 8, "normal": 4, "low": 1}
#: A message that has found no end after so long is parked as `expired`. Seconds.
MESSAGE_LIFETIME = 7 * DAY
#: The version of the envelope and bodies that this release writes. It reads one less and one more.
MESSAGE_SCHEMA = 1


def lane_of(priority: int) -> Lane:
    """Priorities 0-9 in three lanes: high from 7, low to 3."""
    return "high" if priority >= 7 else "low" if priority <= 3 else "normal"


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_NOTHING_NEWER: Mapping[str, str | int] = MappingProxyType({})


@immutable(kw_only=True)
class Envelope:
    """Properties of a message. Times are Unix seconds; on the wire names are camelCase and times ISO 8601."""

    kind: str
    """Which flow handles it: `webhook`, `task`, `push`, ..."""
    origin_id: str
    """Stable and readable over all hops."""
    schema: int = MESSAGE_SCHEMA
    hop: int = 0
    attempt: int = 0
    lane: Lane = "normal"
    group: str | None = None
    """`tenant:connection`: units of one group in flight are capped."""
    tenant_id: str | None = None
    connection_id: str | None = None
    registration_id: str | None = None
    event_id: str | None = None
    received_at: float | None = None
    expires_at: float | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    reservation: str | None = None
    """The turn that a limiter holds for this message."""
    resumed: bool = False
    """It was parked as exhausted, and came back by itself: the next time a person has to look."""
    body_ref: str | None = None
    """Blob that holds the body (claim check); the message's own body is then empty."""
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    """The scheme's allow-list only; never a signature or an authorization."""
    newer: Mapping[str, str | int] = field(default_factory=lambda: _NOTHING_NEWER)
    """What a newer release says beside. It goes on with every hop, for the release that knows it."""

    @property
    def broker_id(self) -> str:
        return f"{digest(self.origin_id)}~{self.hop}"

    def next_hop(
        self, *, failed: bool = False, expires_at: float | None = None, reservation: str | None = None
    ) -> Envelope:
        return replace(
            self,
            hop=self.hop + 1,
            reservation=reservation,
            attempt=self.attempt + 1 if failed else self.attempt,
            expires_at=self.expires_at if expires_at is None else expires_at,
        )

    def to_json(self) -> JsonObject:  # noqa: C901 - a list of fields, not a decision
        """The wire form; absent fields are left out. Written out because every message passes here."""
        wire: JsonObject = {"kind": self.kind, "originId": self.origin_id, "schema": self.schema, "lane": self.lane}
        if self.newer:
            wire |= self.newer
        if self.hop:
            wire["hop"] = self.hop
        if self.attempt:
            wire["attempt"] = self.attempt
        if self.group is not None:
            wire["group"] = self.group
        if self.tenant_id is not None:
            wire["tenantId"] = self.tenant_id
        if self.connection_id is not None:
            wire["connectionId"] = self.connection_id
        if self.registration_id is not None:
            wire["registrationId"] = self.registration_id
        if self.event_id is not None:
            wire["eventId"] = self.event_id
        if self.received_at is not None:
            wire["receivedAt"] = iso(self.received_at)
        if self.expires_at is not None:
            wire["expiresAt"] = iso(self.expires_at)
        if self.correlation_id is not None:
            wire["correlationId"] = self.correlation_id
        if self.traceparent is not None:
            wire["traceparent"] = self.traceparent
        if self.reservation is not None:
            wire["reservation"] = self.reservation
        if self.resumed:
            wire["resumed"] = True
        if self.body_ref is not None:
            wire["bodyRef"] = self.body_ref
        if self.headers:
            wire["headers"] = dict(self.headers)
        return wire

    @classmethod
    def from_json(cls, wire: JsonObject) -> Envelope:
        """Read the wire form. Names that are not known are kept as `newer`."""
        get = wire.get
        unknown = wire.keys() - _NAMES
        received, expires = get("receivedAt"), get("expiresAt")
        return cls(
            kind=wire["kind"],
            origin_id=wire["originId"],
            schema=get("schema", 1),
            hop=get("hop", 0),
            attempt=get("attempt", 0),
            lane=get("lane", "normal"),
            group=get("group"),
            tenant_id=get("tenantId"),
            connection_id=get("connectionId"),
            registration_id=get("registrationId"),
            event_id=get("eventId"),
            received_at=None if received is None else parse(received),
            expires_at=None if expires is None else parse(expires),
            correlation_id=get("correlationId"),
            traceparent=get("traceparent"),
            reservation=get("reservation"),
            resumed=get("resumed", False),
            body_ref=get("bodyRef"),
            headers=get("headers", _NO_HEADERS),
            newer=_newer(wire, unknown) if unknown else _NOTHING_NEWER,
        )


def _newer(wire: JsonObject, unknown: Iterable[str]) -> Mapping[str, str | int]:
    """Texts, numbers and truths under names like ours; others are those of brokers and tools on the way."""
    return {name: wire[name] for name in sorted(unknown) if name[:1].islower() and isinstance(wire[name], str | int)}


_NAMES = frozenset(
    "".join(part.title() if at else part for at, part in enumerate(one.name.split("_"))) for one in fields(Envelope)
) - {"newer"}
