"""Objects that a connection speaks of while creates of ours are under way there: is it the answer, or something new?

A webhook or a page may show an object before the answer to its create is known. Taken for something new it would be stored twice, and
pushed on twice. So an unknown object waits while a create that began before we heard of it is under way, and, where the system can
tell, until it has been asked again for one that got no answer. Where only a person can find that out, the object is its own by
content (G9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.collections import ENTITIES
from syncd.domain.errors import Overloaded
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical
from syncd.domain.times import iso, parse
from syncd.ports.documents import PAGE_LIMIT, Condition, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.fields import Fields
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.domain.records import Subscriber
    from syncd.ports.documents import Documents
    from syncd.ports.provider import Kind

#: How long an unknown object waits before it is looked at again. Most answers are here by then. Seconds.
WAIT = 0.25
_LONGEST_WAIT = 10.0
#: How much later than it is due a create without an answer is asked for again, at the most: workers may be behind. Seconds.
_LATE = 300.0


@dataclass(frozen=True, slots=True)
class Marks:
    """The creates of one connection that were begun and have no recorded end."""

    marks: Sequence[JsonObject]
    fields: Fields

    def owner(self, incoming: Incoming, *, said_at: float, now: float) -> str | None:
        """The entity whose create without an answer made this object; None: it is new. Raises Overloaded until that can be told."""
        moment, heard = iso(now), iso(said_at)
        since = [mark["since"] for mark in self.marks if mark["until"] > moment and mark["since"] <= heard]
        if since:
            # Most answers are there at once. The longer one has been missing, the longer it will.
            wait = min(max(WAIT, (now - parse(min(since))) / 4), _LONGEST_WAIT)
            raise Overloaded("an object is being created there, and this may be it", retry_after=wait)
        content = content_hash(incoming.data, self.fields)
        return next((mark["entityId"] for mark in self.marks if mark["content"] == content), None)


def settling(kind: Kind) -> float:
    """Seconds after which a create without an answer has been asked for again since it was due to be; 0: it is not, by itself."""
    return kind.lookup_delay + _LATE if kind.creates in ("idempotent", "lookup") else 0.0


async def read_marks(
    documents: Documents, partition: str, connection_id: str, subscribers: Sequence[Subscriber]
) -> Marks | None:
    """None where nothing is being created. To be read after the aliases: a create that ended in between has left its alias."""
    subscriber = next((one for one in subscribers if one.connection_id == connection_id), None)
    if subscriber is None or not subscriber.takes_pushes:
        return None
    query = Query(partition=partition, where=(Condition("creating", "eq", connection_id),), limit=PAGE_LIMIT)
    found = await documents.query(ENTITIES, query)
    return Marks([one.data for one in found.items], subscriber.fields) if found.items else None


def content_hash(data: JsonObject, fields: Fields) -> str:
    """Of what can be sent; what is empty counts as not there."""
    present = {name: value for name, value in fields.of(data).items() if value is not None}
    return digest("content", canonical(present))
