"""What of a pull is under way: the run, and its pages that are being fetched or stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from syncd.domain.dedupe import Identity
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.merge import Rules
    from syncd.flows.pullcursors import Source
    from syncd.ports.api import Api
    from syncd.ports.provider import Fetch, RecordPage

Counted = tuple["JsonObject", "list[JsonObject]"]
"""The counts of a page, and what of it was kept aside."""


@dataclass(slots=True)
class Page:
    """A page that is on its way."""

    fetch: Fetch
    asked_at: float
    number: int
    page: RecordPage | None = None
    counted: Counted | None = None
    error: Exception | None = None
    following: Page | None = None
    """Known once the page is here."""
    stored: anyio.Event = field(default_factory=anyio.Event)
    """Or given up, with `error`."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Pages that are on their way at once."""

    room: anyio.Semaphore
    fetching: anyio.CancelScope


@dataclass(frozen=True, slots=True)
class Run:
    """What every page of a slice has in common."""

    source: Source
    api: Api
    id: str
    rules: Rules
    identity: Identity
