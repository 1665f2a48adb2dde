"""What pushing does to a link: what there is to send, the lease that is taken before the call, and what is written after it. Pure.

    owed --begin: lease (CAS)--> call --record--> pushed = version
                                     \\--give_back--> owed, not before checkAt
                                     \\--hold--> owed, and waits for a person
    link {..., pushed, pushedAt?, sent?, push? {version, term, owner, until, since}, term?, create? {key, at, tried, since, sent, again?}, creates?,
          checkAt?, patience?, hop?, held? {bin, reason, at, message, gone?}, gone?: anew | quiet, former? [external ids]}

A lease outlives a call of half its length (decision 5). A create's `key` belongs to the link, not to the version, and stays until
the outcome is known; `tried` says that a call was begun whose end nobody has written down, `since` when and `sent` what it said, `again` that a
person has looked and says: go on. `creates` counts those whose end is known: what is made anew after a deletion has another key.

An object to update that is not there may have been deleted, or hidden from us for a while, and only a person knows: the debt is held as
`gone`. Replayed, it is looked for again, and if it is still not there it is made `anew` under a key of its own, and the id that it had becomes a
`former` one; dropped, the link is `quiet`
until the object is seen there again. Until it is made nothing is forgotten, so that an object that shows itself ends either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from syncd.domain.ids import digest
from syncd.domain.jsonbody import same
from syncd.domain.merge import ABSENT
from syncd.domain.records import NO_DEBT, mark_dirty, owes, succeeding
from syncd.domain.times import iso, parse
from syncd.domain.values import immutable

if TYPE_CHECKING:
    from syncd.domain.errors import Bin
    from syncd.domain.fields import Fields
    from syncd.domain.jsontypes import JsonObject


def lease_for(call_timeout: float) -> float:
    """The lease around calls of at most so long: twice that and some seconds for the store (decision 5). Seconds."""
    return 2 * call_timeout + 10.0


#: With the default of `http.outgoing_timeout`. Seconds.
LEASE = lease_for(30.0)
#: A debt whose message may be lost is told again after so long, doubling to the most (guarantees, G4). Seconds.
FIRST_CHECK = 120.0
LAST_CHECK = 3600.0

#: Seconds. Most calls are over by then.
_FIRST_LOOK = 0.25

#: Updates without an answer whose changes are remembered.
_UNANSWERED = 8

PushOperation = Literal["create", "update", "delete"]


@immutable(kw_only=True)
class Sending:
    """What a connection is owed now."""

    operation: PushOperation
    version: int
    external_id: str | None
    changes: JsonObject
    """Writable fields that differ from what the connection has; None where one is to be emptied. Of a create: all of them."""
    whole: JsonObject
    """All writable fields as the connection should have them."""
    tag: str | None
    """For a conditional write."""


def sending(entity: JsonObject, connection_id: str, fields: Fields) -> Sending | None:
    """None where the connection holds everything that it can be told."""
    link = entity["links"].get(connection_id, {})
    external_id: str | None = entity["externalIds"].get(connection_id)
    facts = {"version": entity["version"], "external_id": external_id, "tag": link.get("remoteTag")}
    gone = link.get("gone")
    if entity["deleted"]:
        trying = link.get("create", {}).get("tried")
        if external_id is not None and "base" in link and not (trying and gone == "anew"):
            return Sending(operation="delete", changes={}, whole={}, **facts)
        if trying:
            # It may be there. Only the end of its create says so, and then it can be deleted.
            whole = link["create"].get("sent", fields.of(entity["data"]))
            return Sending(
                operation="create", changes=whole, whole=whole, **(facts | {"version": entity["version"] - 1})
            )
        return None
    if gone == "quiet":
        return None
    base: JsonObject = link.get("base") or {}
    whole = _with_held(fields.of(entity["data"]), base, link.get("open", {}))
    if external_id is None or "base" not in link or gone == "anew":
        return Sending(operation="create", changes=whole, whole=whole, **(facts | {"external_id": None}))
    before = fields.of(base)
    changes = {name: value for name, value in whole.items() if not same(before.get(name, ABSENT), value)}
    # What the connection shows empty is as good as not there.
    changes |= {name: None for name, value in before.items() if name not in whole and value is not None}
    changes = {name: value for name, value in changes.items() if value is not None or before.get(name) is not None}
    return Sending(operation="update", changes=changes, whole=whole, **facts) if changes else None


def _with_held(whole: JsonObject, base: JsonObject, held: JsonObject) -> JsonObject:
    """A field that waits for a person stays what the connection said."""
    if not held:
        return whole
    kept = {name: value for name, value in whole.items() if name not in held}
    return kept | {name: base[name] for name in held if name in base}


def create_key(entity_id: str, connection_id: str, ended: int = 0) -> str:
    """32 hex digits: the same for every attempt to create this entity at this connection, after so many that have ended."""
    return digest("create", entity_id, connection_id, *([str(ended)] if ended else []))


def creating_id(entity_id: str, connection_id: str) -> str:
    """Of the mark beside the entity that says that a create is under way."""
    return f"c~{digest(entity_id, connection_id)}"


def creating_mark(entity_id: str, connection_id: str, content: str, since: float, until: float) -> JsonObject:
    """`creating` finds it; `content` is the hash of what was sent."""
    return {
        "kind": "creating",
        "creating": connection_id,
        "entityId": entity_id,
        "content": content,
        "since": iso(since),
        "until": iso(until),
    }


def lease_until(entity: JsonObject, connection_id: str) -> float | None:
    """When the push lease of a link ends, Unix seconds; None where there is none."""
    lease = entity["links"].get(connection_id, {}).get("push")
    return None if lease is None else parse(lease["until"])


def due_at(entity: JsonObject, connection_id: str) -> float | None:
    """When the provider may be asked again for this link, as it or our limits said; None: at any time. Unix seconds."""
    due = entity["links"].get(connection_id, {}).get("due")
    return None if due is None else parse(due)


def look_again(entity: JsonObject, connection_id: str, now: float) -> float:
    """When whoever met the lease of another should come back: while it may be a call under way, after as long as that has been
    under way already. Its holder may have died, and then the lease's end is what is waited for."""
    lease = entity["links"][connection_id]["push"]
    until = parse(lease["until"])
    return min(until, now + max(now - parse(lease["since"]), _FIRST_LOOK))


def begin(
    entity: JsonObject,
    entity_id: str,
    connection_id: str,
    wanted: Sending,
    owner: str,
    now: float,
    *,
    lease: float = LEASE,
) -> JsonObject:
    """The entity with the lease taken, for `lease` seconds."""
    link = _link(entity, connection_id)
    link.pop("due", None)
    term = link.get("term", 0) + 1
    link |= {
        "term": term,
        "push": {
            "version": wanted.version,
            "term": term,
            "owner": owner,
            "since": iso(now),
            "until": iso(now + lease),
        },
    }
    if wanted.operation == "create":
        created = link.get("create", {"key": create_key(entity_id, connection_id, link.get("creates", 0))})
        # What may be there already is what the first of them said whose end nobody knows.
        first = created if created.get("tried") and "sent" in created else {"since": iso(now), "sent": wanted.whole}
        link["create"] = {
            "key": created["key"],
            "at": iso(now),
            "tried": True,
            "since": first["since"],
            "sent": first["sent"],
        }
    elif wanted.operation == "update":
        link["sent"] = [*link.get("sent", ()), wanted.changes][-_UNANSWERED:]
    return _with(entity, connection_id, link)


def is_mine(entity: JsonObject, connection_id: str, term: int) -> bool:
    lease = entity["links"].get(connection_id, {}).get("push")
    return bool(lease is not None and lease["term"] == term)


def settled(entity: JsonObject, connection_id: str, version: int, now: float) -> JsonObject:
    """The connection has been told everything up to `version`; the lease is over."""
    link = _link(entity, connection_id)
    for name in ("push", *NO_DEBT):
        link.pop(name, None)
    link["want"] = max(link.get("want", 0), version)
    link["pushed"] = max(link.get("pushed", 0), version)
    link["pushedAt"] = iso(now)
    return _with(entity, connection_id, link)


def told(entity: JsonObject, connection_id: str, sent: Sending, external_id: str | None) -> JsonObject:
    """The entity whose connection now has what was sent: the base of the next merge. The external id is known from a create on."""
    link = _link(entity, connection_id)
    if sent.operation == "delete":
        link.pop("base", None)
        link.pop("gone", None)
        return _with(entity, connection_id, link)
    if sent.operation == "create":
        link["creates"] = link.get("creates", 0) + 1
        # An earlier attempt may have made it, with what that one said.
        base = dict(link.get("create", {}).get("sent", sent.changes))
    else:
        base = {**(link.get("base") or {}), **sent.changes}
    link["base"] = {name: value for name, value in base.items() if value is not None or name in sent.whole}
    entity = _with(entity, connection_id, link)
    if external_id is not None:
        entity["externalIds"] = {**entity["externalIds"], connection_id: external_id}
    return entity


def made(entity: JsonObject, connection_id: str, external_id: str) -> JsonObject:
    """The entity for whose create this is the answer: an object that was there before it is a former one."""
    link, former = _link(entity, connection_id), entity["externalIds"].get(connection_id)
    if former in (None, external_id) or ("base" in link and "gone" not in link):
        return entity
    others = {one: value for one, value in entity["externalIds"].items() if one != connection_id}
    return {**_with(entity, connection_id, succeeding(link, former)), "externalIds": others}


def given_back(
    entity: JsonObject,
    connection_id: str,
    *,
    now: float,
    due: float,
    hop: int,
    tried: bool,
    error: str | None,
    tag: str | None = None,
    seen: bool = False,
) -> JsonObject:
    """The lease is over and the debt stands; not to be looked at before `due`. `tried`: a create that may have been made. `seen`: what
    was to be made anew is there."""
    link = _link(entity, connection_id)
    if seen and link.pop("gone", None) is not None:
        link.pop("create", None)
    link.pop("push", None)
    link.pop("due", None)
    if owes(link) and due > now:
        link["due"] = iso(due)  # for whoever comes meanwhile by another message
    if owes(link):
        link["checkAt"] = iso(max(due, now) + FIRST_CHECK)
    link["hop"] = max(link.get("hop", 0), hop)
    if error is not None:
        link["error"] = error[:500]
    if tag is not None:
        link["remoteTag"] = tag
    _untry(link, tried=tried)
    return _with(entity, connection_id, link)


def held(
    entity: JsonObject,
    connection_id: str,
    *,
    bin_name: Bin,
    reason: str,
    hop: int,
    tried: bool,
    now: float,
    message: str,
    gone: bool = False,
) -> JsonObject:
    """The debt stands and waits for a person: neither a push nor maintenance touches it until it is released or dropped. `message`: the
    one by which that person will find it, as `Envelope.broker_id`; whoever meets it again parks it. `gone`: there is nothing there to
    update."""
    link = _link(entity, connection_id)
    link.pop("push", None)
    link["held"] = {"bin": bin_name, "reason": reason[:500], "at": iso(now), "message": message}
    if gone:
        link["held"]["gone"] = True
    link["hop"] = max(link.get("hop", 0), hop)
    _untry(link, tried=tried)
    return _with(entity, connection_id, link)


def seen_hop(entity: JsonObject, connection_id: str, hop: int) -> JsonObject | None:
    """A message of this hop has ended without a trace: what is told of the debt later is a later one. None where that is known."""
    link = _link(entity, connection_id)
    if link.get("hop", 0) >= hop:
        return None
    link["hop"] = hop
    return _with(entity, connection_id, link)


def released(entity: JsonObject, connection_id: str, before: float, *, looked: bool = True) -> JsonObject | None:
    """A person has looked and says: go on. None where nothing was held before then (Unix seconds); what is held since is another
    matter. Where nobody has `looked`, a create that may have been made is as uncertain as before."""
    link = _link(entity, connection_id)
    if "held" not in link or link["held"]["at"] > iso(before):
        return None
    if looked and link["held"].get("gone"):
        link["gone"] = "anew"
        link.pop("create", None)
        link["creates"] = link.get("creates", 0) + 1  # by an earlier key its provider may answer with what is gone
    del link["held"]
    link["checkAt"] = iso(before)  # should the message that says so not come
    if looked and "create" in link:
        link["create"] = {**link["create"], "again": True}
    return _with(entity, connection_id, link)


def dropped(entity: JsonObject, connection_id: str) -> JsonObject:
    """The debt is forgiven: a person gave it up. A create that may have been made is known by its content all the same."""
    link = _link(entity, connection_id)
    if link.get("held", {}).get("gone"):
        link["gone"] = "quiet"
    for name in ("push", *(one for one in NO_DEBT if one != "create")):
        link.pop(name, None)
    link["pushed"] = link.get("want", 0)
    return _with(entity, connection_id, link)


def reminded(entity: JsonObject, connection_id: str, now: float) -> JsonObject:
    """A debt whose message may be lost: the next hop is told, and the next look is later each time."""
    link = _link(entity, connection_id)
    waited = link.get("patience", FIRST_CHECK / 2)
    link["patience"] = min(waited * 2, LAST_CHECK)
    link["checkAt"] = iso(now + link["patience"])
    link["hop"] = link.get("hop", 0) + 1
    return _with(entity, connection_id, link)


def due_debts(entity: JsonObject, now: float) -> list[tuple[str, int, int]]:
    """(connection, wanted version, hop to send) of debts that maintenance should tell again, before `reminded`."""
    found = []
    for connection_id, link in entity["links"].items():
        if not owes(link) or "held" in link:
            continue
        check = link.get("checkAt")
        if check is None:
            check = iso(parse(entity["dirtySince"]) + FIRST_CHECK) if "dirtySince" in entity else iso(0)
        if check <= iso(now):
            found.append((connection_id, link["want"], link.get("hop", 0) + 1))
    return found


def _untry(link: JsonObject, *, tried: bool) -> None:
    if "create" in link:
        link["create"] = {**link["create"], "tried": tried}


def _link(entity: JsonObject, connection_id: str) -> JsonObject:
    return dict(entity["links"].get(connection_id, {}))


def _with(entity: JsonObject, connection_id: str, link: JsonObject) -> JsonObject:
    entity = {**entity, "links": {**entity["links"], connection_id: link}}
    mark_dirty(entity, None)
    return entity
