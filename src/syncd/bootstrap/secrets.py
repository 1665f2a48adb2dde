"""Telling the log every secret that passes through this process, so that none is ever written, whatever is around it.

    settings (and each reload) --\
    the admin token of our own ---+--> learn(value) = Logs.known_secrets.add
    the vault, both ways --------/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel

from syncd.domain.secrets import Secret
from syncd.ports.vault import Vault

Learn = Callable[[Secret | str], None]
#: Fields of a credential that hold no secret. What is not listed counts as one.
OPEN_FIELDS = frozenset(
    {
        "kind",
        "username",
        "header",
        "parameter",
        "expiresAt",
        "clientId",
        "tokenUrl",
        "tokenType",
        "scope",
        "refreshedFrom",
    }
)


def secrets_in(value: object) -> Iterator[Secret]:
    """All that settings hold, however deep."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from secrets_in(inner)


class LearningVault:
    """A Vault that tells the log what it keeps before anybody else has it."""

    def __init__(self, vault: Vault, *, learn: Learn) -> None:
        self._vault = vault
        self._learn = learn

    async def append(self, name: str, value: Secret) -> str:
        self._tell(value)
        return await self._vault.append(name, value)

    async def get(self, name: str, version: str) -> Secret:
        value = await self._vault.get(name, version)
        self._tell(value)
        return value

    async def versions(self, name: str) -> list[str]:
        return await self._vault.versions(name)

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        return await self._vault.purge(name, keep=keep)

    async def rotate_key(self) -> int:
        return await self._vault.rotate_key()

    def _tell(self, value: Secret) -> None:
        """The text, and where it is a credential of several fields each of them: they travel alone."""
        text = value.reveal()
        self._learn(text)
        try:
            fields = json.loads(text) if text.startswith("{") else None
        except ValueError:
            return
        if isinstance(fields, dict):
            for name, field in fields.items():
                if isinstance(field, str) and name not in OPEN_FIELDS:
                    self._learn(field)
