"""The vault: secrets, append-only."""

from __future__ import annotations

from typing import Protocol

from syncd.domain.secrets import Secret


class Vault(Protocol):
    """Versions of named secrets. A version is never changed and "latest" is never read: the document that owns the secret says
    which version is current, so that its compare-and-set decides (G5).

    Names are 1-127 characters of `[0-9a-zA-Z-]` (Key Vault's rule, kept everywhere); flows derive them with `ids.digest`.
    May raise Overloaded, Unavailable, and Throttled; a service, TimedOut and ServerFault too: an append that is repeated then may
    leave a version that nothing points to.
    """

    async def append(self, name: str, value: Secret) -> str:
        """Store a new version durably and return it (an opaque text)."""
        ...

    async def get(self, name: str, version: str) -> Secret:
        """Raises NotFound."""
        ...

    async def versions(self, name: str) -> list[str]:
        """Oldest first; empty where there is none."""
        ...

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        """Remove all versions but `keep`; how many went."""
        ...

    async def rotate_key(self) -> int:
        """Encrypt everything under a new key, resumably; how many versions were rewritten. Services that keep their own keys
        answer 0."""
        ...
