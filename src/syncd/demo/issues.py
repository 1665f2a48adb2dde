"""Made-up GitHub deliveries: the issues of a repository that does not exist, each with a life of a few events."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syncd.domain.jsontypes import JsonObject

REPOSITORY_ID = 424242
#: The life of an issue, in this order: (action, state afterwards).
LIFE = (("opened", "open"), ("labeled", "open"), ("assigned", "open"), ("edited", "open"), ("closed", "closed"))
#: One delivery in so many is sent twice on purpose, as providers do when they are not sure.
REPEATED = 20

_WHERE = (
    "the invoice",
    "the export",
    "the login page",
    "the nightly run",
    "the order form",
    "the search",
    "the report",
)
_WHAT = (
    "is empty on Mondays",
    "shows yesterday's figures",
    "takes a minute",
    "forgets the currency",
    "loses the last row",
)
_PEOPLE = ("ada", "bela", "chidi", "dana", "emre")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event as a provider sends it. `issue` is the external id under which its entity is known."""

    id: str
    issue: str
    action: str
    updated_at: str
    body: bytes
    repeated: bool


def deliveries(count: int, *, seed: int, since: datetime) -> list[Delivery]:
    """`count` different events, in the order in which they happened: all issues are opened, then all are labeled, and so on.

    Two events of one issue lie far apart, as in life: whatever reorders its neighbours does not reorder them.
    """
    chance = random.Random(seed)
    issues = max(1, -(-count // len(LIFE)))
    titles = [f"{chance.choice(_WHERE)} {chance.choice(_WHAT)}" for _ in range(issues)]
    made: list[Delivery] = []
    for index in range(count):
        step, number = index // issues, index % issues + 1
        action, state = LIFE[step]
        at = (since + timedelta(minutes=step, seconds=number // 60)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        title = titles[number - 1]
        issue: JsonObject = {
            "id": 900_000_000 + number,
            "number": number,
            "title": f"{title} (again)" if step >= 3 else title,
            "state": state,
            "labels": [{"name": "bug"}] if step >= 1 else [],
            "assignees": [{"login": chance.choice(_PEOPLE)}] if step >= 2 else [],
            "user": {"login": chance.choice(_PEOPLE)},
            "body": f"Seen by {chance.choice(_PEOPLE)}: {title}.",
            "updated_at": at,
        }
        payload: JsonObject = {
            "action": action,
            "issue": issue,
            "repository": {"id": REPOSITORY_ID, "full_name": "acme/shop"},
            "sender": {"login": chance.choice(_PEOPLE)},
        }
        made.append(
            Delivery(
                id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                issue=f"{REPOSITORY_ID}#{number}",
                action=action,
                updated_at=at,
                body=json.dumps(payload).encode(),
                repeated=index % REPEATED == REPEATED - 1,
            )
        )
    return made
