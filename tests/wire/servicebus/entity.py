"""One queue, subscription or dead-letter queue: who holds which message, by the broker's clock. No network here."""

from __future__ import annotations

import bisect
import heapq
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from tests.wire.servicebus.message import Message
from tests.wire.servicebus.refusal import ARGUMENT, LOCK_LOST, MESSAGE_NOT_FOUND, NOT_ALLOWED, TOO_LARGE, Refused
from tests.wire.servicebus.sessions import Sessions
from tests.wire.servicebus.specs import EntitySpec
from tests.wire.servicebus.stored import Stored

#: Longest message id and session id. Source: Service Bus quotas.
LONGEST_ID = 128


class Consumer(Protocol):
    """A receiving link, as the entity sees it."""

    session: str | None
    deletes: bool
    """Receive and delete: nothing is locked."""

    def ready(self) -> bool:
        """Has it credit?"""
        ...

    def deliver(self, stored: Stored) -> None: ...

    def lost_session(self) -> None: ...


class Entity:
    def __init__(
        self,
        spec: EntitySpec,
        *,
        path: str,
        now: Callable[[], float],
        numbers: Iterator[int],
        journal: Callable[..., None],
        armed: Callable[[float], None],
        dead: Entity | None = None,
    ) -> None:
        self.spec = spec
        self.path = path
        self.dead = dead
        """Its dead-letter queue; None in one."""
        self.stored: dict[int, Stored] = {}
        self.locked: dict[bytes, Stored] = {}
        self.sessions = Sessions(self)
        self.now = now
        self._numbers = numbers
        self._journal = journal
        self.armed = armed
        self._ready: list[int] = []
        self._numbered: list[int] = []
        """All sequence numbers in order, some of messages that are gone: so that a page of peeking costs a page."""
        self._consumers: deque[Consumer] = deque()
        self._timers: list[tuple[float, int, str, int, bytes]] = []
        self._seen: dict[str, float] = {}

    # Sending

    def admit(self, message: Message) -> None:
        """Raises Refused if the message may not enter."""
        if message.size > self.spec.max_message_size:
            raise Refused(
                TOO_LARGE,
                f"The message (size: {message.size} bytes) is larger than allowed ({self.spec.max_message_size})",
            )
        for name, value in (("MessageId", message.message_id), ("SessionId", message.session_id)):
            if value is not None and len(value) > LONGEST_ID:
                raise Refused(ARGUMENT, f"The {name} is longer than {LONGEST_ID} characters")
        if self.spec.requires_session and message.session_id is None:
            raise Refused(NOT_ALLOWED, f"The SessionId was not set on a message, and {self.path} requires sessions")

    def send(self, message: Message) -> int | None:
        """Its sequence number, None if its id was seen within the window. It must have been admitted."""
        if self.duplicate(message):
            return None
        now = self.now()
        due = message.scheduled_for
        scheduled = due is not None and due > now
        stored = Stored(message=message, sequence=next(self._numbers), enqueued_at=now, due=due if scheduled else None)
        self._journal("send", entity=self.path, message_id=message.message_id, sequence=stored.sequence, due=stored.due)
        if scheduled and due is not None:
            stored.state = "scheduled"
            self._keep(stored)
            self._arm(due, "due", stored.sequence)
        else:
            self._enqueue(stored, now)
        return stored.sequence

    def duplicate(self, message: Message) -> bool:
        """Was its id seen within the window? If not, it is now."""
        window, now = self.spec.duplicate_detection, self.now()
        if window is None or message.message_id is None:
            return False
        while self._seen and now - next(iter(self._seen.values())) >= window:
            del self._seen[next(iter(self._seen))]
        if message.message_id in self._seen:
            self._journal("duplicate", entity=self.path, message_id=message.message_id)
            return True
        self._seen[message.message_id] = now
        return False

    def _enqueue(self, stored: Stored, now: float) -> None:
        stored.state, stored.due, stored.enqueued_at = "active", None, now
        lives = [ttl for ttl in (stored.message.ttl, self.spec.ttl) if ttl is not None]
        if lives and self.dead is not None:
            stored.expires_at = now + min(lives)
            self._arm(stored.expires_at, "ttl", stored.sequence)
        self._keep(stored)
        self._offer(stored)
        self.dispatch()

    def _keep(self, stored: Stored) -> None:
        self.stored[stored.sequence] = stored
        if self._numbered and self._numbered[-1] > stored.sequence:
            bisect.insort(self._numbered, stored.sequence)
        else:
            self._numbered.append(stored.sequence)
        if len(self._numbered) > 1000 and len(self._numbered) > 2 * len(self.stored):
            self._numbered = sorted(self.stored)

    def put_back(self, stored: Stored) -> None:
        """Active again, at its own place."""
        self.unlock(stored)
        stored.state = "active"
        self._offer(stored)

    def _offer(self, stored: Stored) -> None:
        if self.spec.requires_session:
            self.sessions.offer(stored)
        else:
            heapq.heappush(self._ready, stored.sequence)

    # Receiving

    def attach(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        self.dispatch()

    def detach(self, consumer: Consumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        if self.spec.requires_session:
            self.sessions.release(consumer)
            self.dispatch()

    def dispatch(self) -> None:
        """Hand out what is ready, one message to each consumer with credit in turn."""
        if self.spec.requires_session:
            self.sessions.dispatch(self._consumers)
            return
        idle = 0
        while self._ready and idle < len(self._consumers):
            consumer = self._consumers[0]
            self._consumers.rotate(-1)
            if not consumer.ready():
                idle += 1
                continue
            idle = 0
            stored = self.next_ready(self._ready)
            if stored is None:
                return
            self.hand(stored, consumer)

    def next_ready(self, heap: list[int]) -> Stored | None:
        while heap:
            stored = self.stored.get(heapq.heappop(heap))
            if stored is not None and stored.state == "active":
                return stored
        return None

    def hand(self, stored: Stored, consumer: Consumer) -> None:
        if consumer.deletes:
            del self.stored[stored.sequence]
        else:
            self.lock(stored)
        self._journal("receive", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)
        consumer.deliver(stored)

    def lock(self, stored: Stored) -> None:
        stored.state, stored.token = "locked", os.urandom(16)
        self.locked[stored.token] = stored
        if stored.message.session_id is None or not self.spec.requires_session:
            self._lock_until(stored)
        else:
            stored.locked_until = self.sessions.locked_until(stored.message.session_id)

    def _lock_until(self, stored: Stored) -> None:
        assert stored.token is not None
        stored.locked_until = self.now() + self.spec.lock_duration
        self._arm(stored.locked_until, "lock", stored.sequence, stored.token)

    def unlock(self, stored: Stored) -> None:
        if stored.token is not None:
            self.locked.pop(stored.token, None)
        stored.token = stored.locked_until = None

    # Settling

    def held(self, token: bytes) -> Stored:
        self.expire()
        if (stored := self.locked.get(token)) is None:
            raise Refused(
                LOCK_LOST, "The lock supplied is invalid. Either the lock expired, or the message has been removed"
            )
        return stored

    def complete(self, token: bytes) -> None:
        stored = self.held(token)
        self.unlock(stored)
        del self.stored[stored.sequence]
        self._journal("complete", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)

    def abandon(self, token: bytes) -> None:
        stored = self.held(token)
        self._journal("abandon", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)
        self.failed(stored)
        self.dispatch()

    def release(self, token: bytes) -> None:
        """Given back unworked: the delivery does not count."""
        stored = self.held(token)
        self._journal("release", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)
        self.put_back(stored)
        self.dispatch()

    def defer(self, token: bytes) -> None:
        stored = self.held(token)
        self._journal("defer", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)
        self.unlock(stored)
        stored.failures += 1
        stored.state = "deferred"

    def dead_letter(self, token: bytes, reason: str | None, description: str | None) -> None:
        self.bury(self.held(token), reason, description)

    def renew(self, token: bytes) -> float:
        """Unix seconds until which it is locked now."""
        stored = self.held(token)
        self._lock_until(stored)
        assert stored.locked_until is not None
        self._journal("renew", entity=self.path, message_id=stored.message.message_id, sequence=stored.sequence)
        return stored.locked_until

    def failed(self, stored: Stored) -> None:
        """A delivery came to nothing: again, or too often."""
        stored.failures += 1
        if self.dead is not None and stored.failures >= self.spec.max_delivery_count:
            count = self.spec.max_delivery_count
            text = f"Message could not be consumed after {count} delivery attempts."
            self.bury(stored, "MaxDeliveryCountExceeded", text)
        else:
            self.put_back(stored)

    def bury(self, stored: Stored, reason: str | None, description: str | None) -> None:
        """Into the dead-letter queue; a message in there stays where it is."""
        self._journal("dead-letter", entity=self.path, message_id=stored.message.message_id, reason=reason)
        if self.dead is None:
            raise Refused(NOT_ALLOWED, f"{self.path} is a dead-letter queue itself")
        self.unlock(stored)
        self.stored.pop(stored.sequence, None)
        extra = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        message = stored.message.with_properties({key: value for key, value in extra.items() if value is not None})
        buried = replace(stored, message=message, state="active", expires_at=None, source=self.spec.name)
        self.dead._keep(buried)
        self.dead._offer(buried)
        self.dead.dispatch()

    # By number

    def by_number(self, sequence: int, state: str) -> Stored:
        stored = self.stored.get(sequence)
        if stored is None or stored.state != state:
            raise Refused(MESSAGE_NOT_FOUND, f"There is no {state} message with sequence number {sequence}")
        return stored

    def cancel(self, sequence: int) -> None:
        del self.stored[self.by_number(sequence, "scheduled").sequence]
        self._journal("cancel", entity=self.path, sequence=sequence)

    def peek(self, start: int, count: int, session: str | None) -> list[Stored]:
        """Oldest number first, whatever their state."""
        self.expire()
        found: list[Stored] = []
        for at in range(bisect.bisect_left(self._numbered, start), len(self._numbered)):
            if len(found) >= count:
                break
            stored = self.stored.get(self._numbered[at])
            if stored is not None and session in (None, stored.message.session_id):
                found.append(stored)
        return found

    # Time

    def _arm(self, at: float, what: str, sequence: int, token: bytes = b"") -> None:
        heapq.heappush(self._timers, (at, sequence, what, sequence, token))
        self.armed(at)
        if len(self._timers) > 1000 and len(self._timers) > 3 * len(self.stored):
            self._timers = [timer for timer in self._timers if self._stands(timer)]
            heapq.heapify(self._timers)

    def _stands(self, timer: tuple[float, int, str, int, bytes]) -> bool:
        at, _, what, sequence, token = timer
        stored = self.stored.get(sequence)
        if stored is None:
            return False
        if what == "lock":
            return stored.token == token and stored.locked_until == at
        return (stored.due if what == "due" else stored.expires_at) == at

    def next_change(self) -> float | None:
        """Unix seconds at which something runs out or falls due."""
        times = [self._timers[0][0]] if self._timers else []
        if (session := self.sessions.next_change()) is not None:
            times.append(session)
        return min(times, default=None)

    def expire(self) -> None:
        """Let everything happen whose time has come."""
        now = self.now()
        if self.spec.requires_session:
            self.sessions.expire(now)
        changed = False
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            if self._stands(timer):
                changed = True
                self._ring(timer[2], self.stored[timer[3]], now)
        if changed:
            self.dispatch()

    def _ring(self, what: str, stored: Stored, now: float) -> None:
        if what == "lock":
            self._journal("lock expired", entity=self.path, message_id=stored.message.message_id)
            self.failed(stored)
            if stored.expires_at is not None and stored.expires_at <= now and stored.state == "active":
                self._expired(stored)
        elif what == "ttl":
            # A message that somebody holds lives until it is settled or comes back.
            if stored.state != "locked":
                self._expired(stored)
        else:
            del self.stored[stored.sequence]
            stored.first_sequence = stored.sequence
            stored.sequence = next(self._numbers)
            self._enqueue(stored, now)

    def _expired(self, stored: Stored) -> None:
        if self.spec.dead_letter_on_expiration:
            self.bury(stored, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._journal("expired", entity=self.path, message_id=stored.message.message_id)
            del self.stored[stored.sequence]
