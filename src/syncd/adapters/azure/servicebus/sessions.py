"""A receiver for entities that require sessions, which syncd never makes but serves: the next session that is free, one at a time.

A session's messages are under the session's one lock. It is renewed while any of them is held, and the session is left for the next
as soon as it gives nothing more and none of its messages is held. A broken connection ends the session: the broker hands its messages
out again, and what was held is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from azure.servicebus.exceptions import OperationTimeoutError, SessionCannotBeLockedError

from syncd.adapters.azure.servicebus import sdk
from syncd.adapters.azure.servicebus.connection import NothingThere
from syncd.adapters.azure.servicebus.link import LOST, How, Link

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver

    from syncd.adapters.azure.servicebus.leases import HeldLease
    from syncd.adapters.azure.servicebus.wire import Received

#: How long the service looks for a free session at a time. Seconds.
LOOK_FOR = 2.0
#: A session that gives no message for so long is left. Seconds.
LEAVE_AFTER = 0.2


class SessionLink(Link):
    async def take(self, count: int, patience: float, *, gap: float | None = None) -> list[ServiceBusReceivedMessage]:
        """As of any link; the messages are all of one session."""
        until = asyncio.get_running_loop().time() + patience
        while True:
            try:
                messages = await super().take(count, min(patience, LEAVE_AFTER), gap=gap or LEAVE_AFTER / 4)
            except NothingThere:
                messages = []
            if messages or asyncio.get_running_loop().time() >= until:
                return messages
            if not self.held:
                self._connection.drop()

    def settle(self, lease: HeldLease, how: How) -> asyncio.Future[bool]:
        if self._connection.handler is not None:
            return super().settle(lease, how)
        self._lose(lease)  # with its session
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(False)
        return answer

    def lock_ends(self, read: Received) -> float | None:
        return self._session_ends

    async def _open(self) -> ServiceBusReceiver:
        fresh = self._connection.handler is None
        receiver = await super()._open()
        if fresh:
            self._session_ends = sdk.session_lock(receiver)
        return receiver

    async def _renew_due(self, now: float) -> None:
        if not any(lease.renewing and now >= lease.renew_at for lease in self.held):
            return
        async with self._alone() as receiver:
            try:
                self._session_ends = await sdk.renew_session(receiver, self._patience.call)
            except LOST:
                for lease in list(self.held):
                    self._lose(lease)
                return
            self._replies += 1
            self._heard()
        for lease in self.held:
            lease.renewed(self._session_ends)

    async def _probe(self) -> None:
        """A session is left before it has been silent for long, and looking for one is a question that is answered."""

    def _recycle(self) -> None:
        """A session cannot be taken along to another connection."""

    _session_ends: float | None = None


def none_free(error: Exception) -> bool:
    """The service says that there is no session to be had. A broker that says nothing is another matter."""
    told = isinstance(error, OperationTimeoutError) and "com.microsoft:timeout" in str(error)
    return told or isinstance(error, SessionCannotBeLockedError)


def requires_sessions(error: BaseException) -> bool:
    """The entity refused a receiver without a session."""
    return "requires sessions" in str(error)
