"""The system that the template speaks of, so that what newcomers copy is known to work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from tests.doubles.contract import Doubles, JsonObject
from tests.doubles.rest import Manners, RestDouble, moment

_WORDS = {"create": "added", "update": "changed", "delete": "removed"}


class TemplateDouble(RestDouble):
    def settings(self) -> JsonObject:
        return {"baseUrl": f"{self.url}/api"}

    def event(
        self, kind: str, external_id: str, operation: Literal["create", "update", "delete"]
    ) -> tuple[Mapping[str, str], bytes] | None:
        told = {"event": _WORDS[operation], "contact": self.shown(self.contacts[external_id])}
        return {"content-type": "application/json"}, json.dumps(told).encode()


DOUBLES: Doubles = {
    "as documented": lambda: TemplateDouble(
        Manners(paging="page", since=lambda text: moment(text).timestamp(), creates="idempotent", settings={})
    )
}
