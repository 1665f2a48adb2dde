"""How far a connection's pulls of one type are. Pure.

    {tenantId, connectionId, entityType, watermark?, validator?, queryHash?, run?, lease?, term, updatedAt}
    run {id, since?, gap?, full, limit?, cursor?, page, askedAt, servedAt?, stamped?, validator?, counts, failures, circle, shown?, restarted?,
         finished?, error?}

The watermark is the provider's clock when it answered the first page of the last run that came to its end: ours is never
compared with its objects' times. It moves only after the last page, because what is edited behind a running pull is seen by nobody else. `queryHash` says what
was asked for; asked for something else, the pull begins from nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import CURSORS
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical
from syncd.domain.times import iso, parse

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject

COUNTS = ("fetched", "created", "updated", "unchanged", "deleted", "duplicates", "conflicts", "failed")
#: Records kept aside with their reasons in one run's result.
MOST_FAILURES = 100
#: A holder that is not heard of for so long has died. Seconds; each page renews it.
LEASE = 90.0
_NO_ROUND: list[Json] = [None, 1, 0, 0, 0]
#: A provider's Date is believed up to so far ahead of our clock. Local time under the name of GMT is off by an hour or more. Seconds.
_AHEAD = 600.0


def query_hash(settings: JsonObject, entity_type: str) -> str:
    return digest("query", entity_type, canonical(settings))


def blank(tenant_id: str, connection_id: str, entity_type: str) -> JsonObject:
    return {
        "tenantId": tenant_id,
        "connectionId": connection_id,
        "entityType": entity_type,
        "term": 0,
        "schema": CURSORS.schema,
    }


def begun(
    data: JsonObject,
    *,
    run_id: str,
    query: str,
    full: bool,
    incremental: bool,
    since: float | None,
    lag: float,
    limit: int,
) -> JsonObject:
    """The document with this run in it: as it was left, or new. `since`: asked for by a person. `lag`: seconds by which the watermark is
    gone back, for providers whose clocks are coarse or whose lists are late. A provider that cannot be asked for changes is read whole.
    `limit`: records of a page, and the run's to its end: where pages have numbers, others would begin at other records."""
    run = data.get("run")
    if run is not None and run["id"] == run_id:
        return data
    if data.get("queryHash") != query:
        # Also where this run fails: what was read for another question says nothing about this one.
        data = {name: value for name, value in data.items() if name not in ("watermark", "validator")}
    start: str | None = None
    validator: str | None = None
    gap = False
    if since is not None and incremental:
        start = iso(since)
        gap = start > data.get("watermark", "")
    elif not full and incremental and data.get("watermark"):
        start = iso(parse(data["watermark"]) - lag)
        validator = data.get("validator")
    run = {
        "id": run_id,
        "since": start,
        "full": start is None,
        "limit": limit,
        "cursor": None,
        "page": 0,
        "servedAt": None,
        "ask": validator,
        "counts": dict.fromkeys(COUNTS, 0),
        "failures": [],
        "circle": _NO_ROUND,
    }
    if gap:
        run["gap"] = True
    return {**data, "queryHash": query, "run": run}


def leased(data: JsonObject, *, owner: str, now: float) -> JsonObject:
    term = data.get("term", 0) + 1
    return {**data, "term": term, "lease": {"owner": owner, "term": term, "until": iso(now + LEASE)}}


def free_at(data: JsonObject, run_id: str) -> float | None:
    """When another run's lease ends, Unix seconds; None where there is none. A run's own messages take turns already."""
    lease, run = data.get("lease"), data.get("run")
    if lease is None or (run is not None and run["id"] == run_id):
        return None
    return parse(lease["until"])


def advanced(
    data: JsonObject,
    *,
    counts: JsonObject,
    failures: list[JsonObject],
    following: str | None,
    served_at: float | None,
    validator: str | None,
    now: float,
    asked_at: float | None = None,
    newest: float | None = None,
    shows: str | None = None,
) -> JsonObject:
    """After a page is stored. `shows`: a text that is the same for the same objects at the same times; None of a page without any.
    `asked_at` and `newest` matter where `doubted`: when the page was asked for, by our clock, and the
    latest time of change in it, by the provider's."""
    run = dict(data["run"])
    run["counts"] = {name: run["counts"][name] + counts.get(name, 0) for name in COUNTS}
    run["failures"] = [*run["failures"], *failures][:MOST_FAILURES]
    asked_at = now if asked_at is None else asked_at
    if run["page"] == 0:
        run["servedAt"] = None if served_at is None or doubted(served_at, asked_at) else iso(served_at)
        run["askedAt"] = iso(asked_at)
        run["validator"] = validator
    if newest is not None and run["servedAt"] is None:
        # What had been changed when this page was asked for was changed at most so much after the first page was served.
        seen = iso(newest - max(0.0, asked_at - parse(run["askedAt"])))
        run["stamped"] = max(run.get("stamped") or seen, seen)
    run["page"] += 1
    run["cursor"] = following
    run["circle"] = _round(run["circle"], following)
    run["shown"] = _round(run.get("shown", _NO_ROUND), None if following is None else shows)
    lease = {**data["lease"], "until": iso(now + LEASE)}
    return {**data, "run": run, "lease": lease, "updatedAt": iso(now)}


def doubted(served_at: float | None, asked_at: float) -> bool:
    """Is the provider's Date absent, or ahead of our time by more than clocks are? A watermark that lies in the future of the objects'
    own times hides changes, so the latest of these is believed instead. One that lies behind costs a few unchanged records."""
    return served_at is None or served_at > asked_at + _AHEAD


def in_circle(data: JsonObject) -> bool:
    """Do the pages lead back to one that was there, by where they lead or by what they show? A system that does not heed what page it
    is asked for leads on for ever. Objects that move while they are read may fill one page twice, but not three times at the same
    distance."""
    run = data["run"]
    return bool(run["circle"][3] or run.get("shown", _NO_ROUND)[3] > 1)


def _round(circle: list[Json], following: str | None) -> list[Json]:
    """[remembered page, steps until the next is remembered, steps since, times met again, after how many steps each time]: Brent's way
    of finding a circle with one page in memory (https://maths-people.anu.edu.au/~brent/pub/pub051.html). Any circle is met after a few
    rounds at most."""
    if following is None:
        return circle
    saved, power, steps, met, gap = circle if len(circle) == 5 else (*circle, 0)
    mark = digest(following)
    if mark == saved:
        return [saved, power, 0, met + 1 if steps == gap else 1, steps]
    if steps + 1 >= power:
        return [mark, power * 2, 0, 0, 0]
    return [saved, power, steps + 1, met, gap]


def restarted(data: JsonObject) -> JsonObject:
    """From the first page again: the provider does not know the page that we had come to any more."""
    run = {
        **data["run"],
        "cursor": None,
        "page": 0,
        "counts": dict.fromkeys(COUNTS, 0),
        "failures": [],
        "circle": _NO_ROUND,
        "shown": _NO_ROUND,
        "ask": None,
        "stamped": None,
        "restarted": True,
    }
    return {**data, "run": run}


def finished(data: JsonObject, *, now: float, error: str | None = None) -> JsonObject:
    """The run is over. Without an error the watermark moves, unless the run began behind it: what lies between was read by nobody."""
    run = {**data["run"], "finished": iso(now), "cursor": None}
    data = {name: value for name, value in data.items() if name != "lease"} | {"run": run, "updatedAt": iso(now)}
    if error is not None:
        run["error"] = error
        return data
    if run.get("gap"):
        return data
    if run.get("servedAt") is not None:
        data["watermark"] = run["servedAt"]
    elif run.get("stamped") is not None:
        data["watermark"] = max(run["stamped"], data.get("watermark") or run["stamped"])
    data["validator"] = run.get("validator") if run["since"] is not None else None
    return data


def given_up(data: JsonObject) -> JsonObject:
    """The lease is over, the run goes on later."""
    return {name: value for name, value in data.items() if name != "lease"}
