"""The systems that benchmarks sync with: bare HTTP/1.1 over asyncio, each in its own process, so that they cost little of what is
measured.

    python -m tests.benchmarks.systems list PORT RECORDS PAGE       a list of contacts in pages, made before the first request
    python -m tests.benchmarks.systems write PORT LATENCY [FIELD]   takes creates and updates, LATENCY seconds later each; object
                                                                    12 is contact 12 until it is changed
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import cast

from tests.acceptance.process import free_port

JsonObject = dict[str, object]
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def contact(number: int) -> JsonObject:
    """About 400 bytes, as a CRM shows a contact."""
    return {
        "id": f"c{number:07d}",
        "name": f"Contact Number {number}",
        "email": f"contact{number}@example-{number % 997}.org",
        "phone": f"+49 30 {number:08d}",
        "company": f"Company {number % 5000}",
        "title": "Head of Procurement",
        "address": {"street": f"Long Street {number % 300}", "city": "Berlin", "zip": f"{10000 + number % 4000}"},
        "tags": ["customer", f"segment-{number % 12}"],
        "score": number % 100,
        "active": number % 7 != 0,
        "notes": None,
        "url": f"/contacts/c{number:07d}",
        "updatedAt": f"2026-01-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:{number * 7 % 60:02d}Z",
    }


def listing(records: int, page: int) -> dict[bytes, bytes]:
    """The page after each cursor, ready to be sent."""
    pages = {}
    for start in range(0, records, page):
        end = min(start + page, records)
        body = {"data": [contact(n) for n in range(start, end)], "meta": {"next": str(end) if end < records else None}}
        pages[str(start).encode()] = json.dumps(body, separators=(",", ":")).encode()
    return pages


class _Connection(asyncio.Protocol):
    """Requests one after the other, as clients without pipelining send them."""

    def __init__(self, answer: Callable[[bytes, bytes, Callable[[bytes], None]], None]) -> None:
        self._answer = answer
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of TCP; uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = _LENGTH.search(head)
        if length and len(rest) < int(length[1]):
            return
        self._received = b""
        self._answer(head, rest, self._send)

    def _send(self, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            date = formatdate(usegmt=True).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: %b\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % (date, len(body)) + body)


async def serve_list(port: int, records: int, page: int) -> None:
    pages = listing(records, page)
    after = re.compile(rb"[?&]after=(\d+)")

    def answer(head: bytes, _body: bytes, send: Callable[[bytes], None]) -> None:
        asked = after.search(head.partition(b"\r\n")[0])
        send(pages[asked[1] if asked else b"0"])

    await _serve(port, answer)


async def serve_writes(port: int, latency: float, told: str | None) -> None:
    """`told`: the field of a written object that is printed with the moment it came (CLOCK_MONOTONIC, which all processes share)."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(1, 1 << 62))
    held: dict[bytes, JsonObject] = {}

    def answer(head: bytes, body: bytes, send: Callable[[bytes], None]) -> None:
        method, path, _ = head.partition(b"\r\n")[0].split(b" ")
        if method == b"POST":
            path += b"/w%d" % next(numbers)
        identifier = path.rpartition(b"/")[2].decode()
        before = held.get(path) or (contact(int(identifier)) if identifier.isdigit() else {})
        shown = held[path] = {**before, **json.loads(body), "id": identifier}
        if told is not None:
            sys.stdout.write(f"{shown.get(told)} {time.monotonic():.6f}\n")
            sys.stdout.flush()
        loop.call_later(latency, send, json.dumps(shown).encode())

    await _serve(port, answer)


async def _serve(port: int, answer: Callable[[bytes, bytes, Callable[[bytes], None]], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: _Connection(answer), "127.0.0.1", port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()


@asynccontextmanager
async def system(*arguments: str | float) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """Its port, and what it prints after `ready`. `arguments`: its kind, then what follows PORT."""
    kind, *rest = (str(one) for one in arguments)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, kind, str(port), *rest, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the system {kind} did not start")
        yield port, process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def main() -> None:
    kind, port, *rest = sys.argv[1:]
    running = (
        serve_list(int(port), int(rest[0]), int(rest[1]))
        if kind == "list"
        else serve_writes(int(port), float(rest[0]), rest[1] if len(rest) > 1 else None)
    )
    try:
        import uvloop
    except ImportError:
        asyncio.run(running)
    else:
        uvloop.run(running)


if __name__ == "__main__":
    main()
