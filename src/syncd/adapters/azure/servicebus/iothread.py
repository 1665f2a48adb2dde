"""A thread with an event loop of its own: whatever a handler does to the caller's loop, locks are renewed here.

Both directions gather: however many calls or answers there are, a loop is woken once for all that came since it last looked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

T = TypeVar("T")


class _Mailbox:
    """Calls for one loop, put in from any thread and run there in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._armed = False

    def put(self, call: Callable[[], object]) -> None:
        self._calls.append(call)
        if not self._armed:
            self._armed = True
            try:
                self._loop.call_soon_threadsafe(self._empty)
            except RuntimeError:  # that loop has ended: nobody is left to hear
                self._calls.clear()

    def _empty(self) -> None:
        self._armed = False  # before the first is taken: whoever comes later arms it again
        while self._calls:
            self._calls.popleft()()


class Reply(Generic[T]):
    """An answer that a caller's loop waits for, given on the I/O thread. `unwanted` hears of a value whose caller has gone."""

    __slots__ = ("_box", "_unwanted", "future")

    def __init__(self, box: _Mailbox, unwanted: Callable[[T], None] | None = None) -> None:
        self._box = box
        self._unwanted = unwanted
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def give(self, value: T) -> None:
        self._box.put(lambda: self._give(value))

    def fail(self, error: BaseException) -> None:
        self._box.put(lambda: None if self.future.done() else self.future.set_exception(error))

    def _give(self, value: T) -> None:
        if not self.future.done():
            self.future.set_result(value)
        elif self._unwanted is not None:
            self._unwanted(value)


class IoThread:
    """`start` and `stop` on the caller's loop; `post`, `reply` and `call` from it; what they run, runs on the thread's loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._inbox = _Mailbox(self._loop)
        self._home: _Mailbox | None = None
        self._thread: threading.Thread | None = None
        self._running: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._home = _Mailbox(asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[[], object]) -> None:
        self._inbox.put(call)

    def home(self, call: Callable[[], object]) -> None:
        """From the thread: run `call` on the loop that started it."""
        assert self._home is not None
        self._home.put(call)

    def reply(self, unwanted: Callable[[T], None] | None = None) -> Reply[T]:
        """`unwanted` is called on the I/O thread."""
        assert self._home is not None
        return Reply(self._home, None if unwanted is None else lambda value: self.post(lambda: unwanted(value)))

    async def call(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work` to its end on the thread; a caller that is cancelled meanwhile leaves it running."""
        reply: Reply[T] = self.reply()

        async def run() -> None:
            try:
                reply.give(await work())
            except asyncio.CancelledError:
                reply.fail(asyncio.CancelledError())
                raise
            except Exception as error:  # noqa: BLE001 - it belongs to the caller, on the other loop
                reply.fail(error)

        self.post(lambda: self.spawn(run()))
        return await reply.future

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """On the thread: a task that is kept until it has ended."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def quiet(self, patience: float) -> None:
        """On the thread, in the last of its calls: wait until the others have ended, which may be those of callers that are gone. What
        has not after `patience` seconds is cancelled, so that nobody connects or reads while everything is closed."""
        others = self._running - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=patience)
        while others := {task for task in others if not task.done()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=0.01)  # one that a read swallows (`link.stop`) is followed by another

    async def stop(self) -> None:
        thread = self._thread
        if thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
