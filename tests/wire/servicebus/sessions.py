"""The sessions of an entity that requires them: at most one consumer each, and their messages in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.wire.servicebus.refusal import SESSION_LOCK_LOST, SESSION_TAKEN, Refused
from tests.wire.servicebus.stored import Stored

if TYPE_CHECKING:
    from tests.wire.servicebus.entity import Consumer, Entity


@dataclass(slots=True, kw_only=True)
class Session:
    name: str
    ready: list[int] = field(default_factory=list)
    holder: Consumer | None = None
    locked_until: float = 0.0
    state: bytes | None = None
    updated_at: float = 0.0


class Sessions:
    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self.by_name: dict[str, Session] = {}
        self.waiting: list[Callable[[], bool]] = []
        """Receivers that wait for the next free session; each answers whether its wait is over."""

    def _session(self, name: str) -> Session:
        return self.by_name.setdefault(name, Session(name=name))

    def offer(self, stored: Stored) -> None:
        if stored.message.session_id is not None:
            heapq.heappush(self._session(stored.message.session_id).ready, stored.sequence)

    def accept(self, name: str | None, consumer: Consumer) -> Session | None:
        """Lock the session, or for None the one with the oldest message that nobody holds; None if there is none."""
        if name is None:
            free = [session for session in self.by_name.values() if session.holder is None and self._waiting(session)]
            if not free:
                return None
            session = min(free, key=lambda each: each.ready[0])
        else:
            session = self._session(name)
            if session.holder is not None:
                raise Refused(
                    SESSION_TAKEN, f"The requested session {name!r} cannot be accepted: another receiver holds it"
                )
        session.holder = consumer
        session.locked_until = self._entity.now() + self._entity.spec.lock_duration
        self._entity.armed(session.locked_until)
        return session

    def _waiting(self, session: Session) -> bool:
        stored = self._entity.stored
        while session.ready and (session.ready[0] not in stored or stored[session.ready[0]].state != "active"):
            heapq.heappop(session.ready)
        return bool(session.ready)

    def held(self, name: str, consumer: Consumer | None = None) -> Session:
        session = self.by_name.get(name)
        if session is None or session.holder is None or (consumer is not None and session.holder is not consumer):
            raise Refused(SESSION_LOCK_LOST, f"The session lock of {name!r} has expired. Accept a new session")
        return session

    def locked_until(self, name: str) -> float:
        return self._session(name).locked_until

    def renew(self, name: str) -> float:
        session = self.held(name)
        session.locked_until = self._entity.now() + self._entity.spec.lock_duration
        for stored in self._locked(name):
            stored.locked_until = session.locked_until
        return session.locked_until

    def _locked(self, name: str) -> list[Stored]:
        return [stored for stored in self._entity.locked.values() if stored.message.session_id == name]

    def release(self, consumer: Consumer) -> None:
        """The consumer left: its sessions are free, its messages back in place, and their deliveries do not count."""
        for session in self.by_name.values():
            if session.holder is consumer:
                session.holder = None
                for stored in self._locked(session.name):
                    self._entity.put_back(stored)

    def dispatch(self, consumers: Iterable[Consumer]) -> None:
        for waiting in list(self.waiting):
            if waiting in self.waiting and waiting():
                self.waiting.remove(waiting)
        for consumer in list(consumers):
            session = self.by_name.get(consumer.session or "")
            while session is not None and session.holder is consumer and consumer.ready():
                stored = self._entity.next_ready(session.ready)
                if stored is None:
                    break
                self._entity.hand(stored, consumer)

    def listed(self, since: float, skip: int, top: int) -> list[str]:
        """Sessions with messages or state, those whose state changed after `since`; `since` in the far future means all."""
        names = [
            each.name
            for each in self.by_name.values()
            if each.state is not None or self._waiting(each) or self._locked(each.name)
            if since > self._entity.now() or each.updated_at > since
        ]
        return sorted(names)[skip : skip + top]

    def set_state(self, name: str, state: bytes | None) -> None:
        session = self.held(name)
        session.state, session.updated_at = state, self._entity.now()

    def next_change(self) -> float | None:
        return min((each.locked_until for each in self.by_name.values() if each.holder is not None), default=None)

    def expire(self, now: float) -> None:
        for session in list(self.by_name.values()):
            holder = session.holder
            if holder is not None and session.locked_until <= now:
                session.holder = None
                for stored in self._locked(session.name):
                    self._entity.failed(stored)
                holder.lost_session()
