"""One queue as a producer: each message goes to the entity of its lane, where that exists."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence

from syncd.adapters.azure.servicebus.connection import LANE_PAUSE, says_missing
from syncd.adapters.azure.servicebus.iothread import Reply
from syncd.adapters.azure.servicebus.outbox import Outbox
from syncd.adapters.azure.servicebus.wire import LONGEST_ID, Wire
from syncd.domain.errors import SyncdError
from syncd.domain.ids import digest
from syncd.domain.messages import Lane
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Message


class Sending:
    def __init__(
        self,
        outboxes: Mapping[Lane, Outbox],
        *,
        post: Callable[[Callable[[], object]], None],
        wire: Wire,
        clock: Clock,
        observe: Observe,
    ) -> None:
        """`post`: run something on the I/O thread, from any thread."""
        self._outboxes = outboxes
        self._post = post
        self._wire = wire
        self._clock = clock
        self._observe = observe
        self._tasks: set[asyncio.Task[None]] = set()
        self._absent_until: dict[Lane, float] = {}
        self._sessions = False
        """The entity requires sessions, as it has said when it refused a message without."""

    @property
    def lanes_exist(self) -> bool:
        return len(self._outboxes) > 1 and not self._absent_until

    def connect(self) -> None:
        """On the I/O thread: begin to connect to where nearly all goes."""
        self._outboxes["normal"].connect()

    def send(self, messages: Sequence[Message], reply: Reply[None]) -> None:
        """On the caller's loop. One lane, as nearly always, is written here and wakes the I/O thread only where that has nothing to
        do. Raises Overloaded, and Invalid where one of them cannot be written; then none is sent."""
        if self._sessions or any(message.envelope.lane != "normal" for message in messages):
            self._post(lambda: self._start(messages, reply))
            return

        def tell(error: SyncdError | None) -> None:
            if error is None:
                reply.give(None)
            elif _wants_session(error):
                self._sessions = True
                self._start(messages, reply)
            else:
                reply.fail(error)

        self._put("normal", messages, tell)

    def _start(self, messages: Sequence[Message], reply: Reply[None]) -> None:
        task = asyncio.get_running_loop().create_task(self._send_and_tell(messages, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_and_tell(self, messages: Sequence[Message], reply: Reply[None]) -> None:
        try:
            await self._send(messages)
        except SyncdError as error:
            reply.fail(error)
        else:
            reply.give(None)

    async def _send(self, messages: Sequence[Message], *, repeated: bool = False, session: str | None = None) -> None:
        by_lane: dict[Lane, list[Message]] = {}
        for message in messages:
            by_lane.setdefault(self._lane(message), []).append(message)
        for lane, group in by_lane.items():
            try:
                await self._sent(lane, group, repeated=repeated, session=session)
            except SyncdError as error:
                if lane != "normal" and says_missing(error):
                    self._absent_until[lane] = asyncio.get_running_loop().time() + LANE_PAUSE
                    self._observe("lane_absent", entity=self._outboxes[lane].entity)
                    await self._sent("normal", group, repeated=repeated, session=session)
                elif _wants_session(error) and not self._sessions:
                    self._sessions = True
                    await self._sent(lane, group, repeated=repeated, session=session)
                else:
                    raise

    async def send_next(self, message: Message, *, session: str | None) -> None:
        """The next hop, in the session of the one before."""
        await self._send([message], repeated=True, session=session)

    async def _sent(
        self, lane: Lane, messages: Sequence[Message], *, repeated: bool = False, session: str | None = None
    ) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(error: SyncdError | None) -> None:
            if done.done():
                return  # whoever waited was cancelled
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._put(lane, messages, tell, repeated=repeated, session=session)
        await done

    def _put(
        self,
        lane: Lane,
        messages: Sequence[Message],
        tell: Callable[[SyncdError | None], object],
        *,
        repeated: bool = False,
        session: str | None = None,
    ) -> None:
        """Raises Invalid where one of them cannot be written; then none is sent."""
        now = self._clock.now()
        written = [
            self._wire.outgoing(
                message,
                now=now,
                repeated=repeated,
                session=session or (session_of(message) if self._sessions else None),
            )
            for message in messages
        ]
        self._outboxes[lane].send(written, tell)

    def _lane(self, message: Message) -> Lane:
        lane = message.envelope.lane
        if lane not in self._outboxes:
            return "normal"
        if self._absent_until:
            if asyncio.get_running_loop().time() < self._absent_until.get(lane, -math.inf):
                return "normal"
            self._absent_until.pop(lane, None)
        return lane

    async def close(self) -> None:
        await asyncio.gather(*(outbox.close() for outbox in self._outboxes.values()))


def session_of(message: Message) -> str:
    """The session of a message for an entity that requires one: the integration, as existing producers have it; else what keeps the
    messages of one connection, or at least of one unit of work, together."""
    integration: object = None
    if message.body[:1] == b"{":
        try:
            integration = json.loads(message.body).get("integrationId")
        except ValueError:
            integration = None
    envelope = message.envelope
    session = integration if isinstance(integration, str) and integration else envelope.group or envelope.origin_id
    return session if len(session) <= LONGEST_ID else digest(session)


def _wants_session(error: BaseException) -> bool:
    return "sessionid was not set" in str(error).lower()
