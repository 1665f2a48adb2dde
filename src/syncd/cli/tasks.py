"""`syncd tasks`: sync tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_json

if TYPE_CHECKING:
    from syncd.cli.client import Api

_STATUSES = ("pending", "queued", "running", "succeeded", "partial", "failed", "cancelled", "parked")


@click.group()
def command() -> None:
    """Add, list, show, cancel and retry sync tasks."""


@command.command()
@with_api
@output_option
@click.option("--mode", type=click.Choice(["pull", "push", "bidirectional"]), default="pull", show_default=True)
@click.option("--priority", type=click.Choice(["high", "normal", "low"]), default="normal", show_default=True)
@click.option("--entity", metavar="TYPE", help="Only this type; default: all that the connection lists.")
@click.option("--schedule", metavar="WHEN", help='Run again and again: "every 15m", or cron.')
@click.option("--timezone", metavar="ZONE", help="The zone in which the schedule is read; UTC where it is left out.")
@click.option("--full", is_flag=True, help="Read everything, not only what changed since the last pull.")
@click.argument("connection")
def add(
    api: Api,
    output: str,
    mode: str,
    priority: str,
    entity: str | None,
    schedule: str | None,
    timezone: str | None,
    full: bool,
    connection: str,
) -> None:
    """Make a task for a CONNECTION and print its id. It runs as soon as the planner sees it."""
    found = api.get(path("connections", connection))
    wanted = {
        "tenantId": found["tenantId"],
        "integrationId": found["integrationId"],
        "connectionId": connection,
        "syncMode": mode,
        "priority": priority,
        "entityType": entity,
        "schedule": schedule,
        "timezone": timezone,
        "full": full or None,
    }
    task = api.post(path("tasks"), {name: value for name, value in wanted.items() if value is not None})
    if output == "json":
        print_json(task)
    else:
        click.echo(task["id"])


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID")
@click.option("--connection", metavar="ID")
@click.option("--status", type=click.Choice(_STATUSES))
def list_all(
    api: Api, output: str, limit: int | None, tenant: str | None, connection: str | None, status: str | None
) -> None:
    """Tasks, newest first."""
    columns = {
        "id": "id",
        "connectionId": "connection",
        "entityType": "entity",
        "syncMode": "mode",
        "priority": "priority",
        "status": "status",
        "attempt": "attempt",
        "nextScheduled": "next",
        "updatedAt": "updated",
    }
    query = {"tenantId": tenant, "connectionId": connection, "status": status}
    print_list(api, path("tasks"), columns, output, query=query, limit=limit)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One task: its state, how far it is, and where its result is."""
    print_document(api.get(path("tasks", identifier)), output)


@command.command()
@with_api
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def cancel(api: Api, identifiers: tuple[str, ...]) -> None:
    """A waiting task ends at once; a running one stops at its next checkpoint."""
    for identifier in identifiers:
        task = api.post(path("tasks", identifier, "cancel"))
        waits = "" if task["status"] == "cancelled" else f" (is {task['status']}, and stops at its next checkpoint)"
        click.echo(f"{identifier}: cancelled{waits}")


@command.command()
@with_api
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def retry(api: Api, identifiers: tuple[str, ...]) -> None:
    """Begin tasks that have ended or are parked anew."""
    for identifier in identifiers:
        task = api.post(path("tasks", identifier, "retry"))
        click.echo(f"{identifier}: {task['status']}, generation {task['generation']}")
