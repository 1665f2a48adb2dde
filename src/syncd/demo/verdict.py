"""What the API says, held against the sender's own log. Pure, and nothing in it is taken for granted.

Each of the sender's events changes its issue, so an issue's entity must end at version n after n events, with the content of the
newest; a higher version is an effect that happened twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import iso, parse

#: Effects by which an event rightly leaves no version of its own: something newer was there already.
_WITHOUT_VERSION = "outdated"
_STATES = ("ready", "leased", "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Read from the API after the queues ran empty."""

    rows: Sequence[JsonObject]
    entities: Sequence[JsonObject]
    queues: Sequence[JsonObject]
    connection_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    sent: int
    """Different deliveries of which the sender says that they were answered 2xx."""
    processed: int
    """Of these, the ones with a row `processed`."""
    twice: int
    """Effects beyond the one that each event may have."""
    lost: int
    """Deliveries and effects that should be there and are not."""
    tries: int
    duplicates: int
    """Tries that were answered `duplicate`."""
    unanswered: int
    """Tries without a 2xx."""
    by_status: dict[str, int]
    entities: int
    versions: int
    expected_entities: int
    waiting: int
    """Messages of all queues that are ready, leased or scheduled."""
    uncounted: tuple[str, ...]
    """Queues and states of which the backend cannot say how many messages there are."""
    parked: int
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.problems

    @property
    def sentence(self) -> str:
        return f"{self.sent:,} sent, {self.processed:,} processed, {self.twice:,} twice"


def judge(log: Iterable[JsonObject], seen: Seen, *, planned: int) -> Verdict:
    """`log`: the lines of the sender; `planned`: how many different deliveries it was to make."""
    lines = list(log)
    answered = [line for line in lines if line["what"] == "answered"]
    tried = {line["delivery"]: line for line in lines if line["what"] == "sending"}
    sent = {line["delivery"] for line in answered}
    rows: dict[str, list[JsonObject]] = {}
    for row in seen.rows:
        rows.setdefault(row.get("headers", {}).get("x-github-delivery", "?"), []).append(row)
    processed = {delivery for delivery, found in rows.items() if any(row["status"] == "processed" for row in found)}

    lost = sent - processed
    never = planned - len(sent)
    second_rows = sum(len(found) - 1 for found in rows.values())
    foreign = set(rows) - set(tried)
    unprocessed = sum(row["status"] != "processed" for row in seen.rows)
    effects = _Effects(tried.values(), seen)
    figures = [(f"{queue['name']} ({state})", queue[state]) for queue in seen.queues for state in _STATES]
    waiting = sum(int(count or 0) for _, count in figures)
    parked = sum(int(queue["dead"] or 0) for queue in seen.queues)

    found = (
        (never, f"{never:,} of {planned:,} deliveries never got a 2xx"),
        (
            len(lost),
            f"{len(lost):,} deliveries got a 2xx and have no processed row, for example {min(lost, default='')}",
        ),
        (second_rows, f"{second_rows:,} deliveries have more than one row"),
        (len(foreign), f"{len(foreign):,} rows belong to deliveries that were never sent"),
        (unprocessed, f"{unprocessed:,} rows are not processed"),
        (effects.twice, f"{effects.twice:,} effects happened twice: {effects.example}"),
        (effects.missing, f"{effects.missing:,} effects are missing: {effects.example}"),
        (effects.stale, f"{effects.stale:,} issues do not have the content of their newest event"),
        (effects.foreign, f"{effects.foreign:,} entities belong to no issue"),
        (waiting, f"{waiting:,} messages still wait in a queue"),
        (parked, f"{parked:,} messages are parked"),
    )
    return Verdict(
        sent=len(sent),
        processed=len(sent & processed),
        twice=effects.twice + second_rows,
        lost=never + len(lost) + effects.missing + effects.stale,
        tries=sum(line["what"] == "sending" for line in lines),
        duplicates=sum(line.get("answer") == "duplicate" for line in answered),
        unanswered=sum(line["what"] == "failed" for line in lines),
        by_status=dict(Counter(row["status"] for row in seen.rows)),
        entities=len(seen.entities),
        versions=sum(entity["version"] for entity in seen.entities),
        expected_entities=len(effects.expected),
        waiting=waiting,
        uncounted=tuple(name for name, count in figures if count is None),
        parked=parked,
        problems=tuple(text for count, text in found if count),
    )


class _Effects:
    """Versions of entities against the events that must have made them."""

    def __init__(self, events: Iterable[JsonObject], seen: Seen) -> None:
        self.expected: dict[str, int] = {}
        newest: dict[str, str] = {}
        for event in events:
            issue = event["issue"]
            self.expected[issue] = self.expected.get(issue, 0) + 1
            newest[issue] = max(newest.get(issue, ""), event["updatedAt"])
        outdated = Counter(row.get("entityId") for row in seen.rows if row.get("effect") == _WITHOUT_VERSION)
        versions: Counter[str] = Counter()
        self.twice = self.missing = self.stale = self.foreign = 0
        self.example = ""
        for entity in seen.entities:
            issue = entity["externalIds"].get(seen.connection_id)
            if issue not in self.expected:
                self.foreign += 1
                continue
            versions[issue] += entity["version"]  # two entities of one issue: their effects add up
            self.stale += entity["changedAt"] != iso(parse(newest[issue]))
        for issue, events_of in self.expected.items():
            most, least = events_of, events_of - outdated[issue]
            if not least <= versions[issue] <= most:
                self.example = self.example or f"issue {issue} has version {versions[issue]} after {events_of} events"
            self.twice += max(0, versions[issue] - most)
            self.missing += max(0, least - versions[issue])
