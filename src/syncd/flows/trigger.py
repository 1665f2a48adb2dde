"""The job `finops-daily-sync`: ask a remote endpoint to import costs, once, and find out how that ended.

    status route read (baseline) -> sentAt written (CAS) -> POST -> verdict of the answer
                                                        \\-> unknown -> status route each 30 s, up to 2 h -> succeeded | failed | unknown

A runner that finds `sentAt` in its tick never calls: somebody before it did, or may have. It only asks the status route.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.domain.costtrigger import Reading, Verdict, evidence, judge, read_status, settle, status_url
from syncd.domain.errors import Failure, Invalid, ServerFault, TimedOut, Unavailable
from syncd.domain.retry import RetryPolicy
from syncd.domain.times import iso
from syncd.flows.jobs import Job, TickResult
from syncd.ports.caller import Call

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.schedules import Schedule
    from syncd.domain.secrets import Secret
    from syncd.domain.ticks import Missed, Overlap
    from syncd.flows.jobs import Tick, TickStatus
    from syncd.ports.caller import Answer, Caller
    from syncd.ports.clock import Clock
    from syncd.ports.observe import Observe

JOB_NAME = "finops-daily-sync"
DISABLED = "FINOPS_SYNC_ENABLED is not true (finops.enabled): the cost trigger is off"
#: An answer holds the output of the whole import; beyond this it is cut, and the status route decides.
_MOST_ANSWER = 8 * 1024 * 1024
#: Bound of one question to the status route. Seconds.
_STATUS_TIMEOUT = 20.0
_DEFAULT_AGAIN = 30.0
_RETRIES = RetryPolicy(delays=(1.0, 5.0, 25.0), max_retries=3, jitter=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerTarget:
    """Where and how to ask. Seconds throughout."""

    url: str
    token: Secret
    user_agent: str
    status_url: str | None = None
    """None: the webhook's address with `status/` behind it."""
    timeout: float = 600.0
    """Bound of the POST with all its repetitions."""
    settle_interval: float = 30.0
    settle_timeout: float = 7200.0


def trigger_target(
    *,
    url: str | None,
    token: Secret | None,
    user_agent: str,
    status_url: str | None = None,
    timeout: float = 600.0,
    settle_interval: float = 30.0,
    settle_timeout: float = 7200.0,
) -> TriggerTarget:
    """For an enabled trigger. Raises Invalid naming every variable that is missing."""
    missing = {
        name: "needed while FINOPS_SYNC_ENABLED is true"
        for name, value in (("DJANGO_WEBHOOK_URL", url), ("SECRET_SYNC_TOKEN", token))
        if not value
    }
    if missing or url is None or token is None:
        raise Invalid(f"the cost trigger is enabled, and {' and '.join(missing)} is not set", errors=missing)
    return TriggerTarget(
        url=url,
        token=token,
        user_agent=user_agent,
        status_url=status_url,
        timeout=timeout,
        settle_interval=settle_interval,
        settle_timeout=settle_timeout,
    )


@dataclass(slots=True)
class _Post:
    """How the POST ended."""

    verdict: Verdict
    facts: JsonObject = field(default_factory=dict)


class CostTrigger:
    def __init__(self, *, caller: Caller, clock: Clock, observe: Observe, target: TriggerTarget) -> None:
        self._caller = caller
        self._clock = clock
        self._observe = observe
        self._target = target
        self._status_url = target.status_url or status_url(target.url)

    @property
    def longest(self) -> float:
        """Seconds that a run may take until it has an answer or gives up asking."""
        return 2 * _STATUS_TIMEOUT + self._target.timeout + self._target.settle_timeout + self._target.settle_interval

    async def run(self, tick: Tick) -> TickResult:
        if tick.sent_at is not None:
            verdict = Verdict(
                meaning="unknown",
                reason=f"an earlier runner called at {iso(tick.sent_at)} and died before it knew the outcome",
            )
            facts: JsonObject = {"call": {"sentAt": iso(tick.sent_at), "repeated": False}}
            return await self._settled(tick, verdict, facts)
        post = await self._post(tick)
        facts = {"call": post.facts}
        if post.verdict.meaning == "unknown":
            return await self._settled(tick, post.verdict, facts)
        return _result(post.verdict, facts)

    async def _post(self, tick: Tick) -> _Post:
        """Call, and again only where the request certainly was not processed, all within the bound."""
        before = (await self._ask()).facts()
        deadline = self._clock.monotonic() + self._target.timeout
        attempt = 0
        while True:
            await tick.sending(before=before)
            post = await self._once(deadline - self._clock.monotonic())
            post.facts |= {"attempts": attempt + 1, "target": _shown(self._target.url)}
            if post.verdict.meaning != "again":
                return post
            await tick.not_sent()
            wait = post.verdict.retry_after
            if wait is None:
                wait = _RETRIES.delay(attempt, 0.5) if "error" in post.facts else _DEFAULT_AGAIN
            left = deadline - self._clock.monotonic() - wait
            if left <= 0 or ("error" in post.facts and attempt >= _RETRIES.max_retries):
                why = f"{post.verdict.reason}; given up after {attempt + 1} attempts"
                if left <= 0:
                    why += f": the next would be {wait:g} s later, beyond the bound of {self._target.timeout:g} s"
                return _Post(Verdict(meaning="failed", reason=why), post.facts)
            self._observe("cost_trigger_again", reason=post.verdict.reason, wait=wait)
            await self._clock.sleep(wait)
            attempt += 1

    async def _once(self, timeout: float) -> _Post:
        sent = iso(self._clock.now())
        try:
            answer = await self._caller.call(
                Call(
                    method="POST",
                    url=self._target.url,
                    headers={"User-Agent": self._target.user_agent, "Accept": "application/json"},
                    secret_headers={"X-Sync-Token": self._target.token},
                    timeout=max(timeout, 1.0),
                    max_response_bytes=_MOST_ANSWER,
                )
            )
        except Invalid as error:
            verdict = Verdict(meaning="failed", reason=f"DJANGO_WEBHOOK_URL: {error}", tenant_must_act=True)
            return _Post(verdict, {"sentAt": sent, "error": str(error)})
        except Unavailable as error:
            verdict = Verdict(meaning="again", reason=f"not processed: {error}", retry_after=error.retry_after)
            return _Post(verdict, {"sentAt": sent, "error": str(error)})
        except (TimedOut, ServerFault) as error:
            return _Post(Verdict(meaning="unknown", reason=str(error)), {"sentAt": sent, "error": str(error)})
        verdict = judge(
            answer.status,
            answer.headers,
            answer.body,
            url=self._target.url,
            now=self._clock.now(),
            truncated=answer.truncated,
        )
        # The server's own words are part of the reason, and it may have repeated the token in them.
        verdict = replace(verdict, reason=verdict.reason.replace(self._target.token.reveal(), "***"))
        return _Post(verdict, {"sentAt": sent, **self._evidence(answer)})

    def _evidence(self, answer: Answer) -> JsonObject:
        return {
            "status": answer.status,
            "durationMs": round(answer.duration * 1000),
            "contentType": answer.headers.get("content-type", "")[:100],
            "answer": evidence(answer.body, self._target.token.reveal()),
        }

    async def _settled(self, tick: Tick, unknown: Verdict, facts: JsonObject) -> TickResult:
        """Ask the status route until it decides, or until the time for that is over."""
        assert tick.sent_at is not None
        before = tick.sent.get("before") or {}
        polls = 0
        reading = Reading(alive=False)
        self._observe("cost_trigger_unknown", reason=unknown.reason)
        ends = tick.sent_at + self._target.timeout + self._target.settle_timeout
        ends = min(ends, self._clock.now() + self._target.settle_timeout)
        while True:
            reading = await self._ask()
            polls += 1
            verdict = settle(
                reading,
                sent_at=tick.sent_at,
                failed_before=before.get("failed"),
                completed_before=before.get("completedAt"),
            )
            evident = {
                **facts,
                "before": before,
                "settled": {"polls": polls, "at": iso(self._clock.now()), **reading.facts()},
            }
            if verdict is not None:
                return _result(Verdict(meaning=verdict.meaning, reason=f"{unknown.reason}; {verdict.reason}"), evident)
            if self._clock.now() + self._target.settle_interval > ends:
                said = "lives, and does not say" if reading.alive else "does not answer"
                why = f"{unknown.reason}; the status route {said} how it ended. It is not repeated by itself"
                return _result(Verdict(meaning="unknown", reason=why), evident)
            await self._clock.sleep(self._target.settle_interval)

    async def _ask(self) -> Reading:
        """The status route takes no token, and gets none."""
        try:
            answer = await self._caller.call(
                Call(
                    method="GET",
                    url=self._status_url,
                    headers={"User-Agent": self._target.user_agent, "Accept": "application/json"},
                    timeout=min(_STATUS_TIMEOUT, self._target.timeout),
                )
            )
        except (Failure, Invalid):
            return Reading(alive=False)
        return read_status(answer.status, answer.body)


def _result(verdict: Verdict, facts: JsonObject) -> TickResult:
    status: TickStatus = "failed" if verdict.meaning == "again" else verdict.meaning
    return TickResult(
        status=status,
        reason=verdict.reason,
        evidence={**facts, "mustAct": "tenant"} if verdict.tenant_must_act else facts,
    )


def _shown(url: str) -> str:
    """Without a query: it may hold what is nobody's business."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def cost_trigger_job(
    *,
    schedule: Schedule,
    trigger: CostTrigger | None,
    timezone: str = "UTC",
    enabled: bool = True,
    timeout: float = 8100.0,
    missed: Missed = "once",
    missed_window: float = 43200.0,
    overlap: Overlap = "skip",
    jitter: float = 0.0,
) -> Job:
    """The job around a trigger; `trigger=None` where FINOPS_SYNC_ENABLED is off: nothing runs, and a run asked for is refused.

    `timeout` is raised to what settling may take: a run cut short would be called failed while its import goes on.
    """

    async def off(_tick: Tick) -> TickResult:
        return TickResult(status="failed", reason=DISABLED)

    return Job(
        name=JOB_NAME,
        schedule=schedule,
        timezone=timezone,
        enabled=enabled and trigger is not None,
        refusal=None if trigger is not None else DISABLED,
        missed=missed,
        missed_window=missed_window,
        timeout=timeout if trigger is None else max(timeout, trigger.longest),
        jitter=jitter,
        overlap=overlap,
        guards_outgoing_call=True,
        run=trigger.run if trigger is not None else off,
    )
