"""What an operator would read off a running daemon: rows, figures, probes, log lines."""

from __future__ import annotations

import json
from urllib.parse import quote

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon


async def pages(daemon: Daemon, path: str, *, limit: int = 500) -> list[JsonObject]:
    """All items of a list, page by page."""
    found: list[JsonObject] = []
    cursor: str | None = None
    while True:
        joint = "&" if "?" in path else "?"
        after = f"&cursor={quote(cursor)}" if cursor else ""
        page = (await daemon.api("GET", f"{path}{joint}limit={limit}{after}")).ok()
        found += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return found


async def events(daemon: Daemon, registration: str = "reg-github") -> list[JsonObject]:
    """All rows of a registration, newest first."""
    return await pages(daemon, f"/webhooks/{registration}/events")


async def event(daemon: Daemon, event_id: str, registration: str = "reg-github") -> JsonObject:
    return (await daemon.api("GET", f"/webhooks/{registration}/events/{quote(event_id)}")).ok()


async def parked(daemon: Daemon, queue: str = "sync-outbound") -> list[JsonObject]:
    return await pages(daemon, f"/queues/{queue}/parked")


async def readiness(daemon: Daemon) -> JsonObject:
    return (await daemon.request("GET", "/readyz")).json()


async def component(daemon: Daemon, name: str) -> JsonObject | None:
    """One row of the component table of `/readyz`; None where it is not listed."""
    return next((row for row in (await readiness(daemon))["components"] if row["name"] == name), None)


async def metric(daemon: Daemon, name: str) -> float:
    """The value of a figure without labels; 0 where it has not been counted yet."""
    text = (await daemon.request("GET", "/metrics")).body.decode()
    for line in text.splitlines():
        if line.split(" ")[0] in (name, f"{name}_total"):
            return float(line.split(" ")[1])
    return 0.0


def logged(daemon: Daemon, name: str) -> list[JsonObject]:
    """The log's lines of one event, oldest first."""
    found = []
    for line in daemon.log.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if entry.get("event") == name:
                found.append(entry)
    return found
