"""What a connection says of one of its objects, and the pure change of its entity that follows: three-way, in the provider's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.conflicts import conflict_id
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical, same
from syncd.domain.merge import ABSENT, Rules, merge
from syncd.domain.records import Change, blank, bury, changed_fields, concerned, owe, owes, settle, succeeding
from syncd.domain.times import DAY, iso, parse
from syncd.domain.values import immutable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.events import Operation
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.merge import Merged
    from syncd.domain.records import Effect, Subscriber

#: At the same moment an update stands over the creation that it follows, and a deletion over both.
_RANK: dict[Operation, int] = {"create": 0, "update": 1, "delete": 2}
#: A provider's time that lies further in our future is taken for this: otherwise one wrong clock would freeze an entity.
_FUTURE = DAY
_WITHIN = 0.999
#: Characters of a remote version that say the provider's time. An ISO time with milliseconds and Z.
_RANKED = 24
#: Characters that say its content.
_DIGEST = 8

#: A content that nobody dates later.
_EPOCH = iso(0)

_LAST_WRITE_WINS = Rules()


@immutable(kw_only=True)
class Incoming:
    """What one connection says about one of its objects, from an event, a page or a push's answer."""

    connection_id: str
    external_id: str
    operation: Operation
    data: JsonObject
    occurred_at: float
    """From `moment`."""
    order: str
    """From `order_of`."""
    event_id: str | None = None
    page: str | None = None
    """Which page of which pull, so that a page that is stored again counts as it did."""
    tag: str | None = None
    """The provider's own mark of this state, for conditional writes."""
    partial: bool = False
    timed: bool = True
    """`occurred_at` is the provider's word; otherwise only the time at which we heard of it."""

    @property
    def remote_version(self) -> str:
        """A text whose order is the order in which the provider's states follow each other, whatever order they reach us in: as
        `order` says, then (so that it is total) by content. Made when it is asked for: of most pages nothing is new."""
        return f"{self.order}~{digest(canonical(self.data))[:_DIGEST]}"

    def follows(self, known: str) -> bool:
        """Is it later than the remote version `known`?"""
        head = known[: len(self.order)]
        return self.remote_version > known if head == self.order else self.order > head


def moment(occurred_at: float | None, received_at: float) -> float:
    """When a provider's object became so, as far as it can be believed."""
    return received_at if occurred_at is None else min(occurred_at, received_at + _FUTURE)


def order_of(occurred_at: float, operation: Operation, received_at: float) -> str:
    """By the provider's time, then create < update < delete, then receipt."""
    if operation == "delete" and occurred_at == int(occurred_at):
        occurred_at += _WITHIN  # told to the second, and still after whatever was done to the object in that second
    return f"{iso(occurred_at)}~{_RANK[operation]}~{iso(received_at)}"


def receive(
    entity: JsonObject | None,
    incoming: Incoming,
    *,
    tenant_id: str,
    entity_type: str,
    subscribers: Sequence[Subscriber],
    now: float,
    rules: Rules = _LAST_WRITE_WINS,
    entity_id: str = "",
) -> Change:
    """The entity after what a connection said. Applying the same thing again changes nothing, and so does anything older than
    what the connection already said. `entity_id` names the conflicts that a person must decide."""
    connection = incoming.connection_id
    if entity is None:
        if incoming.operation != "delete":
            return _received_first(incoming, tenant_id, entity_type, subscribers, now)
        entity = blank(tenant_id, entity_type, now)
        fresh = True
        link: JsonObject = {}
    else:
        link = entity["links"].get(connection, {})
        if "gone" in link and (before := entity["externalIds"].get(connection)) not in (None, incoming.external_id):
            link = succeeding(link, before)  # what is made anew shows itself before the answer to its create
        nothing_new = _brings_nothing(entity, link, incoming, subscribers)
        if nothing_new is not None:
            return Change(effect=_counted(link, incoming, nothing_new), entity=None)
        entity = {**entity, "links": dict(entity["links"]), "externalIds": dict(entity["externalIds"])}
        link = dict(link)
        fresh = False
    _say(link, incoming)
    entity["externalIds"][connection] = incoming.external_id
    entity["links"][connection] = link
    if incoming.operation == "delete":
        change = _received_deletion(entity, incoming, subscribers=subscribers, now=now, fresh=fresh)
    else:
        change = _received_content(entity, incoming, subscribers=subscribers, now=now, rules=rules, entity_id=entity_id)
    if incoming.page is not None:
        counted = _counted(link, incoming, change.effect)
        link["page"] = [incoming.page, counted]
        if counted != change.effect:
            change = Change(effect=counted, entity=change.entity, resolutions=change.resolutions)
    return change


def _say(link: JsonObject, incoming: Incoming) -> None:
    """What the connection said last, and when."""
    if "gone" in link and not link.get("create", {}).get("tried"):
        del link["gone"]  # it is there
    if "held" in link and link["held"].get("gone"):
        del link["held"]
    link["remoteVersion"] = incoming.remote_version
    if not incoming.timed:
        link["untimed"] = True
    elif "untimed" in link:
        del link["untimed"]
    if incoming.tag is not None:
        # An event has none: a write on the one before is refused where it changed, and reads again.
        link["remoteTag"] = incoming.tag
    if incoming.event_id is not None:
        link["event"] = incoming.event_id


def _brings_nothing(
    entity: JsonObject, link: JsonObject, incoming: Incoming, subscribers: Sequence[Subscriber]
) -> Effect | None:
    """Why nothing is to be written; None where something is."""
    known = link.get("remoteVersion")
    if known is not None and not incoming.follows(known):
        # Our own event once more (its effect is here, and its row is still open) or something older.
        return "unchanged" if incoming.remote_version == known else "outdated"
    if incoming.external_id in link.get("former", ()) or (incoming.operation == "delete" and "gone" in link):
        # A person knows that it is gone, and has said what is to become of it.
        return "outdated"
    if (
        incoming.operation == "delete"
        and "base" in link
        and entity["externalIds"].get(incoming.connection_id) != incoming.external_id
    ):
        # It is there under another id by now: what is gone is a former one.
        return "outdated"
    if entity["deleted"] and known is not None and (_same_statement(incoming, known) or _is_our_own(link, incoming)):
        # An echo of what it was before we deleted it does not bring it back.
        return "unchanged"
    return "unchanged" if _says_nothing(entity, link, incoming, known, subscribers) else None


def _same_statement(incoming: Incoming, known: str) -> bool:
    """The same content of the same time by the provider's clock, only heard of later."""
    said = incoming.remote_version
    return incoming.timed and (said[:_RANKED], said[-_DIGEST:]) == (known[:_RANKED], known[-_DIGEST:])


def agreed(link: JsonObject, shown: JsonObject) -> JsonObject | None:
    """The base of a merge with what the connection shows: what both sides last agreed on, and of our own writes, whose answers
    nobody has seen, what is there. Of an object whose create nobody answered it is what was sent then."""
    base: JsonObject | None = link.get("base", link.get("create", {}).get("sent"))
    if base is None or "sent" not in link:
        return base
    base = dict(base)
    for sent in link["sent"]:
        for name, value in sent.items():
            if name in shown:
                if same(shown[name], value):
                    base[name] = value
            elif value is None:
                base.pop(name, None)
    return base


def _is_our_own(link: JsonObject, incoming: Incoming) -> bool:
    return "sent" in link and incoming.operation != "delete" and same(agreed(link, incoming.data), incoming.data)


def _says_nothing(
    entity: JsonObject, link: JsonObject, incoming: Incoming, known: str | None, subscribers: Sequence[Subscriber]
) -> bool:
    """Is it what the connection said at this very time, and does it need to be told nothing? Then nothing need be written."""
    return (
        known is not None
        and (not incoming.timed or known[:_RANKED] == incoming.order[:_RANKED])
        and not incoming.partial
        and incoming.operation != "delete"
        and not entity["deleted"]
        and incoming.tag in (None, link.get("remoteTag"))
        and not owes(link)
        and same(link.get("base"), incoming.data)
        and _agrees(entity["data"], incoming, subscribers)
    )


def _agrees(data: JsonObject, incoming: Incoming, subscribers: Sequence[Subscriber]) -> bool:
    """In everything that the connection can be told."""
    origin = _origin(subscribers, incoming.connection_id)
    if origin is None or not origin.takes_pushes or same(data, incoming.data):
        return True
    return same(origin.fields.of(data), origin.fields.of(incoming.data))


def _origin(subscribers: Sequence[Subscriber], connection_id: str) -> Subscriber | None:
    for one in subscribers:  # no generator: each record of a page comes by here
        if one.connection_id == connection_id:
            return one
    return None


def _counted(link: JsonObject, incoming: Incoming, effect: Effect) -> Effect:
    """What this page did to the entity when it was first stored, else what it does now."""
    page = link.get("page")
    if incoming.page is None or page is None or page[0] != incoming.page:
        return effect
    was: Effect = page[1]
    return was


def _received_first(
    incoming: Incoming, tenant_id: str, entity_type: str, subscribers: Sequence[Subscriber], now: float
) -> Change:
    """What nobody here had: all of it is new, and nothing can differ from it. `_received_content` of a `blank` would come to the same."""
    connection, data, moment = incoming.connection_id, incoming.data, iso(now)
    link: JsonObject = {}
    _say(link, incoming)
    link["base"] = data
    link["want"] = link["pushed"] = 1
    if incoming.page is not None:
        link["page"] = [incoming.page, "created"]
    entity: JsonObject = {
        "tenantId": tenant_id,
        "type": entity_type,
        "data": dict(data),
        "externalIds": {connection: incoming.external_id},
        "links": {connection: link},
        "version": 1,
        "createdAt": moment,
        "updatedAt": moment,
        "changedAt": max(_EPOCH, iso(incoming.occurred_at)),
        "deleted": False,
        "schema": ENTITIES.schema,
    }
    others = [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id != connection]
    if others:
        owe(entity, others, now)
    return Change(effect="created", entity=entity)


def _received_content(
    entity: JsonObject,
    incoming: Incoming,
    *,
    subscribers: Sequence[Subscriber],
    now: float,
    rules: Rules,
    entity_id: str,
) -> Change:
    connection = incoming.connection_id
    link = entity["links"][connection]
    revived = entity["deleted"]
    stored: JsonObject = {} if revived else entity["data"]
    base = agreed(link, incoming.data)
    merged = merge(
        base=None if revived else base,
        stored=stored,
        incoming=incoming.data,
        stored_at=parse(entity["changedAt"]),
        incoming_at=incoming.occurred_at,
        partial=incoming.partial,
        rules=rules,
        held=link.get("open", ()),
    )
    link["base"] = {**(base or {}), **incoming.data} if incoming.partial else incoming.data
    _hold_open(link, merged, entity, entity_id, incoming)
    origin = _origin(subscribers, connection)
    owed = origin is not None and origin.takes_pushes and any(origin.fields.holds(name) for name in merged.owed)
    content = merged.changed or revived
    if content:
        entity["data"] = merged.data
        entity["deleted"] = False
        entity["changedAt"] = max(entity["changedAt"], iso(incoming.occurred_at))
    if content or owed:
        # Where only the origin differs: it lost what it had from us, and a new version makes that debt visible.
        entity["version"] += 1
        entity["updatedAt"] = iso(now)
    # A partial event that agrees with us says nothing about a push that the origin is still owed.
    if not owed and not (incoming.partial and owes(link)):
        settle(entity, connection)
    if content:
        changed = changed_fields(stored, merged.data)
        others = [one for one in subscribers if one.connection_id != connection]
        owe(entity, concerned(entity, others, changed, again=revived), now)
    if owed:
        owe(entity, (connection,), now)
    effect: Effect = "created" if revived else "updated" if merged.changed else "unchanged"
    return Change(effect=effect, entity=entity, resolutions=merged.resolutions)


def _hold_open(link: JsonObject, merged: Merged, entity: JsonObject, entity_id: str, incoming: Incoming) -> None:
    """Fields that wait for a person are held with their newest conflict; those that agree again are not."""
    held = {
        name: conflict
        for name, conflict in link.get("open", {}).items()
        if (incoming.partial and name not in incoming.data)
        or not same(merged.data.get(name, ABSENT), incoming.data.get(name, ABSENT))
    }
    waiting = [one.field for one in merged.resolutions if one.taken == "open"]
    if waiting:
        conflict = conflict_id(entity["tenantId"], entity_id, incoming.connection_id, incoming.remote_version)
        held |= dict.fromkeys(waiting, conflict)
    if held:
        link["open"] = held
    else:
        link.pop("open", None)


def _received_deletion(
    entity: JsonObject, incoming: Incoming, *, subscribers: Sequence[Subscriber], now: float, fresh: bool
) -> Change:
    connection = incoming.connection_id
    already = entity["deleted"]
    entity["links"][connection].pop("base", None)
    if fresh:
        entity["data"] = incoming.data
    if not already:
        bury(entity, incoming.occurred_at, now)
        linked = [one.connection_id for one in subscribers if one.takes_pushes and one.connection_id in entity["links"]]
        owe(entity, [one for one in linked if one != connection], now)
    settle(entity, connection)
    return Change(effect="unchanged" if already else "deleted", entity=entity)
