"""The jobs of a generation, and how the ticker wakes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from syncd import __version__
from syncd.bootstrap.ports import Ports
from syncd.domain.schedules import parse_schedule
from syncd.flows.jobs import Job
from syncd.flows.maintain import Maintain, store_duties
from syncd.flows.ticks import Ticks
from syncd.flows.trigger import JOB_NAME, CostTrigger, cost_trigger_job, trigger_target
from syncd.runtime.ticker import Wakeup
from syncd.settings import Settings

MAINTENANCE = "maintenance"


def build_jobs(settings: Settings, ports: Ports) -> tuple[Job, ...]:
    """Those that this replica's roles run. Raises Invalid."""
    jobs = [_maintenance(settings, ports)]
    if "finops" in settings.daemon.roles:
        jobs.append(_cost_trigger(settings, ports))
    return tuple(jobs)


def wakeups(jobs: Iterable[Job], ticks: Ticks) -> list[Wakeup]:
    def running(job: Job) -> Callable[[], Awaitable[bool]]:
        return lambda: ticks.run_next(job)

    return [Wakeup(name=job.name, schedule=job.schedule if job.enabled else None, run=running(job)) for job in jobs]


def _maintenance(settings: Settings, ports: Ports) -> Job:
    given = settings.jobs[MAINTENANCE]
    duties = store_duties(documents=ports.documents, queue=ports.queue, blobs=ports.blobs, clock=ports.clock)
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
