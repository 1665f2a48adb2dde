"""The second sample system, a process of its own (`python -m syncd.demo.maillist`): a mail list, with other manners than the CRM.

    GET    /v2/members?skip=&take=&reference=    {"members": [...], "count": how many there are}
    POST   /v2/members                           {"member": {...}}; one sent twice is there twice: only `reference` tells
    GET | PUT | DELETE /v2/members/{id}          PUT takes the whole member with its `meta.rev`, and answers 409 where that is old

Times are milliseconds, the key comes in a header of its own, and it has a low quota, which it says in its headers. Its order: {port, key,
desk, log, callTime, quota, quotaSeconds}.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from syncd.demo.system import ABOUT, DESK, Lines, Quota, guarded, main
from syncd.domain.jsontypes import JsonObject

KEY_HEADER = "X-List-Key"
_OWN = ("number", "meta", "reference")


@dataclass(slots=True)
class Member:
    number: int
    content: JsonObject
    reference: str | None
    changed: int
    revision: int = 1

    def shown(self) -> JsonObject:
        meta: JsonObject = {"rev": self.revision, "changed": self.changed}
        return {"number": self.number, **self.content, "reference": self.reference, "meta": meta}


@dataclass(slots=True)
class MailList:
    call_time: float
    """Seconds that a request takes."""
    members: dict[int, Member] = field(default_factory=dict)
    made: int = 0
    writing: int = 0
    """Writes that are not answered yet."""

    def busy(self, work: Handler) -> Handler:
        async def slow(request: web.Request) -> web.StreamResponse:
            self.writing += request.method != "GET"
            try:
                await asyncio.sleep(self.call_time / 2)  # as a distant system: half of the time before the work,
                answer = await work(request)
                await asyncio.sleep(self.call_time / 2)  # and half of it after
                return answer
            finally:
                self.writing -= request.method != "GET"

        return slow

    async def list(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = query.get("reference")
        if wanted is not None:
            request[ABOUT]["sought"] = wanted
        found = [one for one in self.members.values() if wanted is None or one.reference == wanted]
        skip, take = int(query.get("skip", "0")), min(int(query.get("take", "20")), 20)
        return web.json_response(
            {"members": [one.shown() for one in found[skip : skip + take]], "count": len(found)},
        )

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response({"member": self._found(request).shown()})

    async def create(self, request: web.Request) -> web.Response:
        told = (await request.json())["member"]
        self.made += 1
        made = Member(
            number=self.made, content=_content(told), reference=told.get("reference"), changed=int(time.time() * 1000)
        )
        self.members[made.number] = made
        return self._answer(request, made, 201)

    async def replace(self, request: web.Request) -> web.Response:
        found, told = self._found(request), (await request.json())["member"]
        if told.get("meta", {}).get("rev", found.revision) != found.revision:
            raise web.HTTPConflict
        found.content, found.revision = _content(told), found.revision + 1
        found.changed = int(time.time() * 1000)
        return self._answer(request, found)

    async def delete(self, request: web.Request) -> web.Response:
        found = self._found(request)
        request[ABOUT].update(member=found.number, reference=found.reference)
        del self.members[found.number]
        return web.Response(status=204)

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response({"members": len(self.members), "writing": self.writing})

    async def records(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": [one.shown() for one in self.members.values()]})

    def _found(self, request: web.Request) -> Member:
        number = request.match_info["id"]
        found = self.members.get(int(number)) if number.isdigit() else None
        if found is None:
            raise web.HTTPNotFound
        return found

    def _answer(self, request: web.Request, member: Member, status: int = 200) -> web.Response:
        request[ABOUT].update(member=member.number, reference=member.reference)
        return web.json_response({"member": member.shown()}, status=status)


def _content(told: JsonObject) -> JsonObject:
    return {name: value for name, value in told.items() if name not in _OWN}


def application(order: JsonObject) -> web.Application:
    members = MailList(call_time=order["callTime"])
    guard = guarded(
        shown=lambda request: request.headers.get(KEY_HEADER),
        wanted=order["key"],
        desk=order["desk"],
        quota=Quota(order["quota"], order["quotaSeconds"]),
        log=Lines(Path(order["log"])),
    )
    app = web.Application(middlewares=[guard])
    every, one = "/v2/members", "/v2/members/{id}"
    app.add_routes(
        [
            web.get(every, members.busy(members.list)),
            web.post(every, members.busy(members.create)),
            web.get(one, members.busy(members.get)),
            web.put(one, members.busy(members.replace)),
            web.delete(one, members.busy(members.delete)),
            web.get(f"{DESK}/status", members.status),
            web.get(f"{DESK}/records", members.records),
        ]
    )
    return app


if __name__ == "__main__":
    sys.exit(main(application))
