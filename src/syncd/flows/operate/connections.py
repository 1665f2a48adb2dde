"""Connections: one account of one tenant at one provider, with what is synced and how."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS, ENTITIES, REGISTRATIONS
from syncd.domain.dedupe import Identity
from syncd.domain.errors import Conflict, Invalid, NotFound
from syncd.domain.ids import check_user_id
from syncd.domain.merge import Rules
from syncd.domain.records import DIRECTIONS, entity_partition
from syncd.domain.times import iso
from syncd.flows.operate.credentials import check_credential
from syncd.flows.operate.paging import FIRST_PAGE, Listing, Paging, listing, tenant_conditions
from syncd.flows.operate.redaction import redacted, secret_fields
from syncd.ports.documents import Condition, Create, Delete, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.operate.credentials import CredentialStore
    from syncd.flows.operate.tasks import TasksFlow
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Kind, Provider, Providers

#: What else an entity type says has a reader of its own, which names what is wrong.
_READERS: tuple[Callable[[JsonObject], object], ...] = (Identity.of_connection, Rules.of_connection)
#: Fields whose change is checked against the provider.
_DESCRIBED = ("settings", "entities")
#: What an entity type without these fields means.
ENTITY_DEFAULTS = {"direction": "pull", "dedupe": "external_id", "conflict": "last_write_wins"}
#: Settings that say, beside the base URL, whose objects they are.
_WHOSE = ("owner", "repo")
#: Linked entities are counted no further.
_MANY = 1000


class ConnectionsFlow:
    """`providers`: the integrations that this installation knows."""

    def __init__(
        self,
        *,
        documents: Documents,
        credentials: CredentialStore,
        clock: Clock,
        audit: AuditTrail,
        providers: Providers,
        tasks: TasksFlow,
    ) -> None:
        self._documents = documents
        self._credentials = credentials
        self._clock = clock
        self._audit = audit
        self._providers = providers
        self._tasks = tasks

    async def create(
        self,
        principal: Principal,
        fields: JsonObject,
        credential: Mapping[str, str] | None = None,
        *,
        force: bool = False,
    ) -> JsonObject:
        """`fields`: id, tenantId, integrationId, settings, entities, enabled. Raises Invalid naming every field that is
        wrong, Conflict where the id is taken, or where entities are still linked to a former connection of this id, unless
        `force`. Answers the document without secrets."""
        identifier = check_user_id("id", fields.get("id"))
        tenant_id = check_user_id("tenantId", fields.get("tenantId"))
        principal.may_operate_in(tenant_id)
        self._check(fields, credential)
        now = iso(self._clock.now())
        document: JsonObject = {
            "schema": CONNECTIONS.schema,
            "tenantId": tenant_id,
            "integrationId": fields["integrationId"],
            "settings": fields.get("settings", {}),
            "entities": _with_defaults(fields.get("entities", {})),
            "enabled": fields.get("enabled", True),
            "createdAt": now,
            "updatedAt": now,
        }
        if await self._documents.get(CONNECTIONS, identifier, identifier) is not None:
            raise _taken(identifier)
        if not force and (linked := await self._linked(tenant_id, identifier, document["entities"])):
            raise Conflict(
                f"entities linked to objects of a former connection {identifier!r}: {linked}. At another system the same ids would "
                "mean other objects: take another id, or send force where it is the same account again"
            )
        async with self._audit.change(principal, "connection.create", identifier, tenant_id=tenant_id, after=document):
            if credential is not None:
                document["credentialId"] = await self._credentials.put(tenant_id, identifier, credential)
                document["credentialKind"] = credential["kind"]
            try:
                [stored] = await self._documents.write(CONNECTIONS, identifier, [Create(identifier, document)])
            except Conflict:
                await self._credentials.remove(tenant_id, document.get("credentialId"))
                raise _taken(identifier) from None
        assert stored is not None
        return shown(stored)

    async def list(self, principal: Principal, *, tenant_id: str | None = None, paging: Paging = FIRST_PAGE) -> Listing:
        where = tenant_conditions(principal, tenant_id)
        if where is None:
            return Listing(items=[])
        return await listing(self._documents, CONNECTIONS, paging=paging, show=shown, where=where)

    async def get(self, principal: Principal, identifier: str) -> JsonObject:
        return shown(await find_connection(self._documents, principal, identifier))

    async def update(
        self,
        principal: Principal,
        identifier: str,
        fields: JsonObject,
        credential: Mapping[str, str] | None = None,
        *,
        etag: str | None = None,
        force: bool = False,
    ) -> JsonObject:
        """Change settings, entities, enabled, or the credential. With `etag`, Conflict unless it is the current one; Conflict also where
        linked entities would lead to another system's objects, unless `force`.

        A connection that is enabled again is told what it missed: by the task `catchUpTaskId` of the answer."""
        principal.may_operate()
        found = await find_connection(self._documents, principal, identifier)
        data = CONNECTIONS.upgraded(found.data)
        document = {**data, **fields, "updatedAt": iso(self._clock.now())}
        # What was right for an earlier release may be wrong now, and must not keep anybody from switching a connection off.
        self._check(document, credential, all_of_it=not fields.keys().isdisjoint(_DESCRIBED))
        document["entities"] = _with_defaults(document["entities"])
        tenant_id = data["tenantId"]
        if not force:
            await self._check_remote(identifier, data, document)
        async with self._audit.change(
            principal, "connection.update", identifier, tenant_id=tenant_id, before=data, after=document
        ):
            fresh: str | None = None
            if credential is not None:
                fresh = document["credentialId"] = await self._credentials.put(tenant_id, identifier, credential)
                document["credentialKind"] = credential["kind"]
            try:
                [stored] = await self._documents.write(
                    CONNECTIONS, identifier, [Replace(identifier, document, etag or found.etag)]
                )
            except Conflict:
                await self._credentials.remove(tenant_id, fresh)
                raise
            if fresh is not None:
                await self._credentials.remove(tenant_id, data.get("credentialId"))
        assert stored is not None
        answer = shown(stored)
        if document.get("enabled", True) and not data.get("enabled", True):
            answer |= await self._catch_up(principal, stored)
        return answer

    async def delete(self, principal: Principal, identifier: str) -> None:
        """Remove it with its credential. Raises Conflict while a webhook registration uses it."""
        principal.may_operate()
        found = await find_connection(self._documents, principal, identifier)
        users = await self._documents.query(
            REGISTRATIONS, Query(across=True, where=[Condition("connectionId", "eq", identifier)], limit=5)
        )
        if users.items:
            names = ", ".join(document.id for document in users.items)
            raise Conflict(f"the connection {identifier!r} is used by webhooks: delete them first ({names})")
        tenant_id = found.data["tenantId"]
        async with self._audit.change(
            principal, "connection.delete", identifier, tenant_id=tenant_id, before=found.data
        ):
            await self._documents.write(CONNECTIONS, identifier, [Delete(identifier, found.etag)])
            await self._credentials.remove(tenant_id, found.data.get("credentialId"))

    async def _catch_up(self, principal: Principal, connection: Document) -> JsonObject:
        """The task that tells it what it was owed, and what others changed while nobody told it; none where it takes no pushes."""
        data = connection.data
        if all(rules["direction"] == "pull" for rules in data["entities"].values()):
            return {}
        task = await self._tasks.create(
            principal,
            {
                "tenantId": data["tenantId"],
                "integrationId": data["integrationId"],
                "connectionId": connection.id,
                "syncMode": "push",
            },
        )
        return {"catchUpTaskId": task["id"]}

    async def _check_remote(self, identifier: str, before: JsonObject, after: JsonObject) -> None:
        """Ids of linked objects mean something only where they were given."""
        provider = self._providers.get(str(before["integrationId"]))
        old, new = _remote(provider, before.get("settings", {})), _remote(provider, after.get("settings", {}))
        if None in (old, new) or old == new:
            return
        types = {**before.get("entities", {}), **after.get("entities", {})}
        if linked := await self._linked(before["tenantId"], identifier, types):
            raise Conflict(
                f"entities linked to objects at {old}: {linked}. At {new} the same ids would mean other objects. Make another "
                "connection for that, or send force where it is the same system at another address"
            )

    async def _linked(self, tenant_id: str, identifier: str, types: Iterable[str]) -> str:
        """How many live entities of these types know the connection, in words; empty: none."""
        linked = 0
        for name in types:
            linked += await self._documents.count(
                ENTITIES,
                entity_partition(tenant_id, name),
                (Condition("connectionId", "eq", identifier),),
                at_most=_MANY,
            )
        return "" if not linked else f"{_MANY:,} or more" if linked >= _MANY else str(linked)

    def _check(self, fields: JsonObject, credential: Mapping[str, str] | None, *, all_of_it: bool = True) -> None:
        wrong: dict[str, str] = {}
        provider = self._providers.get(str(fields.get("integrationId")))
        if provider is None:
            known = ", ".join(sorted(self._providers)) or "none"
            wrong["integrationId"] = f"no provider of this name is installed; installed: {known}"
        for path in secret_fields(fields.get("settings", {}), "settings"):
            wrong[path] = "a secret does not belong into settings, which are shown; send it in credential"
        wrong |= _check_entities(fields.get("entities", {}))
        if provider is not None and all_of_it:
            wrong = {**_check_with(provider, fields.get("settings", {}), fields.get("entities", {})), **wrong}
        if credential is not None:
            wrong |= check_credential(credential)
        if wrong:
            path, text = next(iter(wrong.items()))
            raise Invalid(f"{path}: {text}", errors=wrong)


async def find_connection(documents: Documents, principal: Principal, identifier: str) -> Document:
    """Raises NotFound, also for another tenant's."""
    found = await documents.get(CONNECTIONS, identifier, identifier)
    if found is None or not principal.sees(found.data["tenantId"]):
        raise NotFound(f"there is no connection {identifier!r}")
    return found


def _remote(provider: Provider | None, settings: JsonObject) -> str | None:
    """Whose objects a connection with these settings has, in words; None where they do not say."""
    if provider is None or provider.records is None or not settings:
        return None
    try:
        base_url = provider.records.base_url(settings)
    except Invalid:
        return None
    return " ".join([base_url, "/".join(str(settings[name]) for name in _WHOSE if name in settings)]).strip()


def _check_entities(entities: JsonObject) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for name, rules in entities.items():
        path = f"entities.{name}"
        try:
            check_user_id(path, name)
        except Invalid as error:
            wrong |= error.errors
        if rules.get("direction", DIRECTIONS[0]) not in DIRECTIONS:
            wrong[f"{path}.direction"] = f"must be one of {', '.join(DIRECTIONS)}"
        for read in _READERS:
            try:
                read(rules)
            except Invalid as error:
                wrong |= {f"{path}.{below}": text for below, text in error.errors.items()}
    return wrong


def _check_with(provider: Provider, settings: JsonObject, entities: JsonObject) -> dict[str, str]:
    """What the provider has to say about a connection to it."""
    if provider.records is None or (provider.webhooks is not None and not settings):
        return {}  # a connection that only receives webhooks needs no address
    wrong = {f"settings.{path}": text for path, text in provider.records.check(settings).items()}
    if wrong:
        return wrong
    kinds = provider.records.kinds(settings)
    for name, rules in entities.items():
        problem = _unfit(provider, kinds, name, rules.get("direction", DIRECTIONS[0]))
        if problem:
            wrong[f"entities.{name}"] = problem
    return wrong


def _unfit(provider: Provider, kinds: Mapping[str, Kind], name: str, direction: str) -> str | None:
    kind = kinds.get(name)
    if kind is None:
        if provider.webhooks is not None and direction == "pull":
            return None  # webhooks may tell of more types than can be asked for
        near = difflib.get_close_matches(name, kinds, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(kinds)) or 'none'}"
        return f"{provider.title} has no such type; {hint}"
    if direction != "pull" and kind.creates == "none" and not kind.updates and not kind.deletes:
        return f"{provider.title} can only be read here: the direction must be pull"
    return None


def _with_defaults(entities: JsonObject) -> JsonObject:
    return {name: {**ENTITY_DEFAULTS, **rules} for name, rules in entities.items()}


def _taken(identifier: str) -> Conflict:
    return Conflict(f"there is already a connection {identifier!r}; ids are unique in the deployment")


def shown(document: Document) -> JsonObject:
    """A connection as anybody may see it: whether there is a credential, and never what it is."""
    data = CONNECTIONS.upgraded(document.data)
    kind = data.get("credentialKind")
    visible: JsonObject = redacted({name: value for name, value in data.items() if name != "credentialKind"})
    return {
        "id": document.id,
        **visible,
        "credential": {"kind": kind, "configured": kind is not None},
        "etag": document.etag,
    }
