"""The one place that admits that JSON from outside has no static type."""

from __future__ import annotations

from typing import Any

#: A JSON object as decoded. `Any`, because documents carry fields that we do not know and must keep; what we read from them
#: is checked where it is read. A recursive union would only move a cast to every line that touches a document.
JsonObject = dict[str, Any]
#: Any JSON value.
Json = Any
