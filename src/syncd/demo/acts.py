"""What people do in the tour: an edit here, edits on both sides, and the repair of a message that nobody could read.

All of it goes over the daemon's API and the desk of the CRM, and each act ends when the API shows what came of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from syncd.demo.connections import CONTACT, CRM, MAIL, TENANT
from syncd.demo.desk import Desk
from syncd.demo.narration import Narrator
from syncd.demo.readback import LOOK, Api
from syncd.domain.jsontypes import JsonObject

_T = TypeVar("_T")

QUEUE = "sync-outbound"
#: The contacts that only the tour changes.
EDITED, BY_RULE, BY_PERSON, UNREADABLE, REMOVED = "1001", "1002", "1003", "1004", "1005"
_OURS = (EDITED, BY_RULE, BY_PERSON, UNREADABLE, REMOVED)


@dataclass(slots=True)
class Acts:
    api: Api
    crm: Desk
    narrator: Narrator
    found: dict[str, str] = field(default_factory=dict)
    """Contact of the CRM -> id of its entity."""
    returns: dict[str, int] = field(default_factory=dict)
    """Contact of the CRM -> how many writes it is owed there."""
    repaired: int = 0

    async def play(self) -> None:
        await until(self._at_rest)
        await self._edit()
        await self._come_and_go()
        await self._both_sides()
        await self._unreadable()

    async def _edit(self) -> None:
        entity = await self._entity(EDITED)
        await self._put(entity, company="Edited Here & Co")
        self.returns[EDITED] = 1
        await until(lambda: self._settled(EDITED))
        self.narrator.say(f"   Contact {EDITED} gets another company here: pushed to the CRM and to the mail list.")

    async def _come_and_go(self) -> None:
        """The CRM tells both back to us by webhook: neither may be taken for something new."""
        data: JsonObject = {
            "name": "Nora Neu",
            "email": "nora@example.com",
            "phone": "1",
            "company": "Neu & Co",
            "note": "",
        }
        made = await self.api.ask("POST", f"/entities/{CONTACT}", {"tenantId": TENANT, "data": data})
        await self.api.ask("DELETE", f"/entities/{CONTACT}/{self.found[REMOVED]}")

        async def told() -> str | None:
            entity = await self.api.ask("GET", f"/entities/{CONTACT}/{made['id']}")
            known: str | None = entity["externalIds"].get(CRM)
            return known if MAIL in entity["externalIds"] else None

        self.returns[await until(told)] = 1
        self.returns[REMOVED] = 1
        await until(lambda: self._quiet(REMOVED))
        self.narrator.say(f"   A contact is added here, and {REMOVED} is deleted: both systems follow.")

    async def _both_sides(self) -> None:
        """The CRM's webhook is late, as webhooks are: neither side knows of the other's change."""
        rule, person = await self._entity(BY_RULE), await self._entity(BY_PERSON)
        await self.crm.ask("POST", "/hooks", {"held": True})
        await self.crm.change(BY_RULE, phone="+49 40 1111111")
        await self.crm.change(BY_PERSON, note="pays late")
        await self._put(rule, phone="+49 40 2222222")
        self.returns[BY_RULE] = 1
        await self._put(person, note="pays early")
        await until(lambda: self._recorded(BY_RULE, "resolved"))
        await until(lambda: self._recorded(BY_PERSON, "open"))
        await self.crm.ask("POST", "/hooks", {"held": False})
        self.narrator.say(
            f"   {BY_RULE} gets another phone here and in the CRM. The rule decides: the later change wins."
        )
        self.narrator.say(
            f"   {BY_PERSON} gets another note here and in the CRM. By its rule a person decides: it waits."
        )

    async def _unreadable(self) -> None:
        """Its webhook carries a date that is none. It is set aside, repaired and sent through again."""
        changed = await self.crm.change(UNREADABLE, undated=True, phone="+49 40 3333333")
        [parked] = await until(self._parked)
        self.narrator.say(f"   A webhook about {UNREADABLE} is parked:")
        self.narrator.say(f"     {parked['reason'][:90]}")
        where = f"/queues/{QUEUE}/parked/{parked['id']}"
        body = json.loads((await self.api.ask("GET", where))["body"])
        body["data"]["updatedAt"] = changed["updatedAt"]
        await self.api.ask("PUT", where, {"body": body})
        await self.api.ask("POST", f"{where}/replay")
        await until(lambda: self._holds(UNREADABLE, "phone", changed["phone"]))
        self.repaired += 1
        self.narrator.say("   It is repaired and replayed, and the contact is what the CRM says.")

    # -- looks --

    async def _at_rest(self) -> bool:
        """The tour's own contacts are pulled, and on the mail list."""
        if not self.found:
            entities = await self.api.all(f"/entities/{CONTACT}", tenantId=TENANT)
            by_crm = {one["externalIds"].get(CRM): one["id"] for one in entities}
            self.found = {name: by_crm[name] for name in _OURS if name in by_crm}
            if len(self.found) < len(_OURS):
                self.found = {}
                return False
        return all([await self._settled(name) for name in self.found])

    async def _settled(self, contact: str) -> bool:
        """Everybody was told what the entity is."""
        return MAIL in (await self._entity(contact))["externalIds"] and await self._quiet(contact)

    async def _quiet(self, contact: str) -> bool:
        return "dirtySince" not in await self._entity(contact)

    async def _recorded(self, contact: str, status: str) -> bool:
        query = {"tenantId": TENANT, "entityId": self.found[contact], "status": status}
        return bool((await self.api.ask("GET", "/conflicts", query=query))["items"])

    async def _parked(self) -> list[JsonObject]:
        items: list[JsonObject] = (await self.api.ask("GET", f"/queues/{QUEUE}/parked", query={"connectionId": CRM}))[
            "items"
        ]
        return items

    async def _holds(self, contact: str, name: str, value: str) -> bool:
        return bool((await self._entity(contact))["data"].get(name) == value)

    async def _entity(self, contact: str) -> JsonObject:
        return await self.api.ask("GET", f"/entities/{CONTACT}/{self.found[contact]}")

    async def _put(self, entity: JsonObject, **changes: str) -> None:
        body: JsonObject = {"tenantId": TENANT, "data": {**entity["data"], **changes}}
        await self.api.ask("PUT", f"/entities/{CONTACT}/{entity['id']}", body)


async def until(look: Callable[[], Awaitable[_T | None]]) -> _T:
    """The first thing that is not nothing."""
    while True:
        found = await look()
        if found:
            return found
        await asyncio.sleep(LOOK)  # what another process does gives no signal here
