"""Three systems and the logs of two of them, held against each other. Pure, and nothing in it is taken for granted.

Each contact that lives in the CRM must be stored once, stand on the mail list once, and hold the same everywhere; only a field that waits
for a person may differ. Each webhook of the CRM must have one processed row, and each change that was owed to the CRM one write there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from syncd.demo.connections import CRM, MAIL, NAMES
from syncd.demo.contacts import FIELDS
from syncd.demo.crmhooks import DELIVERY
from syncd.domain.jsontypes import Json, JsonObject

_OK = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledgers:
    """What each party says after everything came to rest."""

    crm: Sequence[JsonObject]
    """The contacts that live there."""
    mail: Sequence[JsonObject]
    entities: Sequence[JsonObject]
    crm_requests: Sequence[JsonObject]
    mail_requests: Sequence[JsonObject]
    hooks: Sequence[JsonObject]
    """The log of the CRM's webhooks."""
    rows: Sequence[JsonObject]
    """What the daemon says became of each of them."""
    conflicts: Sequence[JsonObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    contacts: int
    stored: int
    members: int
    told: int
    """Different webhooks of the CRM that were answered 2xx."""
    applied: int
    """Of these, the ones with a processed row."""
    added: int
    changed: int
    removed: int
    """Writes that the mail list accepted."""
    returned: int
    """Writes that the CRM accepted."""
    sought: int
    """Contacts that were looked for on the mail list, because a create got no answer."""
    refused: Mapping[str, int]
    """429s, by system."""
    by_rule: int
    open: int
    lost: int
    doubled: int
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.problems


def balance(ledgers: Ledgers, *, returns: Mapping[str, int]) -> Balance:
    """`returns`: how many writes each contact of the CRM was owed."""
    book = _Book()
    by_crm = _grouped(ledgers.entities, lambda one: one["externalIds"].get(CRM))
    living = {one["id"]: one for one in ledgers.crm}
    members = {str(one["number"]): one for one in ledgers.mail}

    book.lose(living.keys() - by_crm.keys(), "contacts of the CRM are not stored")
    book.double(_beyond_one(by_crm), "contacts are stored twice")
    book.double(by_crm.keys() - living.keys(), "stored contacts are not in the CRM")
    listed = Counter(entity["externalIds"].get(MAIL) for entity in ledgers.entities)
    book.lose(
        [one["id"] for one in ledgers.entities if one["externalIds"].get(MAIL) not in members],
        "stored contacts are not on the mail list",
    )
    book.double(members.keys() - listed.keys(), "members of the mail list belong to no stored contact")
    book.double(_beyond_one(_grouped(ledgers.mail, lambda one: one["address"])), "contacts are on the mail list twice")
    made = Counter(one.get("reference") for one in _written(ledgers.mail_requests, "POST"))
    book.double([name for name, count in made.items() if count > 1], "contacts were created on the mail list twice")
    for words, entities in _differing(ledgers.entities, living, members).items():
        book.lose(entities, words)
    told, applied = _deliveries(book, ledgers)
    returned = Counter(one["contact"] for one in _written(ledgers.crm_requests, "PATCH", "POST", "DELETE"))
    book.lose((Counter(returns) - returned).elements(), "changes were not written to the CRM")
    book.double((returned - Counter(returns)).elements(), "writes to the CRM were not owed, or were made twice")
    return Balance(
        contacts=len(living),
        stored=len(ledgers.entities),
        members=len(members),
        told=len(told),
        applied=len(applied),
        added=sum(made.values()),
        changed=sum(1 for _ in _written(ledgers.mail_requests, "PUT")),
        removed=sum(1 for _ in _written(ledgers.mail_requests, "DELETE")),
        returned=returned.total(),
        sought=len({one["sought"] for one in ledgers.mail_requests if "sought" in one and one["status"] in _OK}),
        refused={
            CRM: sum(one["status"] == 429 for one in ledgers.crm_requests),
            MAIL: sum(one["status"] == 429 for one in ledgers.mail_requests),
        },
        by_rule=sum(one["status"] == "resolved" for one in ledgers.conflicts),
        open=sum(one["status"] == "open" for one in ledgers.conflicts),
        lost=book.lost,
        doubled=book.doubled,
        problems=tuple(book.problems),
    )


class _Book:
    def __init__(self) -> None:
        self.lost = self.doubled = 0
        self.problems: list[str] = []

    def lose(self, what: Iterable[object], words: str) -> None:
        self.lost += self._problem(what, words)

    def double(self, what: Iterable[object], words: str) -> None:
        self.doubled += self._problem(what, words)

    def _problem(self, what: Iterable[object], words: str) -> int:
        found = sorted(map(str, what))
        if found:
            self.problems.append(f"{len(found):,} {words}, for example {found[0]}")
        return len(found)


def _differing(
    entities: Iterable[JsonObject], living: Mapping[str, JsonObject], members: Mapping[str, JsonObject]
) -> dict[str, list[str]]:
    """Where -> entities that a system does not hold as they are stored: something was lost on the way."""
    found: dict[str, list[str]] = {}
    for entity in entities:
        contact, member = living.get(entity["externalIds"].get(CRM)), members.get(entity["externalIds"].get(MAIL))
        undecided = entity["links"].get(CRM, {}).get("open", {})
        sides = {
            "the CRM": {name: contact.get(name) for name in FIELDS if name not in undecided} if contact else {},
            "the mail list": _ours(member) if member else {},
        }
        for where, there in sides.items():
            names = [name for name, value in there.items() if (entity["data"].get(name) or "") != (value or "")]
            if names:
                found.setdefault(f"contacts differ in {where} ({', '.join(names)})", []).append(entity["id"])
    return found


def _deliveries(book: _Book, ledgers: Ledgers) -> tuple[set[str], set[str]]:
    tried = {one["delivery"] for one in ledgers.hooks if one["what"] == "sending"}
    told = {one["delivery"] for one in ledgers.hooks if one["what"] == "answered"}
    rows = _grouped(ledgers.rows, lambda one: one.get("headers", {}).get(DELIVERY.lower()))
    applied = {name for name, found in rows.items() if any(one["status"] == "processed" for one in found)}
    book.lose(tried - told, "webhooks of the CRM never got a 2xx")
    book.lose(told - applied, "webhooks of the CRM got a 2xx and have no processed row")
    book.double(_beyond_one(rows), "webhooks of the CRM have more than one row")
    book.double(rows.keys() - tried, "rows belong to webhooks that the CRM never sent")
    return told, told & applied


def _grouped(items: Iterable[JsonObject], key: Callable[[JsonObject], Json]) -> dict[str, list[JsonObject]]:
    found: dict[str, list[JsonObject]] = {}
    for one in items:
        found.setdefault(str(key(one)), []).append(one)
    return found


def _beyond_one(groups: Mapping[str, Sequence[object]]) -> list[str]:
    """Each name as often as there is one too many of it."""
    return [name for name, found in groups.items() for _ in found[1:]]


def _written(requests: Iterable[JsonObject], *methods: str) -> Iterator[JsonObject]:
    return (one for one in requests if one["method"] in methods and one["status"] in _OK)


def _ours(member: JsonObject) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, place in NAMES.items():
        value: Json = member
        for part in place.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[name] = value
    return found
