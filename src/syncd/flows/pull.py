"""Pulling one type of one connection, a slice at a time.

    claim the cursor (CAS) -> fetch a page -> dedupe -> merge and store -> cursor moves (CAS, with counts) -> next page ... -> watermark

While a page is stored the next ones are fetched, merged and stored as well: what two pages at once change in one entity is settled by
its compare-and-set. The cursor moves over whatever is stored up to there; a run that is stopped waits for what is being stored, and
counts it. Killed anywhere, the run goes on from the last page whose cursor was written: storing a page twice changes nothing and counts
once. The cursor document holds lease and state, so that two pulls of one type take turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from syncd.domain.dedupe import Identity, dedupe
from syncd.domain.errors import Conflict, Held, LeaseLost, NotFound, Overloaded, Rejected, TooLarge
from syncd.domain.jsonbody import canonical
from syncd.domain.pullcursor import advanced, doubted, finished, given_up, in_circle, restarted
from syncd.domain.times import parse
from syncd.flows.accounts import account_of, incoming_of, rules_of
from syncd.flows.creating import WAIT
from syncd.flows.keys import Keying
from syncd.flows.pullcursors import PullCursors, Source
from syncd.flows.pullpages import Ahead, Counted, Page, Run
from syncd.ports.provider import Fetch

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from syncd.domain.dedupe import Deduped
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.receiving import Incoming
    from syncd.flows.deleteguard import DeleteGuard
    from syncd.flows.intake import Intake
    from syncd.flows.keys import Keys
    from syncd.flows.steps import Stored
    from syncd.ports.api import Api, Apis
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document
    from syncd.ports.observe import Observe
    from syncd.ports.provider import Record, RecordPage

#: How often a page is stored again that speaks of objects which we are creating there at this moment; then the slice ends.
_PATIENCE = 40
_ATTEMPTS = 12
#: Pages that are fetched and stored at once. Each is bounded by what one answer may hold. Where every commit waits for a disk, so many
#: share one that the pull is as quick as its pages are made into entities; more wait for nothing.
_PAGES = 8
#: Characters of an unreadable item that are kept with its reason.
_RAW = 2000
#: How an effect is counted.
_COUNTED = {
    "created": "created",
    "updated": "updated",
    "deleted": "deleted",
    "unchanged": "unchanged",
    "outdated": "unchanged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """How far the run is. `counts` are those of all its slices."""

    done: bool
    counts: JsonObject
    failures: list[JsonObject]
    error: str | None = None
    """Why the run came to an end before its last page; the watermark did not move."""


class Pull:
    def __init__(
        self,
        *,
        cursors: PullCursors,
        intake: Intake,
        guard: DeleteGuard,
        apis: Apis,
        clock: Clock,
        observe: Observe,
        page_size: int = 100,
    ) -> None:
        self._cursors = cursors
        self._intake = intake
        self._guard = guard
        self._apis = apis
        self._clock = clock
        self._observe = observe
        self._page_size = page_size

    async def slice(
        self,
        source: Source,
        *,
        reservation: str | None,
        told: Callable[[JsonObject], Awaitable[bool]],
    ) -> Slice:
        """Work until the run is over or `told`, which hears of the counts after every page, says to stop. Raises what providers and
        stores raise; the run then goes on from where it is. LeaseLost: somebody else goes on with it. Overloaded: another run has
        the type now."""
        cursor = await self._cursors.claim(source, limit=self._page_size)
        run = cursor.data["run"]
        if "finished" in run:
            return _slice(cursor.data, done=True)
        settings = source.connection.data.get("settings", {})
        api = self._apis.of(account_of(source.connection), source.records.base_url(settings), reservation=reservation)
        try:
            return await self._pages(source, api, cursor, told)
        except Held as error:
            found = await self._cursors.end(source, error=str(error))
            self._observe("pull_held", connectionId=source.connection.id, entity_type=source.kind.name)
            return _slice(found.data, done=True)
        except (LeaseLost, Conflict):
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._cursors.give_up(source)
            raise

    async def _pages(
        self, source: Source, api: Api, cursor: Document, told: Callable[[JsonObject], Awaitable[bool]]
    ) -> Slice:
        run = Run(
            source,
            api,
            cursor.data["run"]["id"],
            rules_of(source.connection, source.kind.name),
            Identity.of_connection(source.connection.data["entities"].get(source.kind.name, {})),
        )
        failed: BaseException | None = None
        found: Slice | None = None
        async with anyio.create_task_group() as group:
            try:
                found = await self._in_turn(run, cursor, told, group)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - raised below as it is; out of the group it would come in a group of errors
                failed = error
            group.cancel_scope.cancel()
        if failed is not None:
            raise failed
        assert found is not None
        return found

    async def _in_turn(
        self, run: Run, cursor: Document, told: Callable[[JsonObject], Awaitable[bool]], group: TaskGroup
    ) -> Slice:
        """Page after page; in `group` those after it are on their way."""
        source, data = run.source, cursor.data
        coming, ahead = self._begun(run, data, group)
        stop = False
        while True:
            await coming.stored.wait()
            ahead.room.release()
            if coming.error is not None:
                if data is not cursor.data:
                    cursor = await self._cursors.write(source, cursor, data)
                if not _cursor_is_lost(coming, cursor.data):
                    raise coming.error
                cursor = await self._cursors.write(source, cursor, restarted(cursor.data))
                data = cursor.data
                coming, ahead = self._begun(run, data, group)
                continue
            data = self._moved(data, coming)
            error = "the provider's pages lead back to where they began" if in_circle(data) else None
            if coming.following is None or error is not None:
                data = finished(data, now=self._clock.now(), error=error)
                cursor = await self._cursors.write(source, cursor, data)
                return _slice(cursor.data, done=True)
            coming = coming.following
            if coming.stored.is_set():
                continue  # one write for both
            stop = stop or await told(data["run"]["counts"])
            if stop:
                ahead.fetching.cancel()
                if coming.page is not None:
                    continue  # what is stored counts
            cursor = await self._cursors.write(source, cursor, given_up(data) if stop else data)
            data = cursor.data
            if stop:
                return _slice(data, done=False)

    def _begun(self, run: Run, data: JsonObject, group: TaskGroup) -> tuple[Page, Ahead]:
        """The first page to come, and those that may be on their way with it."""
        first, ahead = self._asked(run.source, data), Ahead(anyio.Semaphore(_PAGES), anyio.CancelScope())
        group.start_soon(self._fetch, run, first, ahead, group)
        return first, ahead

    async def _fetch(self, run: Run, coming: Page, ahead: Ahead, group: TaskGroup) -> None:
        """Page after page, each left to be stored. What that raises is kept with its page: what came before it counts first."""
        before: Page | None = None
        with ahead.fetching:
            while True:
                await ahead.room.acquire()
                coming.asked_at = self._clock.now()
                try:
                    page = await run.source.records.fetch(run.api, coming.fetch)
                except Exception as error:  # noqa: BLE001 - raised by whoever takes the page
                    coming.error = error
                    coming.stored.set()
                    return
                if ahead.fetching.cancel_called:
                    return  # whoever stopped us has counted what was there
                coming.page = page
                if page.next is not None:
                    coming.following = self._next(coming, page.next)
                group.start_soon(self._stored, run, coming, before)
                if coming.following is None:
                    return
                before, coming = coming, coming.following

    async def _stored(self, run: Run, coming: Page, before: Page | None) -> None:
        """Store a page that is here."""
        assert coming.page is not None
        try:
            # What is deleted is counted against what is there, and keys against those of the page before: these pages wait their turn.
            if before is not None and (
                run.identity.strategy != "external_id" or any(one.deleted for one in coming.page.records)
            ):
                await before.stored.wait()
            if before is None or before.error is None:
                coming.counted = await self._store(run, coming)
        except Exception as error:  # noqa: BLE001 - raised by whoever takes the page
            coming.error = error
        coming.stored.set()

    def _moved(self, data: JsonObject, coming: Page) -> JsonObject:
        """The cursor behind a page that is stored."""
        assert coming.page is not None
        assert coming.counted is not None
        page, (counts, failures) = coming.page, coming.counted
        return advanced(
            data,
            counts=counts,
            failures=failures,
            following=page.next,
            served_at=page.served_at,
            validator=coming.fetch.validator if page.unchanged else page.validator,
            now=self._clock.now(),
            asked_at=coming.asked_at,
            newest=_newest(page, coming.asked_at) if doubted(page.served_at, coming.asked_at) else None,
            shows="\n".join(f"{one.external_id} {one.updated_at}" for one in page.records) or None,
        )

    def _asked(self, source: Source, data: JsonObject) -> Page:
        run = data["run"]
        fetch = Fetch(
            kind=source.kind.name,
            since=None if run["since"] is None else parse(run["since"]),
            cursor=run["cursor"],
            limit=run.get("limit", self._page_size),
            validator=run.get("ask") if run["cursor"] is None else None,
        )
        return Page(fetch, self._clock.now(), run["page"])

    def _next(self, before: Page, cursor: str) -> Page:
        fetch = Fetch(kind=before.fetch.kind, since=before.fetch.since, cursor=cursor, limit=before.fetch.limit)
        return Page(fetch, self._clock.now(), before.number + 1)

    async def _store(self, run: Run, coming: Page) -> Counted:
        """One page into the entities: its counts, and what was kept aside."""
        source, identity, page = run.source, run.identity, coming.page
        assert page is not None
        keying, keys = Keying.of(identity, run.id), None
        if keying is None:
            deduped = dedupe(page.records, identity)
        else:
            deduped, keys = await self._intake.keyed(
                source.tenant_id, source.kind.name, source.connection.id, keying, page.records
            )
        name = f"{run.id[-40:]}:{coming.number}"
        incoming = [incoming_of(one, source.connection.id, coming.asked_at, name) for one in deduped.kept]
        stored = await self._patiently(run, incoming, coming.asked_at, keys) if incoming else []
        if keys is not None:
            await self._addressed(source, deduped, stored, keys)
        failures: list[JsonObject] = [
            {"page": coming.number, "position": one.position, "reason": one.reason, "raw": _excerpt(one.raw)}
            for one in page.unreadable
        ]
        counts: JsonObject = {
            "fetched": len(page.records) + len(page.unreadable),
            "duplicates": len(deduped.duplicates),
            "failed": len(page.unreadable),
            "conflicts": 0,
        }
        for record, one in zip(deduped.kept, stored, strict=True):
            if isinstance(one, TooLarge):
                counts["failed"] += 1
                failures.append({"page": coming.number, "externalId": record.external_id, "reason": str(one)})
                continue
            counted = _COUNTED[one.effect]
            counts[counted] = counts.get(counted, 0) + 1
            counts["conflicts"] += bool(one.conflicts)
        return counts, failures

    async def _patiently(
        self, run: Run, incoming: list[Incoming], asked_at: float, keys: Keys | None
    ) -> list[Stored | TooLarge]:
        source = run.source

        async def admit(gone: Sequence[str]) -> None:
            await self._guard.admit(source.tenant_id, source.connection.id, source.kind.name, gone, run=run.id)

        for patience in range(_PATIENCE + 1):
            try:
                return await self._intake.receive_page(
                    source.tenant_id,
                    source.kind.name,
                    incoming,
                    said_at=asked_at,
                    rules=run.rules,
                    admit_deletes=admit,
                    keys=keys,
                )
            except Overloaded as error:
                if patience == _PATIENCE:
                    raise
                await self._clock.sleep(min(error.retry_after or WAIT, WAIT))
        raise AssertionError("the last try is answered or raised")

    async def _addressed(
        self, source: Source, deduped: Deduped[Record], stored: list[Stored | TooLarge], keys: Keys
    ) -> None:
        """Let the ids of records that others stand for lead to their entity."""
        if keys.keying.identity.strategy != "composite_key":
            return
        entities = {one: holder.id for one, holder in keys.holders.items()}
        entities |= {
            record.external_id: one.entity_id
            for record, one in zip(deduped.kept, stored, strict=True)
            if not isinstance(one, TooLarge)
        }
        places: list[tuple[str, str]] = []
        # Backwards: for the one that stands for an earlier one another may stand.
        for one in reversed(deduped.duplicates):
            if one.external_id not in entities and one.of in entities:
                entities[one.external_id] = entities[one.of]
                places.append((one.external_id, entities[one.of]))
        if places:
            await self._intake.address(source.tenant_id, source.kind.name, source.connection.id, places)


def _cursor_is_lost(coming: Page, data: JsonObject) -> bool:
    """Page cursors expire: then the run begins again from its watermark, once."""
    refused = coming.page is None and isinstance(coming.error, Rejected | NotFound)
    return refused and coming.fetch.cursor is not None and not data["run"].get("restarted")


def _newest(page: RecordPage, asked_at: float) -> float | None:
    """The latest time of change in a page; not those that are in the future by every clock there is."""
    latest = asked_at if page.served_at is None else page.served_at
    return max((at for one in page.records if (at := one.updated_at) is not None and at <= latest), default=None)


def _slice(data: JsonObject, *, done: bool) -> Slice:
    run = data["run"]
    return Slice(done=done, counts=run["counts"], failures=run["failures"], error=run.get("error"))


def _excerpt(raw: Json) -> str:
    text = canonical(raw)
    return text if len(text) <= _RAW else f"{text[:_RAW]}..."
