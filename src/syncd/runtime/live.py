"""Live events for whoever looks: pages, server-sent events, progress bars."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager

from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import iso
from syncd.ports.clock import Clock

#: Events that one subscriber may be behind; then it loses the oldest and is told how many.
BUFFER = 500
#: Subscribers at once; each costs up to BUFFER events of memory and one append per event.
SUBSCRIBERS = 100


class LiveEvents:
    """Implements the port `Events` on one event loop. An event is `{"kind", "at", ...facts}`.

    A subscriber that fell behind gets `{"kind": "lost", "count": n}` before what is left. Subscribing beyond SUBSCRIBERS ends
    the oldest subscription: its iterator stops, and a browser that still looks subscribes again by itself.
    """

    def __init__(self, *, clock: Clock, buffer: int = BUFFER, subscribers: int = SUBSCRIBERS) -> None:
        self._clock = clock
        self._buffer = buffer
        self._most = subscribers
        self._subscriptions: dict[int, _Subscription] = {}
        self._issued = 0

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(self, kind: str, **facts: object) -> None:
        if self._subscriptions:  # nobody looks: costs nothing
            event: JsonObject = {"kind": kind, "at": iso(self._clock.now()), **facts}
            for subscription in self._subscriptions.values():
                subscription.add(event)

    def subscribe(self) -> AbstractContextManager[AsyncIterator[JsonObject]]:
        return self._subscribed()

    def close(self) -> None:
        """End every subscription; iterators stop after what they have."""
        for subscription in self._subscriptions.values():
            subscription.end()
        self._subscriptions.clear()

    @contextmanager
    def _subscribed(self) -> Iterator[AsyncIterator[JsonObject]]:
        if len(self._subscriptions) >= self._most:
            self._subscriptions.pop(next(iter(self._subscriptions))).end()
        self._issued += 1
        number, subscription = self._issued, _Subscription(self._buffer)
        self._subscriptions[number] = subscription
        try:
            yield subscription
        finally:
            self._subscriptions.pop(number, None)


class _Subscription:
    def __init__(self, size: int) -> None:
        self._events: deque[JsonObject] = deque(maxlen=size)
        self._lost = 0
        self._ended = False
        self._wake = asyncio.Event()

    def add(self, event: JsonObject) -> None:
        self._lost += len(self._events) == self._events.maxlen
        self._events.append(event)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[JsonObject]:
        return self

    async def __anext__(self) -> JsonObject:
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                return {"kind": "lost", "count": lost}
            if self._events:
                return dict(self._events.popleft())
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
