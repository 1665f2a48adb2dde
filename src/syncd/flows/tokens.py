"""One refresh of an OAuth credential: once at a time anywhere, and its result never lost (guarantees, G5).

    intent + lease written into the document (CAS) -> token endpoint -> new version into the vault -> pointer moved (CAS)

The document names the version in force; what lies behind it in the vault was written by a refresh that died before it could say so.
Each version says which one it was made from, so whoever takes over takes such a one up instead of calling again: the refresh token
that it came from is spent. Only an answer that never reached us is lost for good; a provider that forgives no second use of a
refresh token then has the person connect again.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from syncd.domain import quota
from syncd.domain.collections import CREDENTIALS
from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Failure,
    Invalid,
    InvalidGrant,
    NotFound,
    Rejected,
    ServerFault,
    Throttled,
    TimedOut,
    Unavailable,
)
from syncd.domain.secrets import Secret
from syncd.domain.times import iso, parse
from syncd.domain.tokens import Granted, Refused, expires_at, read_answer, refresh_form, refreshable
from syncd.ports.caller import Call
from syncd.ports.documents import Replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.caller import Answer, Caller
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.observe import Observe
    from syncd.ports.vault import Vault

Stored = TypeVar("Stored")

#: Bound of the call, in seconds.
CALL_TIMEOUT = 10.0
#: How long after the call's end an intent still stands, in seconds: for storing what came, and for a process that was stopped.
LEASE = 60.0
#: How long an intent stands whose answer got lost, in seconds: the endpoint may still be at it.
LOST_WAIT = 30.0
#: Somebody else's refresh is looked at this often, in seconds; beyond its call's time it is no longer waited for in place.
POLL = 0.25
#: What was granted is stored whatever it takes: tries, and the pause between them in seconds. Within the lease.
SAVE_TRIES = 30
SAVE_PAUSE = 1.0
#: Lost compare-and-sets after which somebody else is plainly at work.
RACES = 20
#: Seconds before a store or endpoint that refused without naming a time is asked again.
_AGAIN = 5.0
_MOST_ANSWER = 256 * 1024
FROM = "refreshedFrom"
#: What takes the place of a version: the version in the vault, None where it is still to be stored, and its fields.
Found = tuple[str | None, dict[str, str]]


class TokenRefresh:
    def __init__(
        self, *, documents: Documents, vault: Vault, caller: Caller, clock: Clock, observe: Observe, owner: str
    ) -> None:
        self._documents = documents
        self._vault = vault
        self._caller = caller
        self._clock = clock
        self._observe = observe
        self._owner = owner
        #: Granted, and the vault would not take it: by vault name, with the version it came from.
        self._unsaved: dict[str, tuple[str, dict[str, str]]] = {}

    async def renew(self, tenant_id: str, credential_id: str, version: str, *, patient: bool) -> None:
        """Replace `version`, or see that somebody did. `patient`: wait in place while somebody else is at it.

        Must not be cancelled: what the endpoint granted would be lost. Raises InvalidGrant and AuthenticationFailed where a person
        must act; Unavailable, Throttled, TimedOut, ServerFault and what stores raise where it may work later.
        """
        claimed = await self._claim(tenant_id, credential_id, version, patient)
        if claimed is None:
            return
        document, taken_over = claimed
        name = document.data["vaultName"]
        secrets = await self._secrets(name, version)
        found: Found | None = self._granted_before(name, version)
        if found is None and taken_over:
            found = await self._left_behind(name, version)
        if found is None:
            answer = await self._ask(document, secrets)
            if isinstance(answer, Granted):
                self._unsaved[name] = (version, {**answer.secrets, FROM: version})
                found = self._granted_before(name, version)
            else:
                found = await self._left_behind(name, version)
                if found is None:
                    await self._refused(document, answer, taken_over)
        if found is not None:
            await self._point(document, *found)
        self._unsaved.pop(name, None)

    async def _claim(
        self, tenant_id: str, credential_id: str, version: str, patient: bool
    ) -> tuple[Document, bool] | None:
        """The document with our intent in it, and whether another's ran out before; None where the version is no longer in force."""
        races = 0
        while True:
            document = await self._read(tenant_id, credential_id)
            if document is None:
                raise AuthenticationFailed(f"the credential {credential_id} does not exist any more")
            if document.data["version"] != version:
                return None
            if document.data.get("status") == "needs_reauth":
                raise InvalidGrant(str(document.data.get("reason", "a person must connect again")))
            now, intent = self._clock.now(), document.data.get("refresh")
            if intent is not None and parse(intent["until"]) > now:
                if not patient or intent.get("lost") or now > parse(intent["since"]) + CALL_TIMEOUT + SAVE_PAUSE:
                    raise Unavailable(
                        f"another refresh of {credential_id} has not ended: {intent['owner']} began it at {intent['since']}",
                        retry_after=parse(intent["until"]) - now,
                    )
                await self._clock.sleep(POLL)  # it is somebody else's process that we wait for: nothing wakes us
                continue
            mark = {"owner": self._owner, "since": iso(now), "until": iso(now + CALL_TIMEOUT + LEASE)}
            try:
                stored = await self._replace(document, {**document.data, "refresh": mark})
            except Conflict:
                races += 1
                if races == RACES:
                    raise
            else:
                return stored, intent is not None

    async def _ask(self, document: Document, secrets: dict[str, str]) -> Granted | Refused:
        """Call the endpoint, once."""
        if not refreshable(secrets):
            await self._give_back(document)
            raise AuthenticationFailed(f"the credential {document.id} cannot be refreshed: it has no refresh token")
        call = Call(
            method="POST",
            url=secrets["tokenUrl"],
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            secret_body=Secret(refresh_form(secrets)),
            timeout=CALL_TIMEOUT,
            max_response_bytes=_MOST_ANSWER,
        )
        try:
            answer = await self._caller.call(call)
        except (TimedOut, ServerFault):
            await self._give_back(document, lost=True)
            raise
        except Invalid as error:
            await self._give_back(document)
            raise AuthenticationFailed(f"the token endpoint cannot be asked: {error}") from error
        except Failure:
            await self._give_back(document)
            raise
        said = read_answer(answer.status, answer.body, secrets, self._clock.now())
        if isinstance(said, Refused) and said.kind in ("later", "unclear", "client"):
            await self._give_back(document)
            raise self._error(said, answer)
        return said

    def _error(self, refused: Refused, answer: Answer) -> Failure:
        wait = quota.retry_after(answer.headers, self._clock.now())
        bounded = None if wait is None else quota.bounded_wait(wait)
        if refused.kind == "later":
            return Throttled(refused.reason, retry_after=bounded)
        if refused.kind == "unclear":
            return ServerFault(refused.reason, retry_after=bounded or _AGAIN)
        return AuthenticationFailed(refused.reason)

    async def _refused(self, document: Document, refused: Refused, taken_over: bool) -> None:
        """The grant is spent, unless somebody has another one by now."""
        version, reason = document.data["version"], refused.reason
        if taken_over:
            reason += "; an earlier refresh was interrupted before its answer was stored"
        for _ in range(RACES):
            current = await self._read(document.partition, document.id)
            if current is None or current.data["version"] != version:
                return
            now = iso(self._clock.now())
            data = {**current.data, "status": "needs_reauth", "reason": reason, "updatedAt": now}
            data.pop("refresh", None)
            try:
                await self._replace(current, data)
            except Conflict:
                continue
            self._observe("credential_needs_reauth", reason=reason, **_facts(document))
            raise InvalidGrant(reason)

    async def _point(self, document: Document, stored_as: str | None, secrets: dict[str, str]) -> None:
        """Store what was granted, where it is not yet, and make it the version in force. Whatever else changed meanwhile: it comes
        from the version that is still in force, so it is newer."""
        data = document.data
        name, before = data["vaultName"], data["version"]
        version = stored_as
        if version is None:
            version = await self._saved(partial(self._vault.append, name, Secret(json.dumps(secrets))))
        current: Document | None = document
        while current is not None and current.data["version"] == before:
            renewed = self._renewed(current.data, version, secrets)
            try:
                await self._saved(partial(self._replace, current, renewed))
            except Conflict:
                current = await self._saved(partial(self._read, document.partition, document.id))
            else:
                self._observe("credential_refreshed", adopted=stored_as is not None, **_facts(document))
                return

    def _renewed(self, data: JsonObject, version: str, secrets: dict[str, str]) -> JsonObject:
        now = self._clock.now()
        renewed = {**data, "version": version, "status": "ok", "refreshedAt": iso(now), "updatedAt": iso(now)}
        for name in ("refresh", "reason", "expiresAt", "lifetime"):
            renewed.pop(name, None)
        ends = expires_at(secrets)
        if ends is not None:
            renewed |= {"expiresAt": iso(ends), "lifetime": ends - now}
        return renewed

    async def _give_back(self, document: Document, *, lost: bool = False) -> None:
        """End our intent; with `lost`, so that nobody calls while the endpoint may still be at it. It runs out by itself as well."""
        data = dict(document.data)
        if lost:
            data["refresh"] = {**data["refresh"], "lost": True, "until": iso(self._clock.now() + LOST_WAIT)}
        else:
            data.pop("refresh", None)
        try:
            await self._replace(document, data)
        except (Conflict, Failure):
            return

    def _granted_before(self, name: str, version: str) -> Found | None:
        unsaved = self._unsaved.get(name)
        return (None, unsaved[1]) if unsaved is not None and unsaved[0] == version else None

    async def _left_behind(self, name: str, version: str) -> Found | None:
        """What an interrupted refresh made of `version` and could not announce."""
        versions = await self._vault.versions(name)
        after = versions[versions.index(version) + 1 :] if version in versions else versions
        for candidate in reversed(after):
            secrets = await self._secrets(name, candidate)
            if secrets.get(FROM) == version:
                return candidate, secrets
        return None

    async def _secrets(self, name: str, version: str) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((await self._vault.get(name, version)).reveal())
        except NotFound as error:
            raise Rejected(f"version {version} of the credential is not in the vault") from error
        return found

    async def _saved(self, write: Callable[[], Awaitable[Stored]]) -> Stored:
        for _ in range(SAVE_TRIES - 1):
            try:
                return await write()
            except Failure:
                await self._clock.sleep(SAVE_PAUSE)  # a store that refuses says nothing when it is well again
        return await write()

    async def _read(self, tenant_id: str, credential_id: str) -> Document | None:
        return await self._documents.get(CREDENTIALS, tenant_id, credential_id)

    async def _replace(self, document: Document, data: JsonObject) -> Document:
        [stored] = await self._documents.write(
            CREDENTIALS, document.partition, [Replace(document.id, data, document.etag)]
        )
        assert stored is not None
        return stored


def _facts(document: Document) -> dict[str, object]:
    return {
        "credentialId": document.id,
        "tenantId": document.partition,
        "connectionId": document.data.get("connectionId"),
    }
