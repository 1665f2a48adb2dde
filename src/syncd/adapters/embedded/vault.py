"""The local vault: versions of secrets in the store, each encrypted with AES-256-GCM and bound to its name and version."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from syncd.adapters.embedded.engine import Engine
from syncd.adapters.embedded.keyring import Key, Keyring
from syncd.domain.errors import NotFound, StoreUnusable
from syncd.domain.ids import ulid
from syncd.domain.secrets import Secret
from syncd.domain.storednames import secret_name
from syncd.ports.clock import Clock

SCHEMA = """
CREATE TABLE IF NOT EXISTS vault (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of versions, also of those made within one millisecond
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (name, version)
)
"""
#: Versions re-encrypted in one transaction: a few milliseconds of the writer, so that others hardly wait.
BATCH = 200
#: 96 random bits, as NIST SP 800-38D recommends for GCM.
_NONCE = 12


def create_tables(connection: sqlite3.Connection) -> None:
    connection.execute(SCHEMA)


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    version: str
    key_id: str
    nonce: bytes
    ciphertext: bytes


class EmbeddedVault:
    """Implements the port `Vault` in the embedded store. Call `open` before use.

    Two methods beyond the port: `open` refuses to start on secrets that no key here can read, and `rotate_key` may be killed at
    any point and called again: the new key is in the file before anything is encrypted with it, each batch is one transaction
    that only touches what is still under another key, and a key leaves the file when nothing is left under it.
    """

    def __init__(self, *, engine: Engine, keyring: Keyring, clock: Clock) -> None:
        self._engine = engine
        self._keyring = keyring
        self._clock = clock
        self._rotating = asyncio.Lock()
        self._current: Key | None = None
        self._appending: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Read the keys and see that they fit what is stored. Raises StoreUnusable, having changed nothing."""
        await asyncio.to_thread(self._keyring.load)
        for identifier, count in (await self._engine.read(_keys_in_use)).items():
            if self._keyring.get(identifier) is None:
                raise self._unreadable(identifier, f"{count} stored secrets are")

    async def append(self, name: str, value: Secret) -> str:
        secret_name(name)
        key = self._current or await self._take_current()
        now = self._clock.now()
        version = ulid(now)
        row = _encrypted(key, name, version, value.reveal().encode())
        # A task of its own: cancelling the caller does not stop the write, and a rotation has to know when it is over.
        writing = asyncio.ensure_future(self._engine.write(_insert, (row, now)))
        self._appending.add(writing)
        writing.add_done_callback(self._appending.discard)
        await asyncio.shield(writing)
        return version

    async def get(self, name: str, version: str) -> Secret:
        secret_name(name)
        row = await self._engine.read(_select, name, version)
        if row is not None and self._keyring.get(row.key_id) is None:  # a rotation ended between reading and here
            row = await self._engine.read(_select, name, version)
        if row is None:
            raise NotFound(f"there is no version {version!r} of the secret {name!r}")
        return Secret(self._decrypted(row).decode())

    async def versions(self, name: str) -> list[str]:
        secret_name(name)
        return await self._engine.read(_versions, name)

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        secret_name(name)
        return await self._engine.write(_delete, (name, keep))

    async def rotate_key(self) -> int:
        """A new key in the file, unless an earlier rotation is unfinished: then that one is finished. With SECRET_KEY there is
        no key of ours to make: what other keys encrypted is brought under it."""
        async with self._rotating:
            used = await self._engine.read(_keys_in_use)
            current = self._current or await self._take_current()
            if self._keyring.file_rotates and not used.keys() - {current.id}:
                current = self._current = await asyncio.to_thread(self._keyring.add)
            if self._appending:  # some may still write under the key before
                await asyncio.wait(set(self._appending))
            rewritten = 0
            while rows := await self._engine.read(_not_under, current.id, BATCH):
                # Decrypting a few hundred short texts takes a millisecond; the list is what takes memory.
                changes = [(row, _encrypted(current, row.name, row.version, self._decrypted(row))) for row in rows]
                rewritten += await self._engine.write(_replace, changes)
            used = await self._engine.read(_keys_in_use)
            await asyncio.to_thread(self._keyring.drop_unused, set(used))
            return rewritten

    async def _take_current(self) -> Key:
        key = await asyncio.to_thread(self._keyring.current)
        if self._current is None:  # a rotation that overtook us has the newer one
            self._current = key
        return self._current

    def _decrypted(self, row: _Row) -> bytes:
        key = self._keyring.get(row.key_id)
        if key is None:
            raise self._unreadable(row.key_id, f"version {row.version} of the secret {row.name!r} is")
        try:
            return key.cipher.decrypt(row.nonce, row.ciphertext, _bound(row.name, row.version))
        except InvalidTag:
            raise StoreUnusable(
                f"version {row.version} of the secret {row.name!r} in {self._engine.path} was altered: it does not decrypt "
                f"under the key {row.key_id} ({key.origin}). Restore a backup, or set the credential again"
            ) from None

    def _unreadable(self, identifier: str, what: str) -> StoreUnusable:
        from_text = identifier.startswith("secret-key-")
        origin = "the text SECRET_KEY" if from_text else f"the file {self._keyring.path}"
        mend = "set SECRET_KEY to its former value" if from_text else "restore that file from a backup"
        return StoreUnusable(
            f"{what} encrypted under the key {identifier}, which came from {origin}; the keys here are: "
            f"{self._keyring.known()}. Nothing was changed: {mend}"
        )


def _bound(name: str, version: str) -> bytes:
    """What a ciphertext is bound to; neither part holds a '/'."""
    return f"{name}/{version}".encode()


def _encrypted(key: Key, name: str, version: str, plain: bytes) -> _Row:
    nonce = os.urandom(_NONCE)
    return _Row(name, version, key.id, nonce, key.cipher.encrypt(nonce, plain, _bound(name, version)))


# -- on the store's threads ------------------------------------------------------------------------------------------------


def _keys_in_use(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT key_id, count(*) FROM vault GROUP BY key_id").fetchall())


def _select(connection: sqlite3.Connection, name: str, version: str) -> _Row | None:
    found = connection.execute(
        "SELECT name, version, key_id, nonce, ciphertext FROM vault WHERE name = ? AND version = ?", (name, version)
    ).fetchone()
    return _Row(*found) if found else None


def _versions(connection: sqlite3.Connection, name: str) -> list[str]:
    return [row[0] for row in connection.execute("SELECT version FROM vault WHERE name = ? ORDER BY sequence", (name,))]


def _not_under(connection: sqlite3.Connection, key_id: str, limit: int) -> list[_Row]:
    rows = connection.execute(
        "SELECT name, version, key_id, nonce, ciphertext FROM vault WHERE key_id <> ? ORDER BY sequence LIMIT ?",
        (key_id, limit),
    )
    return [_Row(*row) for row in rows]


def _insert(connection: sqlite3.Connection, items: Sequence[tuple[_Row, float]]) -> list[None]:
    connection.executemany(
        "INSERT INTO vault (name, version, key_id, nonce, ciphertext, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        [(row.name, row.version, row.key_id, row.nonce, row.ciphertext, now) for row, now in items],
    )
    return [None] * len(items)


def _delete(connection: sqlite3.Connection, items: Sequence[tuple[str, str | None]]) -> list[int]:
    return [
        connection.execute("DELETE FROM vault WHERE name = ? AND version IS NOT ?", (name, keep)).rowcount
        for name, keep in items
    ]


def _replace(connection: sqlite3.Connection, items: Sequence[list[tuple[_Row, _Row]]]) -> list[int]:
    """Only what is still as it was read: a version purged meanwhile stays purged."""
    return [
        sum(
            connection.execute(
                "UPDATE vault SET key_id = ?, nonce = ?, ciphertext = ? WHERE name = ? AND version = ? AND key_id = ?",
                (new.key_id, new.nonce, new.ciphertext, old.name, old.version, old.key_id),
            ).rowcount
            for old, new in changes
        )
        for changes in items
    ]
