"""When to connect, and what a caller hears meanwhile: one gate per connection of ours, in front of the SDK's.

The SDK's own retries are off (`retry_total=0`): they sleep for seconds inside a call, with the connection in an unknown state.
Here a failure closes the connection, everybody who comes before `retry_at` is told the last reason at once, and the first who comes
after it connects again. Nothing runs on its own, so a broker that is away costs one attempt every few seconds at most.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessagingEntityNotFoundError

from syncd.adapters.azure.errors import mapped
from syncd.adapters.azure.servicebus import sdk
from syncd.domain.errors import Overloaded, SyncdError, Throttled, TooLarge, Unavailable
from syncd.ports.observe import Observe

Handler = TypeVar("Handler", ServiceBusReceiver, ServiceBusSender)

#: One attempt to connect. Seconds.
CONNECT_TIMEOUT = 8.0
#: One call that waits for an answer of the broker. With what it takes to connect again it has to stay below the 10 s in which a broker
#: is in use again. Seconds.
CALL_TIMEOUT = 5.0
#: Pauses between attempts: doubling from the first to the longest, each drawn between half of it and all. Seconds.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
#: A lane that does not exist is looked for again after this. Seconds.
LANE_PAUSE = 600.0
#: A good-bye to the broker that takes longer is cut off. Seconds.
CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds; tests shorten them."""

    connect: float = CONNECT_TIMEOUT
    call: float = CALL_TIMEOUT
    longest_pause: float = LONGEST_PAUSE
    probe_every: float = 4.0
    """A receiver that heard nothing for so long asks the broker something: an empty poll proves nothing (a silent broker and a
    half-open TCP connection look like an empty queue)."""
    probe: float = 3.0
    """What a probe may take; both together are what is said at CALL_TIMEOUT."""
    recycle_after: float = 3600.0
    """A receiver is replaced after so long, or after `recycle_replies`."""
    recycle_replies: int = 5000
    """Answers to renewals and peeks: its SDK hangs for ever after 10,000 (the reply link's credit is never renewed)."""
    quick: float = 0.5
    """How long a lease that does not want to wait looks for a first message: the broker is a network away."""
    quick_gap: float = 0.1
    """... and for how long after a message another must have come for the batch to go on."""
    gap: float = 0.01
    """The same for leases that wait, which take what came and ask again."""
    look: float = 0.03
    """How long a lane is asked for all that is wanted, before one message is awaited in a long poll."""
    unasked: float = 2.0
    """What is leased ahead is released when nobody has asked for so long."""
    count: float = 2.0
    """How long the administration API may take to count an entity's messages: somebody waits for a page."""
    unused: float = 150.0
    """A connection through which somebody only looked now and then is closed after so long: more than two rounds of maintenance."""


def told(error: BaseException, what: str) -> SyncdError:
    """What the port may raise: Overloaded or Unavailable, or TooLarge, which no retry makes right."""
    known = mapped(error, what=what)
    if isinstance(known, Overloaded | Unavailable | TooLarge):
        return known
    after = getattr(known, "retry_after", None)
    if isinstance(known, Throttled):
        return Overloaded(str(known), retry_after=after)
    return Unavailable(str(known), retry_after=after)


def says_missing(error: BaseException) -> bool:
    """The entity does not exist."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MessagingEntityNotFoundError):
            return True
        cause = cause.__cause__
    return False


def never(error: Exception) -> bool:
    return False


class NothingThere(Exception):
    """The broker answers, and has nothing for a receiver of this kind."""


@dataclass(slots=True)
class Connection(Generic[Handler]):
    """`make` builds the SDK's receiver or sender; nothing is sent before `open`."""

    entity: str
    make: Callable[[], Handler]
    observe: Observe
    patience: Patience
    optional: bool = False
    """That the entity does not exist is no news."""
    is_nothing: Callable[[Exception], bool] = never
    """Whether an error of connecting only says that there is nothing to connect to now: then it raises NothingThere."""
    handler: Handler | None = None
    opened_at: float = 0.0
    _socket: asyncio.StreamWriter | None = None
    _error: SyncdError | None = None
    _failed_at: float = 0.0
    _retry_at: float = 0.0
    _pause: float = FIRST_PAUSE
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def error(self) -> SyncdError | None:
        """Why it is not connected; None where it is, or was never tried."""
        return self._error

    async def open(self) -> Handler:
        """The open receiver or sender. Raises what `told` gives; at once while the last failure is fresh."""
        if self.handler is not None:
            return self.handler
        now = asyncio.get_running_loop().time()
        if self._error is not None and now < self._retry_at:
            raise self._again(self._retry_at - now)
        handler = self.make()
        clients = sdk.clients_of(handler)
        try:
            async with asyncio.timeout(self.patience.connect):
                await handler.__aenter__()
                await sdk.confirm(handler)
        except BaseException as error:  # also a cancellation leaves no socket behind
            sdk.abort(handler)
            for client in clients:
                sdk.cut(sdk.socket_of(client))
            if not isinstance(error, Exception):
                raise
            if self.is_nothing(error):
                raise NothingThere from error
            raise self.failed(error, "connecting") from error
        self.handler = handler
        self._socket = sdk.socket_of(handler)
        self.opened_at = asyncio.get_running_loop().time()
        if self._error is not None and not (self.optional and says_missing(self._error)):
            self.observe("broker_back", entity=self.entity, seconds=self.opened_at - self._failed_at)
        self._error = None
        return handler

    def retry_now(self) -> None:
        """The failure was of a connection that had been idle; the next one may be made at once."""
        self._retry_at = 0.0

    def proved(self) -> None:
        """The broker answered: the next failure is a first one."""
        self._pause = FIRST_PAUSE

    def failed(self, error: Exception, doing: str) -> SyncdError:
        """Note a failure and close what is open; the error to raise."""
        now = asyncio.get_running_loop().time()
        known = told(error, f"Service Bus {self.entity}: {doing}")
        known.__cause__ = error if known is not error else error.__cause__
        busy = isinstance(known, Overloaded)
        if busy:
            self.observe("broker_busy", entity=self.entity, doing=doing)
            if self.handler is not None and sdk.attached(self.handler):
                return known  # the connection is sound, and whoever asked knows how long to wait
        if self._error is None:
            self._failed_at = now
            if not (busy or (self.optional and says_missing(known))):
                self.observe("broker_unreachable", entity=self.entity, doing=doing, error=known)
        self._error = known
        if self.optional and says_missing(known):
            pause = LANE_PAUSE
        else:
            pause = max(self._pause, getattr(known, "retry_after", None) or 0.0)
            self._pause = min(self._pause * 2, self.patience.longest_pause)
        self._retry_at = now + pause * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
        if isinstance(known, Unavailable) and known.retry_after is None:
            known.retry_after = self._retry_at - now
        self.drop()
        return known

    def drop(self) -> None:
        """Close what is open, without waiting for it."""
        handler, self.handler = self.handler, None
        if handler is not None:
            task = asyncio.get_running_loop().create_task(_close(handler, self._socket))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        self.drop()
        if self._closing:
            await asyncio.wait(list(self._closing))

    def _again(self, seconds: float) -> SyncdError:
        error = self._error
        assert error is not None
        kind = Overloaded if isinstance(error, Overloaded) else Unavailable
        again = kind(str(error), retry_after=seconds)
        again.__cause__ = error.__cause__
        return again


async def _close(handler: ServiceBusReceiver | ServiceBusSender, socket: asyncio.StreamWriter | None) -> None:
    sdk.hasten(handler)
    with suppress(Exception):  # it is being thrown away, and the reason for that has been told
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await handler.close()
    sdk.abort(handler)
    sdk.cut(socket)
