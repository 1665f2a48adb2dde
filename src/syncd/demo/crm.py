"""The sample CRM, a process of its own (`python -m syncd.demo.crm`): contacts over a REST API as many systems have it.

    GET    /api/contacts?limit=&after=&updatedSince=    {"items": [...], "next": token or null}; with updatedSince deleted ones too
    POST   /api/contacts                                201; an Idempotency-Key that came before answers what it made
    GET | PATCH | DELETE /api/contacts/{id}             ETag, If-Match

Each change, whoever made it, is told by a signed webhook (crmhooks). Its order: {port, key, desk, log, hooks {urls, secret, log}, contacts,
seed, pageTime, pageSize, quota, quotaSeconds, refuses}.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from syncd.demo.contacts import FIELDS, Contacts
from syncd.demo.crmhooks import Hooks
from syncd.demo.system import ABOUT, DESK, Lines, Quota, guarded, main
from syncd.domain.jsontypes import JsonObject

#: Contacts whose changes are the tour's own, so that its figures are exact: the first few.
RESERVED = 5
#: Of the changes that happen by themselves, one in so many removes a contact, and one adds another.
LEAVING, COMING = 20, 20
#: What some old databases write where they have no date.
NO_DATE = "0000-00-00T00:00:00.000Z"


@dataclass(slots=True)
class Contact:
    id: str
    fields: JsonObject
    changed: int
    """Milliseconds."""
    revision: int = 1
    deleted: bool = False

    def shown(self) -> JsonObject:
        stamp = datetime.fromtimestamp(self.changed / 1000, UTC).isoformat(timespec="milliseconds")
        shown: JsonObject = {"id": self.id, **self.fields, "updatedAt": stamp, "revision": self.revision}
        return {**shown, "deleted": True} if self.deleted else shown

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'


@dataclass(slots=True)
class Crm:
    hooks: Hooks
    made_up: Contacts
    page_time: float
    """Seconds that a page of the list takes."""
    page_size: int
    """Contacts that a page holds at most, whatever is asked for."""
    contacts: dict[str, Contact] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    clock: int = 0
    listed: int = 0
    """Contacts that were shown in pages."""
    life: asyncio.Task[None] | None = None

    # -- what happens to contacts --

    def tick(self) -> int:
        """No two changes have one time."""
        self.clock = max(self.clock + 1, int(time.time() * 1000))
        return self.clock

    def fill(self, count: int) -> None:
        for _ in range(count):
            self._new(self.made_up.another())

    def _new(self, fields: JsonObject) -> Contact:
        made = Contact(id=str(1001 + len(self.contacts)), fields=fields, changed=self.tick())
        self.contacts[made.id] = made
        return made

    def add(self, fields: JsonObject) -> Contact:
        made = self._new(fields)
        self.hooks.tell(made.id, "create", made.shown())
        return made

    def change(self, contact: Contact, changes: JsonObject, *, undated: bool = False) -> None:
        contact.fields = {**contact.fields, **changes}
        contact.changed, contact.revision = self.tick(), contact.revision + 1
        told = contact.shown()
        self.hooks.tell(contact.id, "update", {**told, "updatedAt": NO_DATE} if undated else told)

    def remove(self, contact: Contact) -> None:
        contact.deleted, contact.changed, contact.revision = True, self.tick(), contact.revision + 1
        self.hooks.tell(contact.id, "delete", contact.shown())

    async def live(self, changes: int, seconds: float) -> None:
        """Somebody works with the CRM: so many changes, evenly in so many seconds."""
        for number in range(1, changes + 1):
            await asyncio.sleep(seconds / changes)  # the pace is the point
            free = [one.id for one in list(self.contacts.values())[RESERVED:] if not one.deleted]
            chosen = self.contacts[self.made_up.pick(free)]
            if number % LEAVING == 0:
                self.remove(chosen)
            elif number % COMING == COMING // 2:
                self.add(self.made_up.another())
            else:
                self.change(chosen, self.made_up.change())

    # -- the API --

    async def list(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.page_time)  # the time that a database would take
        query = request.query
        after, since = int(query.get("after", "0")), query.get("updatedSince")
        if since is None:
            found = [one for one in self.contacts.values() if not one.deleted]
        else:
            least = datetime.fromisoformat(since).timestamp() * 1000
            found = [one for one in self.contacts.values() if one.changed >= least]
        found = [one for one in found if int(one.id) > after]
        page = found[: min(int(query.get("limit", "100")), self.page_size)]
        self.listed += len(page)
        onward = page[-1].id if len(found) > len(page) else None
        return web.json_response({"items": [one.shown() for one in page], "next": onward})

    async def get(self, request: web.Request) -> web.Response:
        return self._answer(request, self._found(request))

    async def create(self, request: web.Request) -> web.Response:
        key = request.headers.get("Idempotency-Key", "")
        earlier = self.by_key.get(key)
        if earlier is not None:
            return self._answer(request, self.contacts[earlier], 201)
        made = self.add(_fields(await request.json()))
        if key:
            self.by_key[key] = made.id
        return self._answer(request, made, 201)

    async def update(self, request: web.Request) -> web.Response:
        changes = _fields(await request.json())
        found = self._matching(request)
        self.change(found, changes)
        return self._answer(request, found)

    async def delete(self, request: web.Request) -> web.Response:
        found = self._matching(request)
        request[ABOUT]["contact"] = found.id
        self.remove(found)
        return web.Response(status=204)

    def _found(self, request: web.Request) -> Contact:
        found = self.contacts.get(request.match_info["id"])
        if found is None or found.deleted:
            raise web.HTTPNotFound
        return found

    def _matching(self, request: web.Request) -> Contact:
        found = self._found(request)
        if request.headers.get("If-Match", found.etag) != found.etag:
            raise web.HTTPPreconditionFailed
        return found

    def _answer(self, request: web.Request, contact: Contact, status: int = 200) -> web.Response:
        request[ABOUT]["contact"] = contact.id
        return web.json_response(contact.shown(), status=status, headers={"ETag": contact.etag})

    # -- the desk --

    async def status(self, _request: web.Request) -> web.Response:
        living = self.life is not None and not self.life.done()
        return web.json_response({"listed": self.listed, "living": living, "hooksWaiting": self.hooks.waiting})

    async def records(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": [one.shown() for one in self.contacts.values() if not one.deleted]})

    async def edit(self, request: web.Request) -> web.Response:
        """{changes, undated?}: somebody changes a contact; `undated`: its webhook carries a time that is none."""
        found, wanted = self._found(request), await request.json()
        self.change(found, wanted["changes"], undated=wanted.get("undated", False))
        return web.json_response(found.shown())

    async def late(self, request: web.Request) -> web.Response:
        self.hooks.hold((await request.json())["held"])
        return web.json_response({})

    async def begin(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.life = asyncio.create_task(self.live(wanted["changes"], wanted["seconds"]))
        return web.json_response({})


def _fields(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if name in FIELDS}


def application(order: JsonObject) -> web.Application:
    told = order["hooks"]
    hooks = Hooks(urls=told["urls"], secret=told["secret"], log=Lines(Path(told["log"])))
    crm = Crm(hooks=hooks, made_up=Contacts(order["seed"]), page_time=order["pageTime"], page_size=order["pageSize"])
    crm.fill(order["contacts"])
    guard = guarded(
        shown=lambda request: request.headers.get("Authorization"),
        wanted=f"Bearer {order['key']}",
        desk=order["desk"],
        quota=Quota(order["quota"], order["quotaSeconds"], refuses=order["refuses"]),
        log=Lines(Path(order["log"])),
    )
    app = web.Application(middlewares=[guard])
    every, one = "/api/contacts", "/api/contacts/{id}"
    app.add_routes(
        [
            web.get(every, crm.list),
            web.post(every, crm.create),
            web.get(one, crm.get),
            web.patch(one, crm.update),
            web.delete(one, crm.delete),
            web.get(f"{DESK}/status", crm.status),
            web.get(f"{DESK}/records", crm.records),
            web.post(f"{DESK}/contacts/{{id}}", crm.edit),
            web.post(f"{DESK}/hooks", crm.late),
            web.post(f"{DESK}/life", crm.begin),
        ]
    )

    async def end(_app: web.Application) -> None:
        if crm.life is not None:
            crm.life.cancel()
        await hooks.close()

    app.on_cleanup.append(end)
    return app


if __name__ == "__main__":
    sys.exit(main(application))
