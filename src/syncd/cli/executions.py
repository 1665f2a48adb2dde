"""`syncd executions`: what ran, how it ended, and what it left as evidence."""

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


@click.group()
def command() -> None:
    """List and show runs of jobs."""


@command.command("list")
@with_api
@output_option
@limit_option
def list_all(api: Api, output: str, limit: int | None) -> None:
    """The runs of all jobs, newest first."""
    columns = {
        "job": "job",
        "status": "status",
        "startedAt": "started",
        "durationMs": "ms",
        "trigger": "trigger",
        "reason": "reason",
        "id": "id",
    }
    print_list(api, path("executions"), columns, output, limit=limit)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One run with its evidence."""
    print_document(api.get(path("executions", identifier)), output)
