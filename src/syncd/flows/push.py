"""Pushing by reference: read the entity, take the push lease in it, call the provider, write down what it has now (G4).

    hint -> owed? -> lease (CAS) -> create | update | delete -> recorded (CAS)
                                        refused by a newer version -> read, merge, once more
                                        failed -> lease given back, and the debt stands until the next hop
                                        a person must act -> held (CAS), then parked

The message only says where to look. What is sent, and whether anything is, is decided on the body of the compare-and-set that took
the lease. An effect carries the key of its link, so that sending it again is the same effect wherever the provider can tell.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, assert_never

from syncd.domain.errors import Conflict, Invalid, NotUnderstood, SyncdError
from syncd.domain.outcomes import DONE, Outcome, Park, Retry, Snooze
from syncd.domain.pushing import LEASE, begin, due_at, lease_until, look_again, sending
from syncd.domain.records import is_alias, owes
from syncd.domain.retry import SYNC_RETRIES, RetryPolicy, outcome_of
from syncd.domain.times import parse
from syncd.flows.accounts import account_of, incoming_of, rules_of
from syncd.flows.creating import settling
from syncd.flows.pushledger import PushLedger
from syncd.flows.pushtargets import Leased, Target, Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.messages import Envelope
    from syncd.flows.intake import Intake
    from syncd.flows.subscriptions import Subscriptions
    from syncd.ports.api import Api, Apis
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document
    from syncd.ports.observe import Observe
    from syncd.ports.provider import Providers, Record

#: How often one message reads again what a conditional write found changed, before it waits.
_REREADS = 3
_ATTEMPTS = 12


def _nothing() -> None:
    """Nobody waits for the answer."""


class Push:
    """`owner` is `<replica>/<boot>`. `lease`: seconds, twice as long as any call takes."""

    def __init__(
        self,
        *,
        ledger: PushLedger,
        intake: Intake,
        subscriptions: Subscriptions,
        providers: Providers,
        apis: Apis,
        clock: Clock,
        observe: Observe,
        owner: str,
        retries: RetryPolicy = SYNC_RETRIES,
        lease: float = LEASE,
    ) -> None:
        self._ledger = ledger
        self._intake = intake
        self._targets = Targets(subscriptions=subscriptions, providers=providers)
        self._apis = apis
        self._clock = clock
        self._observe = observe
        self._owner = owner
        self._retries = retries
        self._lease_seconds = lease

    async def handle(self, envelope: Envelope, body: bytes, answered: Callable[[], None] = _nothing) -> Outcome:
        """Work on one message of kind `push`. Raises what the store raises: the message is then tried again. `answered` is called when
        all that is left is to write down what the provider has taken."""
        entity_id, connection_id = _addressed(body)
        for reread in range(_REREADS):
            leased = await self._lease(entity_id, connection_id, envelope)
            if not isinstance(leased, Leased):
                return leased
            if leased.unseen and not reread:
                # Lists do not show the tag that this system compares: without a look, its first write would be a blind one.
                outcome = await self._reread(leased, envelope)
            else:
                outcome = await self._send(leased, envelope, answered)
            if outcome is not None:
                return outcome
        until = self._clock.now() + 1.0
        return Snooze(until=until, reason="the object changes faster than it can be written")

    async def parked(self, envelope: Envelope, body: bytes, bin_name: Bin, reason: str) -> None:
        """The executor parks the message: hold the debt first, so that nobody else pushes it. May be repeated."""
        if (debt := _debt(body)) is not None:
            await self._ledger.hold(*debt, bin_name, reason, envelope=envelope)

    async def released(self, body: bytes, before: float) -> None:
        """A person replays the parked message: what was held before then (Unix seconds) goes on. May be repeated."""
        if (debt := _debt(body)) is not None:
            await self._ledger.release(*debt, before)

    async def resumed(self, body: bytes, before: float) -> None:
        """The parked message comes back by itself, because the system answers again. May be repeated."""
        if (debt := _debt(body)) is not None:
            await self._ledger.release(*debt, before, looked=False)

    async def dropped(self, body: bytes) -> None:
        """A person gave the parked message up: its debt is forgiven. May be repeated."""
        if (debt := _debt(body)) is not None:
            await self._ledger.drop(*debt)

    async def _lease(self, entity_id: str, connection_id: str, envelope: Envelope) -> Leased | Outcome:
        fresh = False
        for _ in range(_ATTEMPTS):
            document = await self._ledger.get(entity_id)
            if document is None:
                return DONE
            entity = document.data
            now = self._clock.now()
            idle = _idle(entity, connection_id, now, envelope)
            if idle is not None:
                return idle
            link = entity["links"][connection_id]
            target = await self._targets.find(entity["tenantId"], connection_id, entity["type"], fresh=fresh)
            wanted = None if isinstance(target, str) else sending(entity, connection_id, target.kind.fields)
            if isinstance(target, str) or wanted is None or not target.can(wanted):
                if not fresh:  # a debt is forgiven on what stands now, never on what stood some seconds ago
                    fresh = True
                    continue
                if await self._forgiven(document, connection_id, target):
                    return DONE
                continue
            tried = wanted.operation == "create" and bool(link.get("create", {}).get("tried"))
            looked = bool(link.get("create", {}).get("again"))
            if tried and looked and entity["deleted"] and target.kind.creates == "blind":
                # Nobody but the person can know whether it is there. Making it to delete it would say nothing.
                if await self._ledger.settle(document, connection_id):
                    return DONE
                continue
            early = await self._unanswered(document, target, envelope) if tried and not looked else None
            if early is not None:
                return early
            try:
                taken = begin(entity, entity_id, connection_id, wanted, self._owner, now, lease=self._lease_seconds)
                document = await self._ledger.lease(document, connection_id, taken, wanted, target.kind)
            except Conflict:
                continue
            term = document.data["links"][connection_id]["term"]
            return Leased(target=target, document=document, wanted=wanted, term=term, tried=tried)
        return Retry(after=1.0, reason="the entity is being changed by too many at once", label="contended")

    async def _forgiven(self, document: Document, connection_id: str, target: Target | str) -> bool:
        """There is nothing to tell it, or nobody to tell. False where the entity changed meanwhile."""
        if isinstance(target, str):
            self._observe("push_skipped", connectionId=connection_id, reason=target)
            if target == "disabled":
                return True  # the debt stands, and maintenance looks at it again
        return await self._ledger.settle(document, connection_id)

    async def _unanswered(self, document: Document, target: Target, envelope: Envelope) -> Outcome | None:
        """What to do about a create whose end nobody knows, before it is sent again. None: go on."""
        link = document.data["links"][target.connection.id]
        if target.kind.creates == "blind":
            reason = "a create got no answer, and this provider cannot tell whether it was made: look there, then replay or drop"
            return await self._park(
                document.id, target.connection.id, Park(bin="outcome_unknown", reason=reason), envelope
            )
        if target.kind.creates == "lookup":
            believed = parse(link["create"]["at"]) + target.kind.lookup_delay
            if believed > self._clock.now():
                return Snooze(until=believed, reason="a create got no answer; it is looked for when it can be seen")
        return None

    async def _send(self, leased: Leased, envelope: Envelope, answered: Callable[[], None]) -> Outcome | None:
        """Call the provider and record. None: the object had changed there, is merged, and what is owed must be looked at again."""
        target, wanted = leased.target, leased.wanted
        started = self._clock.monotonic()
        try:
            api = self._api(target, envelope)
            record = await self._call(api, leased)
        except Conflict as error:
            if wanted.operation == "create" or not target.kind.conditional:
                return await self._failed(leased, error, envelope)
            return await self._reread(leased, envelope)
        except SyncdError as error:
            return await self._failed(leased, error, envelope)
        if record is None and wanted.operation != "delete":
            return await self._gone(leased, envelope)
        answered()
        rules = rules_of(target.connection, leased.document.data["type"])
        await self._ledger.record(leased.document, leased.connection_id, wanted, record, leased.term, rules=rules)
        self._observe(
            "push_done",
            operation=wanted.operation,
            duration=self._clock.monotonic() - started,
            connectionId=leased.connection_id,
            entityId=leased.document.id,
            version=wanted.version,
        )
        return DONE

    def _api(self, target: Target, envelope: Envelope) -> Api:
        """Raises Invalid for settings that name no address."""
        base_url = target.records.base_url(target.connection.data.get("settings", {}))
        return self._apis.of(account_of(target.connection), base_url, reservation=envelope.reservation)

    async def _call(self, api: Api, leased: Leased) -> Record | None:
        """What the provider has now; None after a deletion, and where an object to update is not there."""
        records, kind, wanted = leased.target.records, leased.target.kind, leased.wanted
        if wanted.operation == "create":
            key = leased.document.data["links"][leased.connection_id]["create"]["key"]
            if leased.tried and kind.creates == "lookup":
                found = await records.find(api, kind.name, wanted.whole, key=key)
                if found is not None:
                    return found
            return await records.create(api, kind.name, wanted.whole, key=key)
        assert wanted.external_id is not None
        version = wanted.tag if kind.conditional else None
        if wanted.operation == "update":
            return await records.update(
                api, kind.name, wanted.external_id, wanted.changes, whole=wanted.whole, version=version
            )
        if wanted.operation == "delete":
            await records.delete(api, kind.name, wanted.external_id, version=version)
            return None
        assert_never(wanted.operation)

    async def _reread(self, leased: Leased, envelope: Envelope) -> Outcome | None:
        """Somebody changed the object there: merge it, then push what is still owed."""
        kind, wanted = leased.target.kind, leased.wanted
        assert leased.there is not None
        try:
            record = await leased.target.records.read(self._api(leased.target, envelope), kind.name, leased.there)
        except SyncdError as error:
            return await self._failed(leased, error, envelope, sent=False)
        if record is None and wanted.operation == "update":
            return await self._gone(leased, envelope)
        now = self._clock.now()
        if record is not None and not leased.as_known(record):
            entity = leased.document.data
            try:
                await self._intake.receive(
                    entity["tenantId"],
                    entity["type"],
                    incoming_of(record, leased.connection_id, now),
                    said_at=now,
                    rules=rules_of(leased.target.connection, entity["type"]),
                    pushing=True,
                )
            except SyncdError as error:
                return await self._failed(leased, error, envelope, sent=False)
        # Given back last: a tag that is known before what it stands for is merged would let the next write over it.
        await self._ledger.give_back(
            leased.document.id,
            leased.connection_id,
            leased.term,
            due=now,
            hop=envelope.hop,
            tried=False,
            error=None,
            tag=None if record is None else record.version,
            seen=record is not None,
        )
        return None

    async def _gone(self, leased: Leased, envelope: Envelope) -> Outcome:
        """There is nothing to update. It may have been deleted, or be hidden from our account for a while: to make it anew without asking
        would double it, and to delete it here would lose it."""
        self._observe(
            "push_failed",
            operation=leased.wanted.operation,
            error="gone",
            outcome="park",
            connectionId=leased.connection_id,
            entityId=leased.document.id,
        )
        park = Park(bin="tenant_must_act", reason=leased.missing)
        gone = leased.target.kind.can("create")
        return await self._park(
            leased.document.id, leased.connection_id, park, envelope, term=leased.term, tried=False, gone=gone
        )

    async def _failed(self, leased: Leased, error: SyncdError, envelope: Envelope, *, sent: bool = True) -> Outcome:
        """`sent`: the call that failed was the one that writes."""
        now = self._clock.now()
        creating = sent and leased.wanted.operation == "create"
        tried = creating and (error.maybe_processed or (leased.tried and leased.target.kind.creates != "blind"))
        outcome = outcome_of(
            error,
            attempt=envelope.attempt,
            now=now,
            draw=random.random(),  # noqa: S311 - jitter, not a secret
            policy=self._retries,
        )
        if creating and error.maybe_processed and leased.target.kind.creates == "blind":
            outcome = Park(bin="outcome_unknown", reason=f"nobody knows whether it was created: {error}")
        self._observe(
            "push_failed",
            operation=leased.wanted.operation,
            error=error.label,
            outcome=type(outcome).__name__.lower(),
            connectionId=leased.connection_id,
            entityId=leased.document.id,
        )
        if isinstance(outcome, Park):
            return await self._park(
                leased.document.id, leased.connection_id, outcome, envelope, term=leased.term, tried=tried
            )
        due = (
            outcome.until if isinstance(outcome, Snooze) else now + outcome.after if isinstance(outcome, Retry) else now
        )
        await self._ledger.give_back(
            leased.document.id,
            leased.connection_id,
            leased.term,
            due=due,
            hop=envelope.hop + 1,
            tried=tried,
            error=str(error),
            settles=due + wait if tried and (wait := settling(leased.target.kind)) else None,
        )
        return outcome

    async def _park(
        self,
        entity_id: str,
        connection_id: str,
        park: Park,
        envelope: Envelope,
        *,
        term: int | None = None,
        tried: bool = True,
        gone: bool = False,
    ) -> Outcome:
        """Held first: what is parked is touched by nobody until a person has acted. One debt is parked by one message, however many
        meet over it."""
        by_this = await self._ledger.hold(
            entity_id, connection_id, park.bin, park.reason, envelope=envelope, term=term, tried=tried, gone=gone
        )
        return park if by_this else DONE


def _idle(entity: JsonObject, connection_id: str, now: float, envelope: Envelope) -> Outcome | None:
    """Why nothing is to be done, or not yet. None: something is."""
    link = entity["links"].get(connection_id, {})
    if not owes(link):
        return DONE
    if (held := link.get("held")) is not None:
        # Until a person has released or dropped it, which the entity says, not a message. That person finds it by one of them: killed
        # between the two, it comes again.
        by_this = held.get("message") == envelope.broker_id
        return Park(bin=held["bin"], reason=held["reason"]) if by_this else DONE
    until = lease_until(entity, connection_id)
    if until is not None and until > now:
        until = look_again(entity, connection_id, now)
        return Snooze(until=until, reason="another push of this entity to this connection is under way")
    due = due_at(entity, connection_id)
    if due is not None and due > now:
        return Snooze(until=due, reason="this connection asked for patience, or failed a moment ago")
    return None


def _debt(body: bytes) -> tuple[str, str] | None:
    """Entity and connection; None of a message that names none."""
    try:
        return _addressed(body)
    except Invalid:
        return None


def _addressed(body: bytes) -> tuple[str, str]:
    """Entity and connection of a hint. Raises NotUnderstood."""
    try:
        fields: Json = json.loads(body)  # of our own writing, unlike what providers and producers send
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"the message is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise NotUnderstood("the message is no JSON object")
    entity_id, connection_id = fields.get("entityId"), fields.get("connectionId")
    if not (isinstance(entity_id, str) and isinstance(connection_id, str)) or is_alias(entity_id):
        raise NotUnderstood("the message does not name an entity and a connection")
    return entity_id, connection_id
