"""One SQLite file behind one writer thread.

    loop:    await write(handler, item)  ->  inbox  --one wake-up per loop iteration-->  writer thread
    writer:  take everything that is there -> BEGIN -> each handler once, with all its items -> COMMIT (fsync) -> answers

Group commit: one fsync serves all who arrived meanwhile, so throughput grows with the load and a lone write still takes one
fsync. Requests that are in the inbox together are concurrent by definition (each caller awaits its answer), so they may run in
any order: all items of one handler run as one call, which is what makes set-at-a-time SQL possible. Where a handler raises, the
transaction is done again with a savepoint around each handler, and that handler's items one by one: nobody fails for a neighbour.

An answer is given only after COMMIT with `synchronous=FULL` returned: what was answered survives a power cut. A transaction in which
nobody asks for that (`durable=False`: leases, what is told again anyway) is not synced. It survives every death of the process all the
same, and the next one that is synced takes it along, because the log is one file in order.
Checkpoints (copying the log into the file) run on their own thread, so that no commit waits for them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from syncd.adapters.embedded.files import Checkpointer, connect
from syncd.adapters.embedded.readers import Answer, Readers, mapped_or_same, resolve
from syncd.domain.errors import Overloaded
from syncd.ports.observe import Observe, ignore

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
#: Runs on the writer thread inside the open transaction; one answer per item, an Exception for an item it left undone.
Handler = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | Exception]]
#: Handlers of different items share one inbox: what belongs together is checked where it enters, in `write`.
_AnyHandler = Handler[Any, Any]
#: One waiting request: handler, item, size in bytes, who waits, is it to survive a power cut.
_Request = tuple[_AnyHandler, object, int, "asyncio.Future[Any]", bool]  # Any: see _AnyHandler

READERS = 3
#: After a commit that served SIBLINGS or more, and while less than half as many are here again, the writer lets others arrive for
#: COMMIT_DELAY seconds before it begins the next: under load that makes fewer and larger transactions, and a lone write never
#: waits. (PostgreSQL knows the same pair of settings.)
SIBLINGS = 4
COMMIT_DELAY = 0.001


class Engine:
    """Open with `Engine.open`; every method is called on the loop that opened it."""

    def __init__(self, path: Path, *, durable: bool, observe: Observe, inbox_operations: int, inbox_bytes: int) -> None:
        self.path = path
        self._durable = self._synced = durable
        self._observe = observe
        self._limits = (inbox_operations, inbox_bytes)
        self._loop = asyncio.get_running_loop()
        self._gathering: list[_Request] = []
        self._waiting = [0, 0]  # operations and bytes that have no answer yet
        self._inbox: deque[_Request] = deque()
        self._wake = Signal()
        self._closing = False
        self._hurry = threading.Event()
        self._effects: list[Callable[[], None]] = []
        self.fault: Exception | None = None
        """Why the last transaction failed; None while they succeed."""
        self._writer: threading.Thread | None = None
        self._readers: Readers | None = None
        self._checkpointer: Checkpointer | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        durable: bool = True,
        observe: Observe = ignore,
        inbox_operations: int = 50_000,
        inbox_bytes: int = 256 * 1024 * 1024,
    ) -> Engine:
        """Open or create the file and run `prepare` (schema, recovery) in one transaction. Raises StoreUnusable.

        `durable=False` leaves out fsync, for tests that open hundreds of stores.
        """
        engine = cls(path, durable=durable, observe=observe, inbox_operations=inbox_operations, inbox_bytes=inbox_bytes)
        connection = await asyncio.to_thread(connect, path, prepare, durable=durable)
        engine._readers = Readers(path, READERS, engine._loop)
        engine._checkpointer = Checkpointer(path, durable=durable)
        engine._writer = threading.Thread(target=engine._run, args=(connection,), name="sqlite-writer", daemon=True)
        engine._writer.start()
        return engine

    async def write(self, handler: Handler[Item, Result], item: Item, *, size: int = 0, durable: bool = True) -> Result:
        """Run `handler` for `item` in the next transaction; returns after it is durable, or, with `durable` false, committed: safe from
        the end of this process, and not from that of the machine.

        `size` is about how many bytes the item keeps in memory. Raises Overloaded when the inbox is full.
        """
        if self._closing:
            raise Overloaded("the store is closing", retry_after=1.0)
        waiting = self._waiting
        if waiting[0] >= self._limits[0] or waiting[1] + size > self._limits[1]:
            raise Overloaded(
                f"{waiting[0]} writes ({waiting[1]} bytes) are waiting for the disk that holds {self.path}",
                retry_after=1.0,
            )
        waiting[0] += 1
        waiting[1] += size
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._gathering:
            self._loop.call_soon(self._hand_over)
        self._gathering.append((handler, item, size, future, durable))
        return await future

    async def read(self, function: Callable[[sqlite3.Connection, *Arguments], Result], *args: *Arguments) -> Result:
        """Run `function` on a read-only connection; it sees everything that was answered before."""
        assert self._readers
        return await self._readers.submit(function, *args)

    def after_commit(self, effect: Callable[[], None]) -> None:
        """For handlers: run `effect` on the writer thread once the transaction is durable; not at all if it fails."""
        self._effects.append(effect)

    async def close(self) -> None:
        """Finish what was accepted, then close. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._hurry.set()
        self._hand_over()
        self._wake.set()
        for thread in (self._writer, self._readers, self._checkpointer):
            if thread is not None:
                await asyncio.to_thread(thread.join)

    def _hand_over(self) -> None:
        if self._gathering:
            self._inbox.extend(self._gathering)
            self._gathering.clear()
            self._wake.set()

    # -- the writer thread --------------------------------------------------------------------------------------------

    def _run(self, connection: sqlite3.Connection) -> None:
        inbox, wake = self._inbox, self._wake
        crowd = 0
        while True:
            wake.wait()
            if crowd >= SIBLINGS and len(inbox) < crowd // 2:
                self._hurry.wait(COMMIT_DELAY)
            requests: list[_Request] = []
            while inbox:
                requests.append(inbox.popleft())
            crowd = len(requests)
            if requests:
                started = time.perf_counter()
                answers = self._commit(connection, requests)
                self._deliver(requests, answers)
                self._observe("engine_commit", operations=len(requests), duration=time.perf_counter() - started)
                assert self._checkpointer
                self._checkpointer.written(connection)
            if self._closing and not inbox:
                connection.close()
                return

    def _commit(self, connection: sqlite3.Connection, requests: list[_Request]) -> list[Answer]:
        groups: dict[_AnyHandler, list[_Request]] = {}
        for request in requests:
            groups.setdefault(request[0], []).append(request)
        # Nearly always all goes well, and a savepoint costs two more trips between threads. Where something fails, nobody has been
        # answered yet: all of it is done again, each handler guarded by its own savepoint.
        for attempt in (self._together, self._guarded):
            self._effects.clear()
            answers: list[Answer] = []
            try:
                self._sync(connection, any(request[4] for request in requests))
                connection.execute("BEGIN IMMEDIATE")
                for handler, members in groups.items():
                    answers.extend(attempt(connection, handler, members))
                connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - the writer thread must live: whoever waits gets the reason instead
                if connection.in_transaction:
                    connection.rollback()
                self.fault = mapped_or_same(error, self.path)
            else:
                self.fault = None
                for effect in self._effects:
                    effect()
                return answers
        return [(request[3], self.fault) for request in requests]

    def _sync(self, connection: sqlite3.Connection, synced: bool) -> None:
        """Whether the coming COMMIT waits for the disk."""
        if self._durable and synced is not self._synced:
            connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._synced = synced

    def _together(self, connection: sqlite3.Connection, handler: _AnyHandler, members: list[_Request]) -> list[Answer]:
        """All items of one handler at once."""
        results = handler(connection, [member[1] for member in members])
        return [(member[3], result) for member, result in zip(members, results, strict=True)]

    def _guarded(self, connection: sqlite3.Connection, handler: _AnyHandler, members: list[_Request]) -> list[Answer]:
        """All items of one handler at once; where that fails, each alone."""
        connection.execute("SAVEPOINT handler")
        effects = len(self._effects)
        try:
            answers = self._together(connection, handler, members)
        except Exception as error:  # it may fail in any way: its neighbours must not pay for it
            if not connection.in_transaction:
                raise  # SQLite itself gave the transaction up (full disk): nobody was served
            connection.execute("ROLLBACK TO handler")
            del self._effects[effects:]
            if len(members) == 1:
                answers = [(members[0][3], mapped_or_same(error, self.path))]
            else:
                answers = [answer for member in members for answer in self._guarded(connection, handler, [member])]
        connection.execute("RELEASE handler")
        return answers

    def _deliver(self, requests: list[_Request], answers: list[Answer]) -> None:
        size = sum(request[2] for request in requests)
        # The loop is gone only when the world that asked is gone (a crash test); there is nobody left to answer.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, answers, len(requests), size)

    def _settle(self, answers: list[Answer], operations: int, size: int) -> None:
        self._waiting[0] -= operations
        self._waiting[1] -= size
        resolve(answers)


class Signal:
    """A thread waits, another sets; set twice before the wait, it counts once. A bare lock: threading.Event costs ten times more."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """From one thread only."""
        if self._lock.locked():
            self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()
