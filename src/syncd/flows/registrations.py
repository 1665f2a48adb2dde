"""Webhook registrations: who may send us events, how they sign, and their secrets.

The document says which versions of the secret are valid; the values are in the vault, under a name that is a hash. Every change
is a compare-and-set on the document, after the vault holds what it points to.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.domain.collections import REGISTRATIONS
from syncd.domain.errors import Conflict, Invalid, NotFound, Overloaded
from syncd.domain.ids import check_user_id, digest
from syncd.domain.schemes import scheme_for
from syncd.domain.secrets import Secret
from syncd.domain.signatures import DEFAULT_TOLERANCE, Verifier, key_of
from syncd.domain.times import DAY, iso, parse
from syncd.flows.readthrough import ReadThrough
from syncd.ports.documents import Condition, Create, Delete, Document, Page, Query, Replace
from syncd.ports.limiter import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.signatures import SignatureScheme
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.vault import Vault

MIB = 1024 * 1024
#: Seconds for which the secret before a rotation still signs: the longest overlap of a provider that rolls by itself (Stripe).
OVERLAP = DAY
#: Times that a lost compare-and-set is tried again before the caller is told.
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRegistration:
    """What is asked for; `create` checks it."""

    id: str
    tenant_id: str
    integration_id: str
    connection_id: str | None = None
    scheme: str
    scheme_settings: JsonObject = field(default_factory=dict)
    secret: Secret | None = None
    """None: one is made, and shown once in the answer."""
    rate: int | None = None
    """Events per minute; None: the deployment's default."""
    max_body_bytes: int | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Issued:
    """A registration, with the secret where it was made here: this is the only time that it is shown."""

    document: Document
    secret: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration prepared for the hot path. `verifier` is None where scheme or secrets cannot be used: nothing gets in."""

    id: str
    tenant_id: str
    integration_id: str
    connection_id: str | None
    enabled: bool
    scheme: SignatureScheme | None
    verifier: Verifier | None
    levels: tuple[Level, ...]
    max_body_bytes: int

    @property
    def group(self) -> str:
        return f"{self.tenant_id}:{self.connection_id or self.integration_id}"

    @property
    def kept_headers(self) -> tuple[str, ...]:
        return () if self.scheme is None else self.scheme.kept_headers


class Registrations:
    """`usual_bytes` and `large_bytes` bound bodies of schemes that send little and much; `rate` is the default per minute."""

    def __init__(
        self,
        *,
        documents: Documents,
        vault: Vault,
        clock: Clock,
        schemes: Mapping[str, SignatureScheme],
        ttl: float = 10.0,
        rate: int | None = None,
        usual_bytes: int = MIB,
        large_bytes: int = 25 * MIB,
        tolerance: float = DEFAULT_TOLERANCE,
    ) -> None:
        self._documents = documents
        self._vault = vault
        self._clock = clock
        self._schemes = schemes
        self._rate = rate
        self._usual_bytes = usual_bytes
        self._large_bytes = large_bytes
        self._tolerance = tolerance
        self._cache: ReadThrough[Registration] = ReadThrough(ttl)

    # -- reading --

    def cached(self, identifier: str) -> Registration | None:
        """From memory alone, for the hot path; None: ask `find`."""
        return self._cache.get(identifier, self._clock.monotonic())

    async def find(self, identifier: str) -> Registration:
        """Read through the cache. Raises NotFound."""
        while True:
            now = self._clock.monotonic()
            found = self._cache.get(identifier, now)
            if found is not None:
                return found
            if self._cache.missing(identifier, now):
                raise _unknown(identifier)
            if await self._cache.alone(identifier):
                break
        marker = self._cache.changes
        try:
            document = await self._documents.get(REGISTRATIONS, identifier, identifier)
            loaded = None if document is None else await self._prepare(document)
        except BaseException:
            self._cache.release(identifier)
            raise
        registration, valid = loaded or (None, float("inf"))
        self._cache.put(identifier, registration, valid - self._clock.now(), marker, self._clock.monotonic())
        if registration is None:
            raise _unknown(identifier)
        return registration

    async def get(self, identifier: str) -> Document:
        """The document, uncached. Raises NotFound."""
        document = await self._documents.get(REGISTRATIONS, identifier, identifier)
        if document is None:
            raise _unknown(identifier)
        return document

    async def list(
        self, *, tenant_ids: Sequence[str] | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        where = () if tenant_ids is None else (Condition("tenantId", "in", list(tenant_ids)),)
        return await self._documents.query(REGISTRATIONS, Query(across=True, where=where, limit=limit, cursor=cursor))

    async def _prepare(self, document: Document) -> tuple[Registration, float]:
        """The registration and until when (Unix seconds) its secrets stay as they are."""
        data = REGISTRATIONS.upgraded(document.data)
        now, valid = self._clock.now(), float("inf")
        usable: list[Secret] = []
        for version in data["secretVersions"]:
            until = float("inf") if version.get("until") is None else parse(version["until"])
            if until <= now:
                continue
            valid = min(valid, until)
            try:
                usable.append(await self._vault.get(version["name"], version["version"]))
            except NotFound:
                continue
        try:
            scheme = scheme_for(data["scheme"], data["schemeSettings"], self._schemes, tolerance=self._tolerance)
        except Invalid:
            scheme = None  # written by a newer release, or its provider file is gone: nothing gets in
        rate = data.get("rate") or self._rate
        usual = self._usual_bytes
        if scheme is not None and scheme.max_body_bytes is not None:
            usual = min(scheme.max_body_bytes, self._large_bytes)
        registration = Registration(
            id=document.id,
            tenant_id=data["tenantId"],
            integration_id=data["integrationId"],
            connection_id=data.get("connectionId"),
            enabled=data["enabled"],
            scheme=scheme,
            verifier=None if scheme is None else Verifier(scheme, usable),
            levels=() if rate is None else (Level(f"webhook:{document.id}", rate),),
            max_body_bytes=data.get("maxBodyBytes") or usual,
        )
        return registration, valid

    # -- changing --

    async def create(self, new: NewRegistration) -> Issued:
        """Raises Invalid with every wrong field, Conflict where the id is taken in the deployment."""
        scheme = self._checked(new)
        secret = new.secret or _fresh_secret()
        key_of(scheme, secret)
        if await self._documents.get(REGISTRATIONS, new.id, new.id) is not None:
            raise _taken(new.id)
        name = _vault_name(new.tenant_id, new.id)
        version = await self._vault.append(name, secret)
        now = iso(self._clock.now())
        data: JsonObject = {
            "tenantId": new.tenant_id,
            "integrationId": new.integration_id,
            "connectionId": new.connection_id,
            "scheme": new.scheme,
            "schemeSettings": new.scheme_settings,
            "secretVersions": [{"name": name, "version": version, "createdAt": now}],
            "enabled": new.enabled,
            "rate": new.rate,
            "maxBodyBytes": new.max_body_bytes,
            "createdAt": now,
            "updatedAt": now,
            "schema": REGISTRATIONS.schema,
        }
        try:
            [document] = await self._documents.write(REGISTRATIONS, new.id, [Create(new.id, data)])
        except Conflict:
            raise _taken(new.id) from None
        finally:
            self._cache.drop(new.id)
        assert document is not None
        return Issued(document, secret if new.secret is None else None)

    async def rotate(self, identifier: str, *, secret: Secret | None = None, overlap: float = OVERLAP) -> Issued:
        """A new secret; those before stay valid for `overlap` seconds at most, 0 for a secret that leaked."""
        value = secret or _fresh_secret()
        found = await self.get(identifier)
        data = found.data
        key_of(scheme_for(data["scheme"], data["schemeSettings"], self._schemes, tolerance=self._tolerance), value)
        name = _vault_name(data["tenantId"], identifier)
        version = await self._vault.append(name, value)

        def change(data: JsonObject) -> JsonObject:
            now = self._clock.now()
            end = iso(now + overlap)
            older = [{**one, "until": min(one.get("until") or end, end)} for one in data["secretVersions"]]
            kept = [one for one in older if parse(one["until"]) > now]
            return {**data, "secretVersions": [*kept, {"name": name, "version": version, "createdAt": iso(now)}]}

        return Issued(await self._change(identifier, change), value if secret is None else None)

    async def enable(self, identifier: str, enabled: bool) -> Document:
        """A disabled registration answers as one that does not exist."""
        return await self._change(identifier, lambda data: {**data, "enabled": enabled})

    async def delete(self, identifier: str) -> None:
        """Remove it and its secrets. Events that were accepted are still applied. Raises NotFound.

        The secrets first: killed in between it lets nobody in, and is found to be deleted again. The other way round they would stay
        in the vault with nothing to say so.
        """
        found = await self.get(identifier)
        try:
            await self._vault.purge(_vault_name(found.data["tenantId"], identifier))
            await self._documents.write(REGISTRATIONS, identifier, [Delete(identifier)])
        finally:
            self._cache.drop(identifier)

    async def _change(self, identifier: str, change: Callable[[JsonObject], JsonObject]) -> Document:
        for _ in range(_ATTEMPTS):
            found = await self.get(identifier)
            data = {**change(REGISTRATIONS.upgraded(found.data)), "updatedAt": iso(self._clock.now())}
            try:
                [document] = await self._documents.write(
                    REGISTRATIONS, identifier, [Replace(identifier, data, found.etag)]
                )
            except Conflict:
                continue
            finally:
                self._cache.drop(identifier)
            assert document is not None
            return document
        raise Overloaded(f"the registration {identifier!r} is being changed by others", retry_after=1.0)

    def _checked(self, new: NewRegistration) -> SignatureScheme:
        wrong: dict[str, str] = {}
        for path, value in (("id", new.id), ("tenantId", new.tenant_id), ("integrationId", new.integration_id)):
            _check_id(wrong, path, value)
        if new.connection_id is not None:
            _check_id(wrong, "connectionId", new.connection_id)
        if new.rate is not None and new.rate < 1:
            wrong["rate"] = "must be at least 1 per minute"
        if new.max_body_bytes is not None and not 1 <= new.max_body_bytes <= self._large_bytes:
            wrong["maxBodyBytes"] = f"must be from 1 to {self._large_bytes} bytes"
        scheme: SignatureScheme | None = None
        try:
            scheme = scheme_for(new.scheme, new.scheme_settings, self._schemes, tolerance=self._tolerance)
        except Invalid as error:
            wrong |= error.errors
        if wrong or scheme is None:
            raise Invalid("; ".join(f"{path}: {rule}" for path, rule in wrong.items()), errors=wrong)
        return scheme


def shown(document: Document) -> JsonObject:
    """A registration as anybody may see it: how many secrets are valid and until when, and nothing else about them."""
    versions = [
        {name: one[name] for name in ("createdAt", "until") if name in one} for one in document.data["secretVersions"]
    ]
    rest = {name: value for name, value in document.data.items() if name not in ("secretVersions", "schema")}
    return {"id": document.id, **rest, "secrets": versions}


def _check_id(wrong: dict[str, str], path: str, value: str) -> None:
    try:
        check_user_id(path, value)
    except Invalid as error:
        wrong |= error.errors


def _fresh_secret() -> Secret:
    # 256 bits; hexadecimal is also valid base64, so that it fits every way in which a scheme reads its secret.
    return Secret(secrets.token_hex(32))


def _vault_name(tenant_id: str, identifier: str) -> str:
    return digest(tenant_id, "webhook", identifier)


def _unknown(identifier: str) -> NotFound:
    return NotFound(f"there is no webhook registration {identifier[:80]!r}")


def _taken(identifier: str) -> Conflict:
    return Conflict(f"there is already a webhook registration {identifier!r}; ids are unique in the deployment")
