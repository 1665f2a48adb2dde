"""`syncd jobs`: scheduled jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import moment
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_json

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import Json, JsonObject

#: An execution with one of these is still to come, or under way.
_OPEN = frozenset({"due", "running"})
_LOOK = 0.5


@click.group()
def command() -> None:
    """List, show, run, pause and resume scheduled jobs."""


def _row(job: JsonObject) -> JsonObject:
    last = job.get("lastRun") or {}
    state = "on" if job["enabled"] else "off"
    if job["paused"]:
        state = "paused"
    if job.get("running"):
        state += ", running"
    schedule = f"{job['schedule']} {job['timezone']}"
    return {**job, "schedule": schedule, "state": state, "last": last.get("status"), "lastAt": last.get("at")}


@command.command("list")
@with_api
@output_option
def list_all(api: Api, output: str) -> None:
    """All jobs with their schedule, next and last run."""
    columns = {
        "name": "job",
        "schedule": "schedule",
        "state": "state",
        "nextAt": "next",
        "last": "last",
        "lastAt": "at",
    }
    print_list(api, path("jobs"), columns, output, paged=False, row=_row)


@command.command()
@with_api
@output_option
@click.argument("name")
def show(api: Api, output: str, name: str) -> None:
    """One job: its schedule, why it does not run, and how it last ended."""
    print_document(api.get(path("jobs", name)), output)


@command.command()
@with_api
@output_option
@click.option("--at", type=moment, metavar="TIME", help="The nominal time of the run; default: now.")
@click.option("--wait", is_flag=True, help="Wait for its end, show it, and exit 1 unless it succeeded.")
@click.argument("name")
def run(api: Api, output: str, at: str | None, wait: bool, name: str) -> int:
    """Make a job due now, or for a nominal time, and print the id of its execution."""
    if wait and not api.daemon:
        raise click.UsageError("--wait needs a running daemon: nobody else works on the run")
    execution: str = api.post(path("jobs", name, "run"), {} if at is None else {"at": at})["executionId"]
    if not wait:
        if output == "json":
            print_json({"executionId": execution})
        else:
            click.echo(execution)
        if not api.daemon:
            click.echo("it is due, and runs when a daemon starts", err=True)
        return 0
    click.echo(f"waiting for {execution}", err=True)
    ended = _await_end(api, execution)
    print_document(ended, output)
    return 0 if ended["status"] == "succeeded" else 1


def _await_end(api: Api, execution: str) -> JsonObject:
    where = path("executions", execution)
    while True:
        answer = api.ask("GET", where, accept=(404,))
        found: Json = answer.body
        if answer.status == 200 and found["status"] not in _OPEN:
            assert isinstance(found, dict)
            return found
        api.pause(_LOOK)


@command.command()
@with_api
@output_option
@limit_option
@click.argument("name")
def history(api: Api, output: str, limit: int | None, name: str) -> None:
    """A job's runs, newest first."""
    columns = {
        "at": "for",
        "status": "status",
        "startedAt": "started",
        "finishedAt": "finished",
        "durationMs": "ms",
        "reason": "reason",
        "executionId": "execution",
    }
    print_list(api, path("jobs", name, "history"), columns, output, limit=limit)


@command.command()
@with_api
@click.argument("names", nargs=-1, required=True)
def pause(api: Api, names: tuple[str, ...]) -> None:
    """Nothing of it comes due any more until it is resumed; a run under way goes on."""
    for name in names:
        api.post(path("jobs", name, "pause"))
        click.echo(f"{name}: paused")


@command.command()
@with_api
@click.argument("names", nargs=-1, required=True)
def resume(api: Api, names: tuple[str, ...]) -> None:
    """Due again from now on; what passed meanwhile is not made up for."""
    for name in names:
        job = api.post(path("jobs", name, "resume"))
        click.echo(f"{name}: resumed" + (f", next at {job['nextAt']}" if job.get("nextAt") else ""))
