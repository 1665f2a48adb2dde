"""Key Vault as the vault: each append is a new version of a secret, and a version is only ever read by its name.

What Key Vault has no operation for, and what is done in its place:

- **One version cannot be deleted.** `purge(name, keep=...)` disables all others: nobody can read them until an operator enables
  them again, they are not listed here any more, and their values stay in Key Vault. `purge(name)` disables all, then deletes the
  secret with its versions, then purges it from the deleted ones. Where purge protection or a missing right forbids the last step,
  Key Vault erases it at the end of its retention (7 to 90 days): `vault_purge_refused` is observed, and the purge has succeeded as
  far as anybody can read. Disabling comes first because a deleted secret that is recovered has its versions back as they were.
- **A deleted name cannot be written** until it is recovered or purged: `append` recovers it, finding its versions disabled.
- **`created` counts whole seconds and lists have no order**, so each version carries a tag of ours that orders those of one second.
- **A write is not idempotent**: one that is repeated after a lost answer leaves a version that nothing points to.

An append that races a purge of everything under the same name may be purged with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from syncd.adapters.azure.calls import PATIENCE, Calls
from syncd.adapters.azure.errors import mapped
from syncd.adapters.azure.identity import Credential
from syncd.adapters.azure.versioncache import VersionCache
from syncd.domain.errors import Invalid, NotFound, Overloaded, SyncdError, TooLarge
from syncd.domain.secrets import Secret
from syncd.domain.storednames import secret_name
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

#: https://learn.microsoft.com/azure/key-vault/secrets/about-secrets: "Secret values ... maximum size of 25k bytes each".
MOST_BYTES = 25 * 1024
#: Seconds for one method, the wait for a deletion or a recovery included (both take some seconds at the service).
TIMEOUT = 30.0
#: What a name that is being deleted, purged or recovered is asked to wait; seen to last 1 to 5 s (azure-sdk-for-net#26027, #31581).
BUSY_WAIT = 3.0
#: Seconds between looks at a deletion or recovery in progress.
POLL = 0.5
ORDER_TAG = "syncd-order"
_AT_ONCE = 8
_VERSION = re.compile(r"[0-9a-fA-F]{32}")
_READER = (
    "the right secrets/get (role 'Key Vault Secrets User', or 'Key Vault Secrets Officer' for all that syncd does)"
)


@asynccontextmanager
async def open_key_vault(
    *,
    url: str,
    credential: Credential,
    clock: Clock,
    observe: Observe,
    ca_file: str | None = None,
    verify_challenge: bool = True,
    cache_seconds: float = 900.0,
    cache_size: int = 1000,
    timeout: float = TIMEOUT,
) -> AsyncIterator[KeyVault]:
    """Nothing is asked yet, so that a start during an outage goes on. Raises Invalid for an address that is none of a vault.

    `ca_file`: certificates to trust instead of the system's. `verify_challenge`: refuse to send a token where the vault's host is
    not below the host that it names as its audience; off only for a vault under a made-up address. `cache_seconds`: how long a
    value may still be used here after it was disabled elsewhere. `timeout`: seconds for one method.
    """
    if not url.lower().startswith("https://"):
        raise Invalid(f"{url!r} is no address of a Key Vault: it begins with https://, https://<name>.vault.azure.net")

    def told(*, operation: str, outcome: str, duration: float) -> None:
        observe("vault_call", operation=operation, outcome=outcome, duration=duration)

    client = SecretClient(
        url,
        credential,
        verify_challenge_resource=verify_challenge,
        connection_verify=ca_file or True,
        **PATIENCE,
    )
    calls = Calls(f"Key Vault {url}", credential=credential, clock=clock, told=told, timeout=timeout)
    cache = VersionCache(size=cache_size, seconds=cache_seconds, clock=clock)
    try:
        yield KeyVault(client=client, calls=calls, cache=cache, clock=clock, observe=observe)
    finally:
        await cache.close()
        await client.close()


class KeyVault:
    """Implements the port `Vault`. Values are kept in memory for a while, since a version never changes."""

    def __init__(
        self, *, client: SecretClient, calls: Calls, cache: VersionCache, clock: Clock, observe: Observe
    ) -> None:
        self._client = client
        self._calls = calls
        self._cache = cache
        self._clock = clock
        self._observe = observe
        self._order = count()

    async def append(self, name: str, value: Secret) -> str:
        secret_name(name)
        size = len(value.reveal().encode())
        if size > MOST_BYTES:
            raise TooLarge(f"the secret {name} has {size} bytes, and Key Vault takes {MOST_BYTES}")
        async with self._calls("set", f"writing the secret {name}", right=_officer("set")):
            try:
                stored = await self._set(name, value)
            except HttpResponseError as error:
                if _inner(error) != "ObjectIsDeletedButRecoverable":
                    _say_busy(error, name)
                    raise
                await self._recover(name)
                stored = await self._set(name, value)
            version = stored.version
            assert version  # Key Vault names the version of what it stored
        self._cache.put((name, version), value)
        return version

    async def get(self, name: str, version: str) -> Secret:
        secret_name(name)
        if not _VERSION.fullmatch(version):
            raise _missing(name, version)
        return await self._cache.get((name, version), lambda: self._read(name, version))

    async def versions(self, name: str) -> list[str]:
        secret_name(name)
        return [found.version or "" for found in await self._listed(name) if found.enabled]

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        secret_name(name)
        found = await self._listed(name)
        gone = [one.version for one in found if one.enabled and one.version and one.version != keep]
        await self._disable(name, gone)
        if keep is None and found:
            await self._delete(name)
        return len(gone)

    async def rotate_key(self) -> int:
        """0: the keys of Key Vault are the service's own."""
        return 0

    async def check(self) -> list[str]:
        """For `syncd check`: what is missing, each with what it is needed for; empty where all is well. Nothing is written: each
        right is tried on a secret that does not exist, since Key Vault judges the right before it looks for the secret."""
        name, version = "syncd-check", "0" * 32
        client = self._client

        async def listing() -> None:
            async for _ in client.list_properties_of_secret_versions(name):
                return

        async def changing() -> None:
            await client.update_secret_properties(name, version, enabled=False)

        missing: list[str] = []
        for right, trying in (
            ("get", lambda: client.get_secret(name, version)),
            ("list", listing),
            ("set", changing),
            ("delete", lambda: client.delete_secret(name)),
            ("recover", lambda: client.recover_deleted_secret(name)),
            ("purge", lambda: client.purge_deleted_secret(name)),
        ):
            try:
                async with self._calls("check", f"trying the right to {right} secrets", right=_officer(right)):
                    await trying()
            except NotFound:
                continue
            except SyncdError as error:
                missing.append(str(error))
                if (
                    getattr(error.__cause__, "status_code", None) != 403
                ):  # no matter of rights: the others end the same way
                    break
        return missing

    async def _set(self, name: str, value: Secret) -> SecretProperties:
        order = f"{round(self._clock.now() * 1e6):017d}-{next(self._order):06d}"
        return (await self._client.set_secret(name, value.reveal(), tags={ORDER_TAG: order})).properties

    async def _read(self, name: str, version: str) -> Secret:
        async with self._calls("get", f"reading the secret {name}", right=_READER):
            try:
                found = await self._client.get_secret(name, version)
            except ResourceNotFoundError as error:
                raise _missing(name, version) from error
            except HttpResponseError as error:
                if _inner(error) == "SecretDisabled":  # a 403 that is none of rights
                    raise _missing(name, version) from error
                raise
        return Secret(found.value or "")

    async def _listed(self, name: str) -> list[SecretProperties]:
        """Oldest first, the disabled ones too."""
        async with self._calls("list", f"listing the versions of {name}", right=_officer("list")):
            try:
                found = [one async for one in self._client.list_properties_of_secret_versions(name)]
            except ResourceNotFoundError:
                return []
        return sorted(found, key=_age)

    async def _disable(self, name: str, versions: list[str]) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(version: str) -> None:
            async with turn, self._calls("disable", f"disabling a version of {name}", right=_officer("set")):
                try:
                    await self._client.update_secret_properties(name, version, enabled=False)
                except ResourceNotFoundError:  # deleted by another one meanwhile
                    return
                finally:
                    self._cache.drop((name, version))

        for ended in await asyncio.gather(*[one(version) for version in versions], return_exceptions=True):
            if ended is not None:
                raise ended

    async def _delete(self, name: str) -> None:
        async with self._calls("delete", f"deleting the secret {name}", right=_officer("delete")):
            try:
                await self._client.delete_secret(name, _polling_interval=POLL)
            except ResourceNotFoundError:
                return
            except HttpResponseError as error:
                _say_busy(error, name)
                raise
        async with self._calls("purge", f"purging the secret {name}"):
            try:
                await self._client.purge_deleted_secret(name)
            except ResourceNotFoundError:
                return
            except HttpResponseError as error:
                if error.status_code != 403:
                    _say_busy(error, name)
                    raise
                self._observe("vault_purge_refused", name=name, reason=str(mapped(error, what="purging")))

    async def _recover(self, name: str) -> None:
        try:
            await self._client.recover_deleted_secret(name, _polling_interval=POLL)
        except HttpResponseError as error:
            _say_busy(error, name)
            raise


def _missing(name: str, version: str) -> NotFound:
    return NotFound(f"there is no version {version!r} of the secret {name!r}")


def _officer(right: str) -> str:
    text = f"the right secrets/{right} (role 'Key Vault Secrets Officer')"
    return text + (", or what was purged stays until the vault's retention ends" if right == "purge" else "")


def _age(one: SecretProperties) -> tuple[float, str, str]:
    created = one.created_on.timestamp() if one.created_on else 0.0
    return created, (one.tags or {}).get(ORDER_TAG, ""), one.version or ""


def _inner(error: HttpResponseError) -> str:
    inner = getattr(error.error, "innererror", None)
    return str(inner.get("code", "")) if isinstance(inner, dict) else ""


def _say_busy(error: HttpResponseError, name: str) -> None:
    """Raises Overloaded for a name that is on its way in or out: it is refused for some seconds."""
    if error.status_code == 409:
        text = f"the secret {name} is being changed at the vault ({_inner(error)})"
        raise Overloaded(text, retry_after=BUSY_WAIT) from error
