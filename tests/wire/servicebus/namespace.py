"""The namespace: its entities by path, its clock, and the log of what happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol
from urllib.parse import unquote

from tests.wire.servicebus.entity import Entity
from tests.wire.servicebus.message import Message
from tests.wire.servicebus.refusal import DISABLED, NOT_ALLOWED, NOT_FOUND, Refused
from tests.wire.servicebus.specs import EntitySpec, QueueSpec, SubscriptionSpec, TopicSpec
from tests.wire.servicebus.sqlfilter import Filter

DEAD_LETTERS = "/$deadletterqueue"
MANAGEMENT = "/$management"


class Time(Protocol):
    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Wall:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # the machine's own time, when no clock was injected


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log."""

    at: float
    what: str
    """`send`, `duplicate`, `receive`, `complete`, `abandon`, `release`, `defer`, `dead-letter`, `renew`, `lock expired`,
    `expired`, `cancel`, `management`, `attach`, `detach`, `drain`, `open`, `close`, `token`,
    `waiting for a session`, `refused`, `protocol error`."""
    facts: dict[str, object]

    def __getattr__(self, name: str) -> object:
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None


class Topic:
    def __init__(self, spec: TopicSpec, guard: Entity) -> None:
        self.spec = spec
        self.guard = guard
        """Never holds a message: admits them, and remembers ids."""
        self.subscriptions: dict[str, tuple[Entity, dict[str, Filter]]] = {}


class Namespace:
    """Names are compared without regard to case, as the service does."""

    def __init__(self, clock: Time | None = None, *, record: bool = True) -> None:
        self._clock = clock or Wall()
        self._ahead = 0.0
        self._numbers = count(1)
        self.log: list[Happening] = []
        self.record = record
        self.watchers: list[Callable[[], None]] = []
        """Called after each line of the log."""
        self.queues: dict[str, Entity] = {}
        self.topics: dict[str, Topic] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when an entity is removed or disabled: links to it are detached."""
        self.on_time: Callable[[], None] = lambda: None
        """Called when the clock was moved: idle links are detached."""
        self._next = float("inf")
        self._sooner = asyncio.Event()

    # Time

    def now(self) -> float:
        return self._clock.now() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self.expire()
        self.on_time()
        self._sooner.set()

    def expire(self) -> None:
        for entity in self.entities():
            entity.expire()

    def next_change(self) -> float | None:
        times = (entity.next_change() for entity in self.entities())
        return min((at for at in times if at is not None), default=None)

    def armed(self, at: float) -> None:
        """Something will happen at this time."""
        if at < self._next:
            self._sooner.set()

    async def run(self) -> None:
        """Let things happen when they are due, also while nobody asks. Ends when it is cancelled."""
        while True:
            self._sooner.clear()
            due = self.next_change()
            self._next = float("inf") if due is None else due
            # Either the time comes, or something is armed that is due sooner.
            waits = [asyncio.ensure_future(self._sooner.wait())]
            if due is not None:
                waits.append(asyncio.ensure_future(self._clock.sleep(max(0.0, due - self.now()))))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            self.expire()

    def note(self, what: str, **facts: object) -> None:
        if self.record:
            self.log.append(Happening(self.now(), what, facts))
            for watcher in self.watchers:
                watcher()

    # Entities

    def entities(self) -> Iterable[Entity]:
        for entity in self._live():
            yield entity
            if entity.dead is not None:
                yield entity.dead

    def _live(self) -> Iterable[Entity]:
        yield from list(self.queues.values())
        for topic in list(self.topics.values()):
            for entity, _ in list(topic.subscriptions.values()):
                yield entity

    def _entity(self, spec: EntitySpec, path: str, *, with_dead: bool = True) -> Entity:
        dead = None
        if with_dead:
            plain = replace(spec, duplicate_detection=None, requires_session=False, ttl=None)
            dead = self._entity(plain, f"{path}/$DeadLetterQueue", with_dead=False)
        return Entity(
            spec, path=path, now=self.now, numbers=self._numbers, journal=self.note, armed=self.armed, dead=dead
        )

    def add_queue(self, spec: QueueSpec) -> Entity:
        entity = self.queues[spec.name.lower()] = self._entity(spec, spec.name)
        return entity

    def add_topic(self, spec: TopicSpec) -> Topic:
        guard = EntitySpec(
            name=spec.name,
            duplicate_detection=spec.duplicate_detection,
            max_message_size=spec.max_message_size,
            ttl=spec.ttl,
        )
        topic = self.topics[spec.name.lower()] = Topic(spec, self._entity(guard, spec.name, with_dead=False))
        for subscription in spec.subscriptions:
            self.add_subscription(spec.name, subscription)
        return topic

    def add_subscription(self, topic: str, spec: SubscriptionSpec) -> Entity:
        parent = self.topics[topic.lower()]
        entity = self._entity(spec, f"{parent.spec.name}/Subscriptions/{spec.name}")
        parent.subscriptions[spec.name.lower()] = entity, {"$Default": Filter(spec.rule)}
        return entity

    def remove(self, path: str) -> None:
        """The entity and its messages are gone."""
        name = path.lower()
        if "/subscriptions/" in name:
            topic, _, subscription = name.partition("/subscriptions/")
            del self.topics[topic].subscriptions[subscription]
        elif name in self.topics:
            del self.topics[name]
        else:
            del self.queues[name]
        self.on_change()

    def enable(self, path: str, *, enabled: bool) -> None:
        if path.lower() in self.topics:
            topic = self.topics[path.lower()]
            topic.spec = replace(topic.spec, enabled=enabled)
        else:
            for entity in (self.source(path), self.source(path).dead):
                if entity is not None:
                    entity.spec = replace(entity.spec, enabled=enabled)
        self.on_change()

    # What a link's address means

    def source(self, path: str) -> Entity:
        """What one receives from. Raises Refused."""
        name = path.lower()
        dead = name.endswith(DEAD_LETTERS)
        if dead:
            name = name.removesuffix(DEAD_LETTERS)
        topic, _, subscription = name.partition("/subscriptions/")
        entity: Entity | None
        if subscription:
            parent = self.topics.get(topic)
            entity = parent.subscriptions[subscription][0] if parent and subscription in parent.subscriptions else None
        else:
            entity = self.queues.get(name)
        if dead and entity is not None:
            entity = entity.dead
        if entity is None and name in self.topics:
            raise Refused(NOT_ALLOWED, f"'{path}' is a topic: receive from one of its subscriptions")
        if entity is None:
            raise Refused(NOT_FOUND, f"The messaging entity '{path}' could not be found")
        return entity

    def usable(self, path: str) -> Entity:
        entity = self.source(path)
        if not entity.spec.enabled:
            raise Refused(DISABLED, f"The messaging entity '{path}' is disabled")
        return entity

    def exists(self, path: str) -> None:
        """Raises Refused if there is no such entity, disabled or not."""
        if path.lower() not in self.topics:
            self.source(path)

    def target(self, path: str) -> Entity | Topic:
        """What one sends to. Raises Refused."""
        name = path.lower()
        topic = self.topics.get(name)
        if topic is None:
            entity = self.usable(path)
            if name.endswith(DEAD_LETTERS) or "/subscriptions/" in name:
                raise Refused(NOT_ALLOWED, f"Nothing can be sent to '{path}': only the service puts messages there")
            return entity
        if not topic.spec.enabled:
            raise Refused(DISABLED, f"The messaging entity '{path}' is disabled")
        return topic

    def send(self, path: str, messages: list[Message]) -> list[int | None]:
        """All or none. Raises Refused."""
        target = self.target(path)
        gate = target.guard if isinstance(target, Topic) else target
        for message in messages:
            gate.admit(message)
        gate.expire()
        if isinstance(target, Entity):
            return [target.send(message) for message in messages]
        return [_fan_out(target, message) for message in messages]


def _fan_out(topic: Topic, message: Message) -> int | None:
    if topic.guard.duplicate(message):
        return None
    number = None
    for entity, rules in topic.subscriptions.values():
        if any(rule.matches(message) for rule in rules.values()):
            number = entity.send(message)
    return number


def entity_path(address: str) -> str:
    """`amqps://host:port/queue` or `queue`: the path alone."""
    _, separator, rest = address.partition("://")
    path = rest.partition("/")[2] if separator else address
    return unquote(path.strip("/"))
