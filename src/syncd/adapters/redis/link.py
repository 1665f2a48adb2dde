"""The one connection to Redis: what many callers ask at the same time goes out together, and is answered in order.

    cut off  --connected, script loaded, memory looked at-->  up  --silent, refusing or gone-->  cut off

A connection that breaks (idle for too long, killed) is opened again at once and what was not answered is sent again, once: each call
carries its own id, so the script does not charge it twice. Where that fails, callers hear CutOff until Redis is back. Every new
connection looks at Redis's memory before the first call: it may be another Redis, or the same one after a restart.

redis-py opens the connection (TLS, login, database) and reads the answers; it never reconnects by itself here, because then the look
would be missing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import NoPermissionError, NoScriptError, RedisError, ResponseError

from syncd.adapters.redis.commands import SCRIPT
from syncd.domain.errors import Invalid, ServerFault
from syncd.ports.clock import Clock

#: Calls sent together at most: the rest waits for the next turn, and is not lost with this one.
_TOGETHER = 256
#: Between attempts to connect: the first and the longest wait, seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 2.0
_BROKEN = (RedisError, OSError, EOFError, TimeoutError)
#: An error that names the state of the server (READONLY, LOADING, OOM, MOVED ...) rather than a fault of one call.
_STATE = re.compile(r"[A-Z]{3,} ")


class CutOff(Exception):
    """Redis does not answer, or cannot decide."""


class Connection(Protocol):
    """What is used of redis-py's, which has not annotated all of it."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_command(self, *command: str | bytes) -> None: ...
    async def send_packed_command(self, command: bytes | Iterable[bytes]) -> None: ...
    async def read_response(self, disable_decoding: bool = False) -> bytes | int: ...


@dataclass(eq=False, slots=True)
class _Call:
    command: bytes
    answer: asyncio.Future[bytes]
    sent: bool = False
    """And then the connection broke."""


class Link:
    """`greet` is called with each new connection before any call, and raises where it may not be used. `timeout` bounds a turn of
    calls and `connecting` a new connection; seconds of the machine, whatever `clock` says."""

    def __init__(
        self,
        *,
        url: str,
        clock: Clock,
        timeout: float,
        connecting: float,
        greet: Callable[[Greeting], Awaitable[None]],
        lost: Callable[[str], None],
        returned: Callable[[], None],
    ) -> None:
        self._pool = pool_of(url)
        self._clock = clock
        self._timeout = timeout
        self._connecting = connecting
        self._greet, self._lost, self._returned = greet, lost, returned
        self._waiting: list[_Call] = []
        self._flying: list[_Call] = []
        self._wake = asyncio.Event()
        self._answered = 0
        self.up = False
        self.tried = asyncio.Event()
        """Set after the first attempt to connect, however it ended."""

    def post(self, command: bytes) -> asyncio.Future[bytes]:
        """The answer to come. Raises CutOff at once, or later through the future; then the call may have been made all the same."""
        if not self.up:
            raise CutOff
        call = _Call(command, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._wake.set()
        return call.answer

    async def run(self) -> None:
        """For as long as the limiter is open. Ends only by being cancelled."""
        wait, at_once = _FIRST_WAIT, False
        try:
            while True:
                answered = self._answered
                try:
                    await self._once()
                except TimeoutError:
                    self._cut_off(f"no answer within {self._timeout:g} s")
                except _BROKEN as error:
                    # One that worked is opened again before anybody hears of it.
                    at_once = self.up and self._answered > answered
                    if not at_once:
                        self._cut_off(reason_of(error))
                # Whatever a library raises, a replica goes on by its share, and tries again.
                except Exception as error:  # noqa: BLE001 - see above; the reason is in the log and in health
                    self._cut_off(reason_of(error))
                self.tried.set()
                if self._answered > answered:
                    wait = _FIRST_WAIT
                if not at_once:
                    await self._clock.sleep(wait)
                    wait = min(2 * wait, _LONGEST_WAIT)
                at_once = False
        finally:
            self.up = False
            self.tried.set()
            self._fail()

    async def _once(self) -> None:
        """One connection, from beginning to end."""
        connection = connection_of(self._pool)
        try:
            # Whoever waits while a broken connection is opened again waits no longer than for an answer.
            async with asyncio.timeout(self._timeout if self.up else self._connecting):
                await connection.connect()
                greeting = Greeting(connection)
                await greeting.ask("SCRIPT", "LOAD", SCRIPT)
                await self._greet(greeting)
            if not self.up:
                self.up = True
                self._returned()
            self.tried.set()
            while True:
                await self._turn(connection)
        finally:
            await connection.disconnect(nowait=True)

    async def _turn(self, connection: Connection) -> None:
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        self._flying, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        unknown: list[_Call] = []
        try:
            async with asyncio.timeout(self._timeout):
                await connection.send_packed_command([call.command for call in self._flying])
                unknown = [call for call in self._flying if not await self._read(connection, call)]
                if unknown:
                    await Greeting(connection).ask("SCRIPT", "LOAD", SCRIPT)
        except BaseException:
            unanswered = [call for call in self._flying if not call.answer.done()]
            for call in unanswered:
                if call.sent:
                    call.answer.set_exception(CutOff())
                call.sent = True
            unknown = [call for call in unanswered if not call.answer.done()]
            raise
        finally:
            self._flying = []
            self._waiting[:0] = unknown

    async def _read(self, connection: Connection, call: _Call) -> bool:
        """Whether Redis knew the script; after SCRIPT FLUSH or on another server it does not, and the call was not made."""
        try:
            answer = await connection.read_response(disable_decoding=True)
        except NoScriptError:
            return call.answer.done()
        except ResponseError as error:
            if type(error) is not ResponseError or _STATE.match(str(error)):
                raise
            if not call.answer.done():
                call.answer.set_exception(ServerFault(f"the limiter's script failed: {error}"))
            return True
        if not call.answer.done():  # the caller may have gone
            call.answer.set_result(_as_bytes(answer))
        self._answered += 1
        return True

    def _cut_off(self, reason: str) -> None:
        self.up = False
        self._lost(reason)
        self._fail()

    def _fail(self) -> None:
        calls, self._waiting, self._flying = [*self._flying, *self._waiting], [], []
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(CutOff())


class Greeting:
    """A connection that nobody else uses yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(self, *command: str | bytes) -> bytes:
        await self._connection.send_command(*command)
        return _as_bytes(await self._connection.read_response(disable_decoding=True))

    async def run(self, packed: bytes) -> bytes:
        await self._connection.send_packed_command(packed)
        return _as_bytes(await self._connection.read_response(disable_decoding=True))

    async def info(self, section: str) -> bytes:
        """Nothing where this login may not ask."""
        try:
            return await self.ask("INFO", section)
        except NoPermissionError:
            return b""


def _as_bytes(answer: bytes | int) -> bytes:
    return answer if isinstance(answer, bytes) else b"%d" % answer


def pool_of(url: str) -> ConnectionPool:
    """Raises Invalid, without the address: it may hold a password."""
    try:
        # RESP2: one answer is one bulk string, and nothing is pushed. The time limits are ours. To tell Redis the library's version,
        # redis-py would read it from disk, on the event loop.
        return ConnectionPool.from_url(url, protocol=2, socket_timeout=None, driver_info=None)
    except (ValueError, TypeError) as error:
        rule = "redis://, rediss:// or unix://"
        raise Invalid(f"redis.url must be an address that begins with {rule}", errors={"redis.url": rule}) from error


def connection_of(pool: ConnectionPool) -> Connection:
    """Not the pool's: it opens connections again without saying so."""
    made: Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has not annotated this one
    return made


def reason_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
