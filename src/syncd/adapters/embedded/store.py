"""The embedded store: opens the file and hands out the ports that live in it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from syncd.adapters.embedded import documents, queue, vault
from syncd.adapters.embedded.documents import EmbeddedDocuments
from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.queue import EmbeddedQueue
from syncd.domain.collections import COLLECTIONS
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe, ignore

FILE_NAME = "syncd.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    engine: Engine
    documents: EmbeddedDocuments
    queue: EmbeddedQueue


def _prepare(connection: sqlite3.Connection) -> None:
    documents.create_tables(connection, COLLECTIONS.values())
    queue.create_tables(connection)
    vault.create_tables(connection)


@asynccontextmanager
async def open_store(
    directory: Path,
    *,
    clock: Clock,
    observe: Observe = ignore,
    durable: bool = True,
    inbox_operations: int = 10_000,
    inbox_bytes: int = 64 * 1024 * 1024,
) -> AsyncIterator[Store]:
    """Open (or create) `<directory>/syncd.db`. Raises StoreUnusable. Leases of an earlier boot are void: their holder is gone."""
    engine = await Engine.open(
        directory / FILE_NAME,
        _prepare,
        durable=durable,
        observe=observe,
        inbox_operations=inbox_operations,
        inbox_bytes=inbox_bytes,
    )
    try:
        yield Store(
            engine=engine,
            documents=EmbeddedDocuments(engine, clock=clock),
            queue=EmbeddedQueue(engine, clock=clock),
        )
    finally:
        await engine.close()
