"""Parked messages as people name and see them: a filter from what they send, and what they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import PARKED
from syncd.domain.errors import BINS, Invalid
from syncd.domain.times import parse
from syncd.flows.parked import Filter

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.ports.documents import Document

#: Characters of a body that a list shows; the single message shows all of it.
SHOWN_BODY = 2_000


def chosen(
    queue: str,
    *,
    now: float | None = None,
    tenant: str | None = None,
    connection: str | None = None,
    bin_name: str | None = None,
    reason: str | None = None,
    kind: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> Filter:
    """A filter from what people send. With `now`, for a replay, `before` is never later: what fails again is parked again, and
    would be found again for ever. A list goes without, because its cursor belongs to one filter. Raises Invalid."""
    if bin_name is not None and bin_name not in BINS:
        raise Invalid(f"there is no bin {bin_name[:80]!r}", errors={"bin": f"one of {', '.join(BINS)}"})
    until = _moment("before", before)
    return Filter(
        queue=queue,
        tenant=tenant,
        connection=connection,
        bin=next((one for one in BINS if one == bin_name), None),
        reason=reason,
        kind=kind,
        before=min((moment for moment in (until, now) if moment is not None), default=None),
        after=_moment("after", after),
    )


def _moment(field: str, text: str | None) -> float | None:
    try:
        return None if text is None else parse(text)
    except ValueError:
        raise Invalid(f"{field} is not a time in ISO 8601", errors={field: "as 2023-11-14T22:13:20Z"}) from None


def as_words(wanted: Filter) -> JsonObject:
    names = ("queue", "tenant", "connection", "bin", "reason", "kind", "before", "after")
    return {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}


def audited(found: Document) -> JsonObject:
    return {name: found.data[name] for name in ("queue", "kind", "bin", "reason", "status")}


def listed(found: Document) -> JsonObject:
    data = PARKED.upgraded(found.data)
    hidden = ("schema", "history", "raw", "rawEncoding")
    rest = {name: value for name, value in data.items() if name not in hidden}
    return {"id": found.id, **rest, "body": data.get("raw", "")[:SHOWN_BODY]}


def whole(found: Document) -> JsonObject:
    data = PARKED.upgraded(found.data)
    rest = {name: value for name, value in data.items() if name not in ("schema", "raw", "rawEncoding")}
    return {"id": found.id, **rest, "body": data.get("raw"), "bodyEncoding": data.get("rawEncoding")}
