"""Request bodies, bounded in size and time before anything looks at them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncd.http.problem import HttpProblem

if TYPE_CHECKING:
    from aiohttp import web

_IDENTITY = ("", "identity")


async def read_body(request: web.BaseRequest, *, limit: int, timeout: float) -> bytes:
    """The raw bytes as they were sent: signatures cover them, so nothing is decompressed.

    Raises HttpProblem: 413 over `limit` bytes (by Content-Length before anything is read, else as soon as a chunk goes over),
    408 where the body is not complete within `timeout` seconds, 415 for a compressed body, 417 for an expectation that is not 100-continue. A client that goes away in the
    middle raises ConnectionError or the server's own payload error; nobody is left to read an answer.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)
    if request.headers.get("Content-Encoding", "").lower() not in _IDENTITY:
        raise HttpProblem(415, "compressed bodies are not read: signatures cover the bytes as they are sent")
    stream = request.content
    if stream.is_eof():  # small bodies arrive with the headers: no timer, no second wake-up
        body: bytes = stream.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    expected = request.headers.get("Expect", "").lower()
    if expected not in ("", "100-continue"):
        raise HttpProblem(417, "the only expectation that is met is 100-continue")
    try:
        async with asyncio.timeout(timeout):
            if expected:
                # Only now: who would be refused is told so before sending anything.
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # it is no part of the answer
            return await _collect(request, limit)
    except TimeoutError:
        raise HttpProblem(408, f"the body was not complete after {timeout:g} s") from None


async def _collect(request: web.BaseRequest, limit: int) -> bytes:
    stream = request.content
    body = bytearray()
    while chunk := await stream.readany():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> HttpProblem:
    return HttpProblem(413, f"the body is larger than {limit} bytes")
