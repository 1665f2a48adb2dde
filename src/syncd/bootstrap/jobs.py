"""The jobs of a generation, and how the ticker wakes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from syncd import __version__
from syncd.bootstrap.flows import Flows
from syncd.bootstrap.ports import Ports
from syncd.bootstrap.purging import Park
from syncd.domain.schedules import parse_schedule
from syncd.flows.conflicts import ConflictLog
from syncd.flows.debts import Debts
from syncd.flows.idlekeys import IdleKeys
from syncd.flows.jobs import Job
from syncd.flows.maintain import Duty, Maintain, store_duties
from syncd.flows.maintain_deadletters import DrainDeadLetters
from syncd.flows.plan import Plan
from syncd.flows.planner import JOB_NAME as SCHEDULER
from syncd.flows.planner import Planner
from syncd.flows.ticks import Ticks
from syncd.flows.trigger import JOB_NAME, CostTrigger, cost_trigger_job, trigger_target
from syncd.runtime.ticker import Wakeup
from syncd.settings import Settings

MAINTENANCE = "maintenance"
#: What the ticker calls the planner's looks between two ticks of its job.
PLANNER = "planner"


def build_plan(settings: Settings, ports: Ports) -> Plan:
    return Plan(
        documents=ports.documents,
        queue=ports.queue,
        clock=ports.clock,
        observe=ports.observe,
        batch_size=settings.sync.batch_size,
    )


def build_planner(settings: Settings, ports: Ports, plan: Plan) -> Planner:
    """Every replica plans what was asked for through it; the tasks' own times are minded by those with the role."""
    return Planner(
        plan=plan,
        documents=ports.documents,
        clock=ports.clock,
        enabled=settings.jobs[SCHEDULER].enabled,
        by_time="scheduler" in settings.daemon.roles,
    )


def build_jobs(settings: Settings, ports: Ports, plan: Plan, flows: Flows, park: Park) -> tuple[Job, ...]:
    """Those that this replica's roles run. `park`: sets a message aside that no handler sees. Raises Invalid."""
    jobs = [_maintenance(settings, ports, plan, flows, park)]
    if "scheduler" in settings.daemon.roles:
        jobs.append(_scheduler(settings, plan))
    if "finops" in settings.daemon.roles:
        jobs.append(_cost_trigger(settings, ports))
    return tuple(jobs)


def wakeups(jobs: Iterable[Job], ticks: Ticks) -> list[Wakeup]:
    def running(job: Job) -> Callable[[], Awaitable[bool]]:
        return lambda: ticks.run_next(job)

    return [Wakeup(name=job.name, schedule=job.schedule if job.enabled else None, run=running(job)) for job in jobs]


def planner_wakeup(planner: Planner) -> Wakeup:
    return Wakeup(name=PLANNER, schedule=planner, run=planner.look)


def _scheduler(settings: Settings, plan: Plan) -> Job:
    given = settings.jobs[SCHEDULER]
    return Job(
        name=SCHEDULER,
        schedule=parse_schedule(given.schedule, given.timezone),
        run=plan.run,
        timezone=given.timezone,
        enabled=given.enabled,
        missed=given.missed,
        missed_window=given.missed_window,
        timeout=given.timeout,
        jitter=given.jitter,
        overlap=given.overlap,
    )


def _maintenance(settings: Settings, ports: Ports, plan: Plan, flows: Flows, park: Park) -> Job:
    given = settings.jobs[MAINTENANCE]
    duties = store_duties(documents=ports.documents, queue=ports.queue, blobs=ports.blobs, clock=ports.clock)
    duties.append(Duty("stuck_tasks", plan.revive))
    conflicts = ConflictLog(documents=ports.documents, clock=ports.clock, observe=ports.observe)
    debts = Debts(documents=ports.documents, queue=ports.queue, conflicts=conflicts, clock=ports.clock)
    duties.append(Duty("owed_pushes", debts.remind))
    duties.append(Duty("exhausted", flows.exhausted.replay))
    duties.append(Duty("idle_keys", IdleKeys(documents=ports.documents, clock=ports.clock).clear))
    if ports.dead_letters is not None:
        drain = DrainDeadLetters(
            dead_letters=ports.dead_letters, queue=ports.queue, queues=tuple(settings.queues), park=park
        )
        duties.append(Duty("dead_letters", drain.drain))
    return Job(
        name=MAINTENANCE,
        schedule=parse_schedule(given.schedule, given.timezone),
        run=Maintain(duties=duties, observe=ports.observe).run,
        enabled=given.enabled,
        timeout=given.timeout,
        loop=True,
    )


def _cost_trigger(settings: Settings, ports: Ports) -> Job:
    given, finops = settings.jobs[JOB_NAME], settings.finops
    trigger = None
    if finops.enabled:
        target = trigger_target(
            url=finops.webhook_url,
            token=finops.sync_token,
            user_agent=f"syncd/{__version__}",
            status_url=finops.effective_status_url,
            timeout=finops.timeout,
            settle_interval=finops.settle_interval,
            settle_timeout=finops.settle_timeout,
        )
        trigger = CostTrigger(caller=ports.caller, clock=ports.clock, observe=ports.observe, target=target)
    return cost_trigger_job(
        schedule=parse_schedule(given.schedule, given.timezone),
        timezone=given.timezone,
        trigger=trigger,
        enabled=given.enabled,
        timeout=given.timeout,
        missed=given.missed,
        missed_window=given.missed_window,
        overlap=given.overlap,
        jitter=given.jitter,
    )
