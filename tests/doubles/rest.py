"""APIs as small systems have them: one double for each way of paging, of writing and of telling the time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal

from aiohttp import web

from tests.doubles.contract import Doubles, JsonObject, ProviderDouble


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True, kw_only=True)
class Manners:
    """What this API does its own way. Written down here and, in its words, in the settings of the connection."""

    settings: JsonObject
    """Of the type `contact`."""
    paging: Literal["page", "offset", "cursor", "link", "none"]
    stamp: Callable[[float], Any] = lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    since: Callable[[str], float] | None = None
    capped: int = 1000
    """It gives no more objects at once, whatever is asked for."""
    flat: bool = True
    """The fields stand in the object itself; otherwise inside `properties`."""
    wrapped: str | None = None
    replaces: bool = False
    creates: Literal["idempotent", "lookup", "blind"] = "blind"
    conditional: Literal["if-match", "field", "none"] = "none"
    keeps_deleted: bool = False
    answers: Literal["object", "id", "nothing"] = "object"


@dataclass(slots=True)
class Contact:
    number: int
    fields: JsonObject
    changed: float
    key: str | None = None
    revision: int = 1
    deleted: bool = False


class RestDouble(ProviderDouble):
    kinds = ("contact",)

    def __init__(self, manners: Manners) -> None:
        super().__init__()
        self.manners = manners
        self.contacts: dict[str, Contact] = {}
        self._numbers = 0
        """Given so far. None is given twice."""

    def settings(self) -> JsonObject:
        return {
            "baseUrl": f"{self.url}/api",
            "headers": {"X-Client": "syncd"},
            "types": {"contact": self.manners.settings},
        }

    def routes(self) -> list[web.RouteDef]:
        one = "/api/contacts/{id}"
        return [
            web.get("/api/contacts", self._list),
            web.get(one, self._get),
            web.post("/api/contacts", self._create),
            web.put(one, self._update) if self.manners.replaces else web.patch(one, self._update),
            web.delete(one, self._delete),
        ]

    # -- the system itself --

    def sample(self, kind: str, number: int) -> JsonObject:
        return {"name": f"Ana {number}", "mail": f"ana{number}@example.com", "größe": number}

    def change(self, kind: str, number: int) -> JsonObject:
        return {"name": f"Änne {number}"}

    def put(self, kind: str, number: int) -> str:
        return str(self._make(self.sample(kind, number)).number)

    def edit(self, kind: str, external_id: str, changes: JsonObject) -> None:
        found = self.contacts[external_id]
        found.fields = {**found.fields, **changes}
        found.changed, found.revision = self.now, found.revision + 1

    def remove(self, kind: str, external_id: str) -> None:
        if self.manners.keeps_deleted:
            found = self.contacts[external_id]
            found.deleted, found.changed, found.revision = True, self.now, found.revision + 1
        else:
            del self.contacts[external_id]

    def held(self, kind: str, external_id: str) -> JsonObject | None:
        found = self.contacts.get(external_id)
        return None if found is None or found.deleted else dict(found.fields)

    def ids(self, kind: str) -> list[str]:
        return [identifier for identifier, found in self.contacts.items() if not found.deleted]

    def event(
        self, kind: str, external_id: str, operation: Literal["create", "update", "delete"]
    ) -> tuple[Mapping[str, str], bytes] | None:
        found = self.contacts[external_id]
        told = {
            "integrationId": "rest",
            "eventType": f"contact.{operation}",
            "entityType": "contact",
            "entityId": external_id,
            "operation": operation,
            "data": self.shown(found),
            "timestamp": f"{datetime.fromtimestamp(self.now, UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        return {"content-type": "application/json"}, json.dumps(told).encode()

    def _make(self, fields: JsonObject, key: str | None = None) -> Contact:
        self._numbers += 1
        made = Contact(number=self._numbers, fields=fields, changed=self.now, key=key)
        self.contacts[str(made.number)] = made
        return made

    # -- its wire --

    def shown(self, contact: Contact) -> JsonObject:
        manners = self.manners
        fields: JsonObject = contact.fields if manners.flat else {"properties": _theirs(contact.fields)}
        shown: JsonObject = {"id": contact.number, **fields, "url": f"/contacts/{contact.number}"}
        shown["changed"] = manners.stamp(contact.changed)
        if manners.conditional == "field":
            shown["meta"] = {"revision": contact.revision}
        if manners.creates == "lookup":
            shown["origin"] = contact.key
        if manners.keeps_deleted:
            shown["archived"] = contact.deleted
        return shown

    def _told(self, body: JsonObject) -> JsonObject:
        inner = body if self.manners.wrapped is None else body[self.manners.wrapped]
        inner = {name: value for name, value in inner.items() if name not in ("origin", "meta")}
        return inner if self.manners.flat else _ours(inner.get("properties", {}))

    def _answer(self, contact: Contact, status: int) -> web.Response:
        if self.manners.answers == "nothing":
            headers = {"Location": f"/api/contacts/{contact.number}"}
            return web.Response(status=201 if status == 201 else 204, headers=headers if status == 201 else {})
        if self.manners.answers == "id":
            return web.json_response({"id": contact.number, "success": True}, status=status)
        return web.json_response(self.shown(contact), status=status, headers=self._tag(contact))

    def _tag(self, contact: Contact) -> dict[str, str]:
        return {"ETag": f'"r{contact.revision}"'} if self.manners.conditional == "if-match" else {}

    def _found(self, request: web.Request) -> Contact:
        found = self.contacts.get(request.match_info["id"])
        if found is None or found.deleted:
            raise web.HTTPNotFound
        return found

    async def _list(self, request: web.Request) -> web.Response:
        manners, query = self.manners, request.query
        found = sorted(self.contacts.values(), key=lambda one: (one.changed, one.number))
        if "origin" in query:
            return web.json_response({"data": [self.shown(one) for one in found if one.key == query["origin"]]})
        if "changed_since" in query and manners.since is not None:
            after = manners.since(query["changed_since"])
            found = [one for one in found if one.changed >= after]
        else:
            found = [one for one in found if not one.deleted]
        size = min(int(query.get("per_page", "100")), manners.capped)
        if manners.paging == "none":
            return web.json_response([self.shown(one) for one in found])
        start = self._start(query, size)
        part, end = found[start : start + size], start + size
        body: JsonObject = {"data": [self.shown(one) for one in part], "meta": {"total": len(found)}}
        headers = {}
        if manners.paging == "cursor":
            body["meta"]["next"] = f"after/{end} ü" if end < len(found) else None
        if manners.paging == "link" and end < len(found):
            onward = request.rel_url.update_query({"start": str(end)})
            headers["Link"] = f'<{onward}>; rel="next"'
        return web.json_response(body, headers=headers)

    def _start(self, query: Mapping[str, str], size: int) -> int:
        if self.manners.paging == "page":
            return (int(query.get("page", "1")) - 1) * size
        if self.manners.paging == "cursor":
            return int(query["after"].removeprefix("after/").removesuffix(" ü")) if "after" in query else 0
        return int(query.get("start", "0"))

    async def _get(self, request: web.Request) -> web.Response:
        found = self._found(request)
        return web.json_response(self.shown(found), headers=self._tag(found))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = request.headers.get("Idempotency-Key") if self.manners.creates == "idempotent" else body.get("origin")
        earlier = [one for one in self.contacts.values() if key is not None and one.key == key]
        if earlier and self.manners.creates == "idempotent":
            return self._answer(earlier[0], 201)
        return self._answer(self._make(self._told(body), key), 201)

    async def _update(self, request: web.Request) -> web.Response:
        found, body = self._found(request), await request.json()
        self._check(found, request, body)
        told = self._told(body)
        fields = told if self.manners.replaces else {**found.fields, **told}
        found.fields = {name: value for name, value in fields.items() if value is not None}
        found.changed, found.revision = self.now, found.revision + 1
        return self._answer(found, 200)

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._found(request)
        self._check(found, request, {})
        self.remove("contact", str(found.number))
        return web.Response(status=204)

    def _check(self, found: Contact, request: web.Request, body: JsonObject) -> None:
        asked = request.headers.get("If-Match")
        if asked is not None and asked != f'"r{found.revision}"':
            raise web.HTTPPreconditionFailed
        revision = body.get("meta", {}).get("revision")
        if revision is not None and revision != found.revision:
            raise web.HTTPConflict


#: Ours -> where the nested API has it.
_PLACES = {"name": ("who", "full.name"), "mail": ("mail",), "größe": ("größe",)}


def _theirs(fields: JsonObject) -> JsonObject:
    found: JsonObject = {}
    for name, value in fields.items():
        inner = found
        for part in _PLACES[name][:-1]:
            inner = inner.setdefault(part, {})
        inner[_PLACES[name][-1]] = value
    return found


def _ours(properties: JsonObject) -> JsonObject:
    found: JsonObject = {}
    for name, path in _PLACES.items():
        value: Any = properties
        for part in path:
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if value is not ...:
            found[name] = value
    return found


_ALL = {
    "list": "/contacts",
    "get": "/contacts/{id}",
    "create": "/contacts",
    "update": "/contacts/{id}",
    "delete": "/contacts/{id}",
    "updatedAt": "changed",
    "items": "data",
    "readOnly": ["url"],
    "wholeEvents": True,
}

DOUBLES: Doubles = {
    "page": lambda: RestDouble(
        Manners(
            paging="page",
            since=lambda text: moment(text).timestamp(),
            creates="idempotent",
            conditional="if-match",
            keeps_deleted=True,
            settings={
                **_ALL,
                "paging": {"style": "page", "limit": "per_page"},
                "since": "changed_since",
                "creates": "idempotent",
                "etag": True,
                "conditional": "if-match",
                "deleted": "archived",
            },
        )
    ),
    "offset": lambda: RestDouble(
        Manners(
            paging="offset",
            stamp=lambda at: int(at * 1000),
            since=lambda text: int(text) / 1000,
            capped=2,
            flat=False,
            replaces=True,
            creates="lookup",
            conditional="field",
            settings={
                **{name: value for name, value in _ALL.items() if name != "readOnly"},
                "paging": {"style": "offset", "parameter": "start", "limit": "per_page", "total": "meta.total"},
                "since": {"parameter": "changed_since", "format": "epoch_ms"},
                "updateMethod": "PUT",
                "creates": {"style": "lookup", "parameter": "origin", "field": "origin"},
                "version": "meta.revision",
                "conditional": "field",
                "fields": {
                    "name": ["properties", "who", "full.name"],
                    "mail": "properties.mail",
                    "größe": "properties.größe",
                },
            },
        )
    ),
    "cursor": lambda: RestDouble(
        Manners(
            paging="cursor",
            stamp=lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}",
            since=float,
            answers="nothing",
            settings={
                **_ALL,
                "paging": {"style": "cursor", "parameter": "after", "limit": "per_page", "next": "meta.next"},
                "since": {"parameter": "changed_since", "format": "epoch"},
            },
        )
    ),
    "link": lambda: RestDouble(
        Manners(
            paging="link",
            answers="id",
            wrapped="contact",
            settings={
                **_ALL,
                "paging": {"style": "link", "limit": "per_page"},
                "wrap": "contact",
                "answers": "id",
            },
        )
    ),
    "none": lambda: RestDouble(
        Manners(
            paging="none",
            stamp=lambda at: format_datetime(datetime.fromtimestamp(at, UTC)),
            settings={"list": "/contacts", "get": "/contacts/{id}", "updatedAt": "changed", "readOnly": ["url"]},
        )
    ),
}
