"""Reading a response of unknown size and compression into bounded memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from syncd.domain.errors import ServerFault

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 64 * 1024
#: Window bits that mean a gzip header. https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_GZIP = zlib.MAX_WBITS | 16
ENCODINGS = "gzip"  # deflate means two different things, depending on the server


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the body, decompressed, and whether there was more. Never more than that is held or unpacked.

    Raises ServerFault where the compressed data is broken. A coding that we did not ask for is returned as it came.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    unpack = _Gzip() if encoding in ("gzip", "x-gzip") else None
    body = bytearray()
    received = 0
    while chunk := await response.content.read(_CHUNK):
        received += len(chunk)
        room = limit - len(body) + 1
        body += chunk[:room] if unpack is None else unpack.more(chunk, room)
        # Empty deflate blocks unpack to nothing for ever: what came over the wire is bounded as well.
        if len(body) > limit or (unpack is not None and received > limit + _CHUNK):
            return bytes(body[:limit]), True
    if unpack is not None and received and not unpack.complete:
        raise ServerFault(f"{response.url.host}: the compressed answer ends too early")
    return bytes(body), False


class _Gzip:
    """One gzip member after another, as RFC 1952 has them: the first alone would be an answer cut short without a word."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    @property
    def complete(self) -> bool:
        return self._member.eof

    def more(self, data: bytes, room: int) -> bytes:
        """At most `room` bytes; what is beyond them is left out."""
        found = bytearray()
        try:
            while data and len(found) < room:
                if self._member.eof:
                    data = data.lstrip(b"\0")  # padding, as some servers write it
                    if not data:
                        break
                    self._member = zlib.decompressobj(_GZIP)
                found += self._member.decompress(data, room - len(found))
                data = self._member.unused_data
        except zlib.error as error:
            raise ServerFault(f"the compressed answer is broken: {error}") from error
        return bytes(found)
