"""Live events for pages and streams: what just happened, for whoever looks. Nothing depends on their arrival."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Protocol

from syncd.domain.jsontypes import JsonObject


class Events(Protocol):
    def publish(self, kind: str, **facts: object) -> None:
        """Never blocks; a slow subscriber loses the oldest."""
        ...

    def subscribe(self) -> AbstractContextManager[AsyncIterator[JsonObject]]: ...
