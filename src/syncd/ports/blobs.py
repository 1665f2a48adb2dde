"""Blobs: bytes that are too large for a message or a document."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BlobInfo:
    name: str
    size: int
    """Bytes."""
    modified_at: float


class Blobs(Protocol):
    """Named, immutable byte strings of up to gigabytes, streamed both ways.

    Names are `/`-separated segments of `[A-Za-z0-9._~-]+`, none of them `.` or `..`, 1,024 characters in all; Invalid otherwise.
    Every method may raise Overloaded (a full disk included: try again after `retry_after`), Throttled, or Unavailable; a service,
    TimedOut and ServerFault too, after which the blob may be there (a put that is repeated does no harm).
    """

    async def put(self, name: str, data: bytes | AsyncIterable[bytes]) -> int:
        """Store and return the size. Durable and whole when it returns; nothing under that name before. Replaces."""
        ...

    async def get(self, name: str, *, at_most: int = 64 * 1024 * 1024) -> bytes:
        """Raises NotFound; Invalid where it is larger than `at_most`."""
        ...

    def open(self, name: str, *, chunk: int = 1024 * 1024) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream; raises NotFound on entering. What is read is one content: where the blob is replaced or deleted meanwhile, a
        backend that cannot go on with the old one raises Conflict or NotFound from the stream."""
        ...

    async def delete(self, name: str) -> bool:
        """False where there was none."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """In order of name."""
        ...
