"""Reads of the store: a few threads, each with a read-only connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from syncd.adapters.embedded.faults import mapped
from syncd.adapters.embedded.files import connect_read_only

Result = TypeVar("Result")
#: Requests for which waking another thread is worth it: a point read takes some 10 us, a wake-up as much.
_SHARE = 16
#: Who waits, and what it gets: futures of different results share one list, hence Any.
Answer = tuple["asyncio.Future[Any]", object]
#: Function, its arguments, who waits; Any as above.
_Request = tuple[Callable[..., object], tuple[object, ...], "asyncio.Future[Any]"]


def resolve(answers: Sequence[Answer]) -> None:
    """Give each waiting future its answer; those that were cancelled meanwhile get none."""
    for future, result in answers:
        if not future.done():
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def mapped_or_same(error: Exception, path: Path) -> Exception:
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) or not isinstance(error, sqlite3.Error):
        return error
    return mapped(error, path)


class Readers:
    """Requests of one loop iteration are spread over the threads."""

    def __init__(self, path: Path, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._gathering: list[_Request] = []
        self._inbox: deque[list[_Request]] = deque()
        self._wake = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._run, name=f"sqlite-reader-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, function: Callable[..., Result], *args: object) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._gathering:
            self._loop.call_soon(self._hand_over)
        self._gathering.append((function, args, future))
        return await future

    def join(self) -> None:
        for _ in self._threads:
            self._wake.release()
        for thread in self._threads:
            thread.join()

    def _hand_over(self) -> None:
        requests, self._gathering = self._gathering, []
        share = max(-(-len(requests) // len(self._threads)), _SHARE)
        for start in range(0, len(requests), share):
            self._inbox.append(requests[start : start + share])
            self._wake.release()

    def _run(self) -> None:
        connection = connect_read_only(self._path)
        while True:
            self._wake.acquire()
            if not self._inbox:
                connection.close()
                return
            answers: list[Answer] = []
            for function, args, future in self._inbox.popleft():
                try:
                    answers.append((future, function(connection, *args)))
                except Exception as error:  # noqa: BLE001 - whatever a read does wrong belongs to its caller, not to this thread
                    answers.append((future, mapped_or_same(error, self._path)))
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(resolve, answers)
