"""TITLE. API: https://api.example.com/docs (where its reference is).

A provider to copy (`syncd providers new NAME`): contacts in pages, written with an idempotency key, and one webhook.
Whoever reads this file sees everything that is special about the provider; CONTRIBUTING.md leads through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from syncd.adapters.http.paging import Paging
from syncd.adapters.http.shapes import Shape, external_id, kept_aside
from syncd.domain.complaints import Complaints
from syncd.domain.errors import Invalid, NotFound, NotUnderstood, ServerFault
from syncd.domain.events import ReceivedEvent
from syncd.domain.fields import Fields
from syncd.domain.jsonbody import parse_object
from syncd.domain.signatures import SignatureScheme
from syncd.domain.timestamps import written
from syncd.ports.provider import Kind, Provider, Record, RecordPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.events import Operation
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.api import Api, Reply
    from syncd.ports.provider import Fetch

_CONTACT = Kind(
    name="contact",  # the entity type: what connections list under `entities`
    fields=Fields(read_only=frozenset({"url"})),  # what the API accepts in no write
    creates="idempotent",  # or lookup, blind, none: what happens when a create is sent twice
    updates=True,
    deletes=True,
    conditional=False,  # True where it refuses a write whose version is not current any more
    incremental=True,  # it can list what was changed since a time
    deletes_visible=False,  # True where deleted objects stay in that list, marked
)
#: Where its JSON holds what we need to know; all other fields become the content.
_SHAPE = Shape(id=("id",), updated_at=("changed",))
#: How it hands out lists, with the names of its query parameters and the most that it gives at once.
_PAGING = Paging(style="page", parameter="page", limit="per_page", most=100)

_OPERATIONS: Mapping[str, Operation] = {"added": "create", "changed": "update", "removed": "delete"}


class _Webhooks:
    scheme = SignatureScheme(
        name="template",  # unique over all providers
        header="x-template-signature",  # in lower case; https://api.example.com/docs (where it says how it signs)
        prefix="sha256=",
        delivery_id_header="x-template-delivery",  # the same on every redelivery; None where there is none
        kept_headers=("content-type", "x-template-delivery"),  # those that `event` reads; never a signature
    )

    def event(self, headers: Mapping[str, str], body: bytes) -> ReceivedEvent | None:
        payload = parse_object(body)
        name, contact = payload.get("event"), payload.get("contact")
        if name == "ping":
            return None  # it says nothing about an object
        operation = _OPERATIONS.get(name) if isinstance(name, str) else None
        if operation is None or not isinstance(contact, dict):
            raise NotUnderstood("the event names no operation that we know, or no contact")
        try:
            record = _SHAPE.record(contact)  # the same shape as in a page
        except ValueError as error:
            raise NotUnderstood(f"contact: {error}") from None
        return ReceivedEvent(
            event_type=f"contact.{name}",
            entity_type=_CONTACT.name,
            entity_id=record.external_id,
            operation=operation,
            data=record.data,
            occurred_at=record.updated_at,
        )


class _Records:
    def base_url(self, settings: JsonObject) -> str:
        given = Complaints(settings)
        url = given.url("baseUrl")  # a provider with one address for everybody returns that
        if url is None or given.errors:
            raise Invalid("baseUrl cannot be used", errors=given.errors)
        return url

    def check(self, settings: JsonObject) -> dict[str, str]:
        given = Complaints(settings)
        given.url("baseUrl")  # take every setting that a connection may have here: text, choice, flag, ...
        given.finish()  # any other is complained about
        return given.errors

    def kinds(self, settings: JsonObject) -> Mapping[str, Kind]:
        return {_CONTACT.name: _CONTACT}

    async def test(self, api: Api) -> JsonObject:
        # The cheapest call that needs the credential, such as "who am I".
        reply = await api.request("GET", "/contacts", operation="fetch", query=_PAGING.query(None, 1))
        return {"status": reply.status}

    async def fetch(self, api: Api, fetch: Fetch) -> RecordPage:
        query = _PAGING.query(fetch.cursor, fetch.limit)
        if fetch.since is not None:
            query["changed_since"] = written(fetch.since, "iso")  # rounded down; what is as old must be shown, too
        reply = await api.request("GET", "/contacts", operation="fetch", query=query)
        body = reply.json()
        items = body.get("data") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise ServerFault("the answer holds no list at data")  # an error in an answer with status 200 ends here
        records, unreadable = _SHAPE.page(items)
        following = _PAGING.following(
            cursor=fetch.cursor, count=len(items), records=records, body=body, link=reply.next_link(), asked=""
        )
        return RecordPage(
            records=records, unreadable=kept_aside(unreadable, reply), next=following, served_at=reply.served_at
        )

    async def read(self, api: Api, kind: str, external_id: str) -> Record | None:
        try:
            return _one(await api.request("GET", _path(external_id), operation="fetch"))
        except NotFound:
            return None

    async def create(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record:
        headers = {"Idempotency-Key": key}  # how the provider is told that this create was sent before
        return _one(await api.request("POST", "/contacts", operation="create", json=data, headers=headers))

    async def find(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record | None:
        raise Invalid("creates are idempotent here, so nothing is looked up")  # for `lookup`: search by the marker

    async def update(
        self, api: Api, kind: str, external_id: str, changes: JsonObject, *, whole: JsonObject, version: str | None
    ) -> Record | None:
        try:  # PATCH with `changes`, or PUT with `whole`
            return _one(await api.request("PATCH", _path(external_id), operation="update", json=changes))
        except NotFound:
            return None

    async def delete(self, api: Api, kind: str, external_id: str, *, version: str | None) -> None:
        try:
            await api.request("DELETE", _path(external_id), operation="delete")
        except NotFound:
            return


def _path(identifier: str) -> str:
    try:
        # Ids come from webhooks, too: one such as `..` must not lead out of the collection.
        return f"/contacts/{quote(external_id(identifier), safe='')}"
    except ValueError as error:
        raise Invalid(f"no contact can be addressed so: {error}") from None


def _one(reply: Reply) -> Record:
    """The object of an answer about one."""
    item: Json = reply.json()
    try:
        return _SHAPE.record(item)
    except ValueError as error:
        raise ServerFault(f"the answer holds no contact: {error}") from None


PROVIDER = Provider(
    name="template",  # the `integrationId` of connections and registrations, and the name of this file
    title="TITLE",
    webhooks=_Webhooks(),  # None where it sends none, or signs as a generic scheme does (domain/schemes)
    records=_Records(),  # None where it only sends webhooks
    limits={"all": 300},  # calls per minute that the provider allows, where it says so
)
