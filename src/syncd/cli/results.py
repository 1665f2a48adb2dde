"""`syncd results`: what runs of sync tasks did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document

if TYPE_CHECKING:
    from syncd.cli.client import Api

_COUNTS = ("fetched", "created", "updated", "deleted", "conflicts", "failed")


@click.group()
def command() -> None:
    """List and show results of sync tasks."""


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID")
@click.option("--task", metavar="ID")
def list_all(api: Api, output: str, limit: int | None, tenant: str | None, task: str | None) -> None:
    """Results, newest first."""
    columns = {
        "connectionId": "connection",
        "entityType": "entity",
        "syncMode": "mode",
        "status": "status",
        **{name: name for name in _COUNTS},
        "durationMs": "ms",
        "createdAt": "ended",
        "id": "id",
    }
    query = {"tenantId": tenant, "taskId": task}
    print_list(
        api,
        path("results"),
        columns,
        output,
        query=query,
        limit=limit,
        row=lambda one: {**one, **one.get("counts", {})},
    )


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One result with its counts."""
    print_document(api.get(path("results", identifier)), output)
