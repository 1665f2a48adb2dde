"""Any REST API with JSON, by configuration alone: adapters/http/restplan says what a connection's settings hold.

Its webhooks have the generic shape (domain/events) under one of the generic signature schemes; their `data` is an object as the
API shows it, and is read by the same settings.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from syncd.adapters.http.restplan import Plan, TypePlan, faults_of, plan_of
from syncd.adapters.http.shapes import external_id as checked_id
from syncd.adapters.http.shapes import kept_aside
from syncd.domain.dotted import getter, shown
from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Invalid,
    NotFound,
    NotUnderstood,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
)
from syncd.domain.timestamps import written
from syncd.ports.provider import Provider, Record, RecordPage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncd.domain.dotted import Path
    from syncd.domain.events import ReceivedEvent
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.api import Api, Reply
    from syncd.ports.provider import Fetch, Kind

#: Plans kept at hand: connections that one process works on at a time.
_MOST_PLANS = 64
#: Where an answer that is none says why.
_REASONS = ("error", "errors", "message", "detail", "title", "error_description")
#: What tells a person whose account answers.
_TELLING = ("id", "name", "login", "email", "username", "title", "plan", "version")


class _Rest:
    def __init__(self) -> None:
        # By identity: the settings of one account are one object for a whole unit of work, and comparing them would cost as much as
        # reading them. The settings are held beside the plan, so that their identity is not given to others.
        self._plans: OrderedDict[int, tuple[JsonObject, Plan]] = OrderedDict()

    def _plan(self, settings: JsonObject) -> Plan:
        found = self._plans.get(id(settings))
        if found is not None:
            return found[1]
        plan = plan_of(settings)
        self._plans[id(settings)] = (settings, plan)
        if len(self._plans) > _MOST_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _type(self, api: Api, kind: str) -> tuple[Plan, TypePlan]:
        plan = self._plan(api.account.settings)
        found = plan.types.get(kind)
        if found is None:
            raise Invalid(f"the settings of {api.account.connection_id} describe no type {kind!r}")
        return plan, found

    # -- what there is --

    def base_url(self, settings: JsonObject) -> str:
        return self._plan(settings).base_url

    def check(self, settings: JsonObject) -> dict[str, str]:
        return faults_of(settings)

    def kinds(self, settings: JsonObject) -> Mapping[str, Kind]:
        return self._plan(settings).kinds

    async def test(self, api: Api) -> JsonObject:
        plan = self._plan(api.account.settings)
        listed = next(((one.list, one) for one in plan.types.values() if one.list), None)
        if plan.test is None and listed is None:
            return {"note": "the settings name nothing that can be read: set test to a path"}
        path, query = plan.test or "", {}
        if plan.test is None and listed is not None:
            path, query = listed[0], {**listed[1].query, **listed[1].paging.query(None, 1)}
        reply = await api.request("GET", path, operation="fetch", query=query, headers=plan.headers)
        told = reply.json() if reply.body.strip() else None
        found = told if isinstance(told, dict) else {}
        account = {name: found[name] for name in _TELLING if isinstance(found.get(name), str | int)}
        return {"asked": f"GET {path}", "status": reply.status, **({"account": account} if account else {})}

    # -- reading --

    async def fetch(self, api: Api, fetch: Fetch) -> RecordPage:
        plan, kind = self._type(api, fetch.kind)
        if kind.list is None:
            raise Invalid(f"types.{fetch.kind}.list is not set: objects of this type cannot be read in pages")
        linked = kind.paging.style == "link" and fetch.cursor is not None
        query = (
            None
            if linked
            else {**kind.query, **_since(kind, fetch.since), **kind.paging.query(fetch.cursor, fetch.limit)}
        )
        path = fetch.cursor if linked and fetch.cursor is not None else kind.list
        reply = await api.request("GET", path, operation="fetch", query=query, headers=plan.headers)
        body = _listed(reply)
        items = _items(kind, body)
        records, unreadable = kind.shape.page(items)
        following = kind.paging.following(
            cursor=fetch.cursor,
            count=len(items),
            records=records,
            body=body,
            link=reply.next_link(),
            asked=urljoin(f"{plan.base_url}/", path if linked else f"{plan.base_url}{path}"),
        )
        return RecordPage(
            records=records, unreadable=kept_aside(unreadable, reply), next=following, served_at=reply.served_at
        )

    async def read(self, api: Api, kind: str, external_id: str) -> Record | None:
        plan, one = self._type(api, kind)
        path = _path(one.get, "get", kind, external_id)
        try:
            reply = await api.request("GET", path, operation="fetch", query=one.object_query, headers=plan.headers)
        except NotFound:
            return None
        record = _record(one, reply, "reading") if reply.body.strip() else None
        if record is not None and record.external_id != external_id:
            raise ServerFault(f"asked for {kind} {external_id[:60]!r}, and got {record.external_id[:60]!r}")
        return None if record is None or record.deleted else record

    async def find(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record | None:
        plan, one = self._type(api, kind)
        if one.marker is None or one.marker_parameter is None or one.list is None:
            raise Invalid(f"types.{kind}.creates is not lookup: what an earlier create made cannot be found")
        query = {**one.query, one.marker_parameter: key}
        reply = await api.request("GET", one.list, operation="fetch", query=query, headers=plan.headers)
        items = _items(one, _listed(reply))
        marked = getter(one.marker)
        for item in items:
            if marked(item) == key:
                return await self._found(api, kind, one, item)
        if items:
            # It would look as if there were none, and the object would be created twice.
            raise ServerFault(f"the list does not heed {one.marker_parameter}: it shows objects with other keys")
        return None

    async def _found(self, api: Api, kind: str, one: TypePlan, item: Json) -> Record | None:
        try:
            record = one.shape.record(item)
        except ValueError as error:
            raise ServerFault(f"the {kind} with our key cannot be read: {error}") from None
        # Only an answer about one object has an ETag.
        return await self.read(api, kind, record.external_id) if one.etag and one.get else record

    async def _written(self, api: Api, kind: str, one: TypePlan, reply: Reply, doing: str) -> Record | None:
        """What a write left there."""
        record = _record(one, reply, doing)
        return await self.read(api, kind, record.external_id) if one.answers_id else record

    # -- writing --

    async def create(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record:
        plan, one = self._type(api, kind)
        path = _path(one.create, "create", kind, None)
        headers = {**plan.headers, one.key_header: key} if one.key_header else plan.headers
        body = one.shape.written(data)
        if one.marker is not None:
            body = _with(body, one.marker, key)
        reply = await api.request("POST", path, operation="create", json=_wrapped(one, body), headers=headers)
        told = _record(one, reply, "create") if reply.body.strip() else None
        if told is not None and not one.answers_id:
            return told
        external_id = _located(reply) if told is None else told.external_id
        try:
            created = await self.read(api, kind, external_id)
        except SyncdError:
            # It is made, and must not be made again because it cannot be read now. Whatever is said of it next is newer.
            return Record(external_id=external_id, data=data, updated_at=0.0)
        if created is None:
            raise ServerFault(f"the {kind} that was just created is not there")
        return created

    async def update(
        self, api: Api, kind: str, external_id: str, changes: JsonObject, *, whole: JsonObject, version: str | None
    ) -> Record | None:
        plan, one = self._type(api, kind)
        path = _path(one.update, "update", kind, external_id)
        body = one.shape.written(whole if one.replaces else changes)
        headers = plan.headers
        if version is not None and one.conditional == "if-match":
            headers = {**headers, "If-Match": _etag(version)}
        elif version is not None and one.conditional == "field" and one.version is not None:
            body = _with(body, one.version, json.loads(version))
        method = "PUT" if one.replaces else "PATCH"
        try:
            reply = await api.request(method, path, operation="update", json=_wrapped(one, body), headers=headers)
        except NotFound:
            return None
        if not reply.body.strip():
            return await self.read(api, kind, external_id)
        record = await self._written(api, kind, one, reply, "update")
        if record is not None and record.external_id != external_id:
            raise ServerFault(f"changed {kind} {external_id[:60]!r}, and got {record.external_id[:60]!r}")
        return record

    async def delete(self, api: Api, kind: str, external_id: str, *, version: str | None) -> None:
        plan, one = self._type(api, kind)
        path = _path(one.delete, "delete", kind, external_id)
        headers = plan.headers
        if version is not None and one.conditional == "if-match":
            headers = {**headers, "If-Match": _etag(version)}
        elif version is not None and one.conditional == "field":
            # A delete has no body to carry the version. Looking first is as much as such an API allows.
            found = await self.read(api, kind, external_id) if one.get else None
            if found is not None and found.version != version:
                raise Conflict(f"the {kind} {external_id[:60]!r} was changed since version {version[:60]}")
        try:
            await api.request("DELETE", path, operation="delete", headers=headers)
        except NotFound:
            return

    # -- webhooks --

    def read_event(self, settings: JsonObject, event: ReceivedEvent) -> ReceivedEvent:
        """An event of the generic shape, with `data` as `Record.data`. Raises NotUnderstood."""
        try:
            kind = self._plan(settings).types.get(event.entity_type)
        except Invalid as error:
            raise NotUnderstood(f"the settings of the connection cannot be used: {error}") from error
        if kind is None:
            return event
        try:
            record = kind.shape.record(event.data, known_id=event.entity_id)
        except ValueError as error:
            raise NotUnderstood(f"data: {error}") from None
        if record.external_id != event.entity_id:
            raise NotUnderstood(
                f"the event is about {event.entity_id[:60]!r}, but its data is {record.external_id[:60]!r}"
            )
        gone = event.operation == "delete" or record.deleted
        return replace(
            event,
            operation="delete" if gone else event.operation,
            data=record.data,
            # A deletion is later than the last change that the object still tells.
            occurred_at=event.occurred_at if gone or record.updated_at is None else record.updated_at,
            partial=not kind.whole_events,
        )


# -- what is sent --


def _path(template: str | None, name: str, kind: str, external_id: str | None) -> str:
    if template is None:
        raise Invalid(f"types.{kind}.{name} is not set")
    if external_id is None:
        return template
    try:
        # `..` as an id would lead out of the collection; a slash inside an id stays inside its segment.
        return template.replace("{id}", quote(checked_id(external_id), safe=""))
    except ValueError as error:
        raise Invalid(f"no {kind} can be addressed so: {error}") from None


def _since(one: TypePlan, since: float | None) -> dict[str, str]:
    if one.since is None or since is None:
        return {}
    return {one.since.parameter: written(since - one.since.exclusive, one.since.style)}


def _wrapped(one: TypePlan, body: JsonObject) -> JsonObject:
    return body if one.wrap is None else {one.wrap: body}


def _with(body: JsonObject, path: Path, value: Json) -> JsonObject:
    name, rest = path[0], path[1:]
    inner = body.get(name)
    return {**body, name: _with(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def _etag(version: str) -> str:
    """As RFC 9110 writes an entity tag; one from a header is so already."""
    return version if version.startswith(('"', 'W/"')) else f'"{version}"'


# -- what is answered --


def _listed(reply: Reply) -> Json:
    """204 says that there is nothing. A 200 with nothing in it is how many a crashed script answers, and no empty list."""
    return None if reply.status == 204 else reply.json()


def _items(one: TypePlan, body: Json) -> Sequence[Json]:
    if body is None:
        return ()
    found = getter(one.items)(body) if one.items else body
    said = isinstance(body, dict) and (body.get("error") or body.get("errors") or body.get("success") is False)
    # Some languages write an empty list as null. An error beside it must not read as "there is nothing any more".
    if isinstance(found, list) and (found or not said):
        return found
    if found is None and not said:
        return ()
    raise _refusal(body, f"the answer holds no list at {shown(one.items)}")


def _record(one: TypePlan, reply: Reply, doing: str) -> Record:
    """One object of an answer about one."""
    body = reply.json()
    item = getter(one.item)(body) if one.item else body
    try:
        return one.shape.record(item, version=reply.headers.get("etag") if one.etag else None)
    except ValueError as error:
        raise _refusal(body, f"the answer to {doing} holds no object at {shown(one.item)}: {error}") from None


def _refusal(body: Json, problem: str) -> SyncdError:
    """An answer with a good status and no good content. Where it says that the request was wrong, it is taken at its word."""
    inner = body.get("error") if isinstance(body, dict) else None
    status = next((code for part in (inner, body) if (code := _status(part))), 0)
    said = next((text for part in (body, inner) if (text := _reason(part))), "")
    text = f"{problem}; it says {said[:200]!r}" if said else problem
    if status == 429:
        return Throttled(text)
    if status == 401:
        return AuthenticationFailed(text)
    return Rejected(text) if 400 <= status < 500 else ServerFault(text)


def _status(part: Json) -> int:
    found = [part.get(name) for name in ("status", "code", "statusCode")] if isinstance(part, dict) else []
    return next((code for code in found if type(code) is int and 400 <= code < 600), 0)


def _reason(part: Json) -> str:
    if isinstance(part, str):
        return part
    found = [part.get(name) for name in _REASONS] if isinstance(part, dict) else []
    return next((text for text in found if isinstance(text, str) and text), "")


def _located(reply: Reply) -> str:
    """The id of what was created, from the header Location (RFC 9110)."""
    last = urlsplit(reply.headers.get("location", "")).path.rstrip("/").rpartition("/")[2]
    try:
        return checked_id(unquote(last))
    except ValueError:
        raise ServerFault("the answer to create says neither in its body nor in Location what was created") from None


_REST = _Rest()
PROVIDER = Provider(
    name="rest",
    title="Any REST API, by configuration",
    records=_REST,
    read_event=_REST.read_event,
    many_systems=True,
)
