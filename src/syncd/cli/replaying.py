"""Bulk replay: counted first, then done in steps of about a second, so that a bar moves and an interrupt loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from syncd.cli.client import path
from syncd.cli.output import progress
from syncd.domain.times import iso

if TYPE_CHECKING:
    from syncd.cli.client import Api

Counts = dict[str, int]
Refused = Callable[[str, str], None]
"""Called with the id and the reason of each message that could not be sent again."""
#: Ids in one request: well inside the API's largest body.
_MOST = 500


def replay_by_id(
    api: Api, queue: str, identifiers: Sequence[str], *, rate: float, dry_run: bool, refused: Refused
) -> Counts:
    """Counts of `matched`, `replayed` and `failed` (unknown, dropped, or not taken at the moment). Raises ApiError."""
    counts = {"matched": 0, "replayed": 0, "failed": 0}
    with progress(f"replaying {queue}", len(identifiers)) as done:
        _replay(api, queue, identifiers, counts, done, refused, rate=rate, dry_run=dry_run)
    return counts


def replay_by_filter(
    api: Api, queue: str, where: Mapping[str, str], *, rate: float, dry_run: bool, refused: Refused
) -> Counts:
    """As `replay_by_id`, for what matches and was parked by now."""
    first = api.ask("POST", path("queues", queue, "replay"), {**where, "dryRun": True})
    total: int = first.body["matched"]
    counts = {"matched": total, "replayed": 0, "failed": 0}
    if dry_run or not total:
        return counts
    counts["matched"] = 0
    bounded = dict(where)
    if first.at is not None:
        # What fails again is parked again; by the daemon's own clock it is later than this, and is not found a second time.
        # The header has whole seconds, rounded down.
        bounded["before"] = min(where.get("before", iso(first.at + 1)), iso(first.at + 1))
    with progress(f"replaying {queue}", total) as done:
        for page in api.pages(path("queues", queue, "parked"), bounded):
            _replay(api, queue, [one["id"] for one in page], counts, done, refused, rate=rate, dry_run=False)
    return counts


def _replay(
    api: Api,
    queue: str,
    identifiers: Sequence[str],
    counts: Counts,
    done: Callable[[int], None],
    refused: Refused,
    *,
    rate: float,
    dry_run: bool,
) -> None:
    left = list(identifiers)
    step = max(1, min(_MOST, int(rate)))
    while left:
        asked = left[:step]
        answer = api.post(path("queues", queue, "replay"), {"ids": asked, "rate": rate, "dryRun": dry_run})
        for name in counts:
            counts[name] += answer[name]
        for result in answer["results"]:
            if result["status"] == "failed":
                refused(result["id"], result["reason"])
        # With `more` the time of one request was over before all of them had their turn; those that had are the first ones.
        handled = max(1, len(answer["results"])) if answer["more"] else len(asked)
        left = left[handled:]
        done(handled)
