"""The port `Credentials`: what an outgoing call shows, refreshed before it ends, and read from the store every few seconds only.

    usable()   cache -> document (and vault, where the version is another) -> about to end? refresh -> what the kind shows
    refused()  document, past the cache -> another version already? yes -> refresh where it can -> another version now?

Refreshes and reads of one credential run once at a time in this process, each as a task of its own: whoever waits for one may be
cancelled without ending it half-way. `close` waits for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncd.domain.collections import CREDENTIALS
from syncd.domain.errors import AuthenticationFailed, Failure, InvalidGrant, NotFound
from syncd.domain.secrets import Secret
from syncd.domain.times import parse_or_none
from syncd.domain.tokens import expires_at, refreshable
from syncd.flows.alone import Alone
from syncd.flows.tokens import TokenRefresh
from syncd.ports.credentials import CredentialKind, Usable

if TYPE_CHECKING:
    from syncd.ports.caller import Caller
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe
    from syncd.ports.vault import Vault

#: Credentials remembered; the one read longest ago goes first.
CACHED = 10_000
#: After a refresh that failed while the token in force is still good, the next try waits so long. Seconds.
NEXT_TRY = 30.0
#: A token refreshed within so many seconds and refused all the same is not refused for its age.
FRESH = 30.0
#: The part of a token's whole life that it is refreshed before its end at most: one that lives as long as the threshold would
#: otherwise be refreshed at each use.
MOST_OF_LIFE = 0.25
#: What each kind shows to a provider. Everything else stays in the vault.
_SHOWN: dict[CredentialKind, tuple[str, ...]] = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "api_key": ("value", "header", "parameter"),
    "oauth2": ("accessToken",),
}
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    usable: Usable
    status: str
    reason: str
    read_at: float
    """Monotonic."""
    lifetime: float | None
    refreshed_at: float | None
    refreshable: bool = False
    expires_at: float | None = None


class RefreshingCredentials:
    """`refresh` False: another refresher works on the same credentials, and two of them invalidate each other's tokens. `ahead`: a
    token that ends within so many seconds is refreshed before use. `cached_for`: seconds until a change is seen.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        vault: Vault,
        caller: Caller,
        clock: Clock,
        observe: Observe,
        owner: str,
        refresh: bool = True,
        ahead: float = 60.0,
        cached_for: float = 5.0,
    ) -> None:
        self._documents = documents
        self._vault = vault
        self._clock = clock
        self._observe = observe
        self._refresh = refresh
        self._ahead = ahead
        self._cached_for = cached_for
        self._tokens = TokenRefresh(
            documents=documents, vault=vault, caller=caller, clock=clock, observe=observe, owner=owner
        )
        self._cache: dict[_Key, _Known] = {}
        self._reading: Alone[_Known] = Alone("credential read")
        self._renewing: Alone[_Known] = Alone("token refresh")
        self._not_before: dict[_Key, float] = {}

    async def close(self) -> None:
        """Wait for what runs: at most the token endpoint's time, and the store's."""
        await self._renewing.settled()
        await self._reading.settled()

    async def usable(self, tenant_id: str, credential_id: str) -> Usable:
        key = (tenant_id, credential_id)
        known = self._cache.get(key)
        if known is None or known.read_at + self._cached_for <= self._clock.monotonic():
            known = await self._reading.run(key, lambda: self._read(key))
        _check(known)
        if self._is_ending(known):
            known = await self._renewed(key, known)
        return known.usable

    async def refused(self, tenant_id: str, credential_id: str, version: str) -> bool:
        key = (tenant_id, credential_id)
        known = await self._read(key)
        if known.status == "needs_reauth":
            return False
        if known.usable.version != version:
            return True
        just_now = known.refreshed_at is not None and self._clock.now() < known.refreshed_at + FRESH
        if not known.refreshable or not self._refresh or just_now:
            return False
        try:
            renewed = await self._renew(key, version, patient=True)
        except AuthenticationFailed as error:
            self._failed(key, error)
            return False
        except Failure as error:
            self._failed(key, error)
            raise
        return renewed.usable.version != version

    def _is_ending(self, known: _Known) -> bool:
        if not (self._refresh and known.refreshable) or known.expires_at is None:
            return False
        ahead = self._ahead if known.lifetime is None else min(self._ahead, MOST_OF_LIFE * known.lifetime)
        return known.expires_at - ahead <= self._clock.now()

    async def _renewed(self, key: _Key, known: _Known) -> _Known:
        """Refreshed, or as it is where that failed for now and it has not ended yet."""
        good = known.expires_at is not None and known.expires_at > self._clock.now()
        if good and self._not_before.get(key, 0.0) > self._clock.monotonic():
            return known
        try:
            fresh = await self._renew(key, known.usable.version, patient=not good)
        except AuthenticationFailed as error:
            self._failed(key, error)
            raise
        except Failure as error:
            self._failed(key, error)
            if not good:
                raise
            if len(self._not_before) >= CACHED:
                self._not_before.clear()
            self._not_before[key] = self._clock.monotonic() + NEXT_TRY
            return known
        self._not_before.pop(key, None)
        _check(fresh)
        return fresh

    async def _renew(self, key: _Key, version: str, *, patient: bool) -> _Known:
        async def renew() -> _Known:
            await self._tokens.renew(*key, version, patient=patient)
            return await self._read(key)

        # By version: who asks for the successor of a newer one must not be told of an older one's.
        return await self._renewing.run((*key, version), renew)

    async def _read(self, key: _Key) -> _Known:
        """As the store has it. The vault is asked only for a version that is not known yet."""
        known = await self._stored(key, self._cache.get(key))
        self._cache.pop(key, None)
        self._cache[key] = known
        if len(self._cache) > CACHED:
            del self._cache[next(iter(self._cache))]
        return known

    async def _stored(self, key: _Key, before: _Known | None) -> _Known:
        document = await self._documents.get(CREDENTIALS, *key)
        if document is None:
            self._cache.pop(key, None)
            raise AuthenticationFailed(f"the credential {key[1]} does not exist (any more)")
        data = document.data
        kind: CredentialKind = data["kind"]
        version = str(data["version"])
        if kind not in _SHOWN:
            raise AuthenticationFailed(f"the credential {key[1]} is of kind {kind!r}, which is not known here")
        known = _Known(
            usable=Usable(kind=kind, secrets={}, version=version),
            status=str(data.get("status", "ok")),
            reason=str(data.get("reason", "")),
            lifetime=data.get("lifetime"),
            refreshed_at=parse_or_none(data.get("refreshedAt")),
            read_at=self._clock.monotonic(),
        )
        if before is not None and before.usable.version == version:
            return replace(known, usable=before.usable, refreshable=before.refreshable, expires_at=before.expires_at)
        try:
            secrets: dict[str, str] = json.loads((await self._vault.get(data["vaultName"], version)).reveal())
        except NotFound as error:
            raise AuthenticationFailed(
                f"the credential {key[1]} has lost its secret: version {version} is not in the vault"
            ) from error
        shown = {name: Secret(secrets[name]) for name in _SHOWN[kind] if name in secrets}
        return replace(
            known,
            usable=Usable(kind=kind, secrets=shown, version=version),
            refreshable=kind == "oauth2" and refreshable(secrets),
            expires_at=expires_at(secrets),
        )

    def _failed(self, key: _Key, error: Failure) -> None:
        self._observe(
            "credential_not_refreshed", tenantId=key[0], credentialId=key[1], label=error.label, reason=str(error)
        )


def _check(known: _Known) -> None:
    if known.status == "needs_reauth":
        raise InvalidGrant(f"the connection must be authorised again: {known.reason or 'its credential was refused'}")
