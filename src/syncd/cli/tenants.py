"""`syncd tenants`: what is done with a tenant as a whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import sure, yes_option
from syncd.cli.options import output_option
from syncd.cli.output import print_json, print_rows, progress

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

#: Looks at messages that are being worked on, a second apart, before this gives up: longer than any handler may run.
_LOOKS = 300


@click.group()
def command() -> None:
    """Remove a tenant everywhere."""


@command.command()
@with_api
@output_option
@yes_option
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.argument("identifier", metavar="ID")
def purge(api: Api, output: str, yes: bool, dry_run: bool, identifier: str) -> int:
    """Remove everything of a tenant: webhooks, connections, credentials with all their versions, tasks, entities, results,
    cursors, conflicts, events, parked messages and bodies.

    The audit trail, which says who did this, is kept. Interrupted, it may be called again and goes on. Messages that still wait
    in queues end by themselves, without a trace.
    """
    where = path("tenants", identifier, "purge")
    found = api.post(where, {"dryRun": True})
    if dry_run:
        _print(found, found["counts"], output)
        return 0
    total = sum(found["counts"].values())
    least = "" if found["whole"] else "at least "
    sure(f"remove {least}{total} documents and secrets of the tenant {identifier} for ever", yes=yes)
    removed: Counter[str] = Counter()
    looks = 0
    with progress(f"purging {identifier}", total) as done:
        while True:
            answer = api.post(where, {"dryRun": False})
            removed.update(answer["removed"])
            done(sum(answer["removed"].values()))
            if answer["done"]:
                break
            if not answer["removed"]:
                # Only what is being worked on is left, and that gives no signal.
                looks += 1
                if looks == _LOOKS:
                    break
                api.pause(1.0)
    _print({**answer, "removed": dict(removed)}, removed, output)
    if answer["done"]:
        return 0
    click.echo(f"{identifier} is still being worked on (messages: {answer['leased']}): call it again", err=True)
    return 1


def _print(answer: JsonObject, counts: JsonObject, output: str) -> None:
    if output == "json":
        print_json(answer)
        return
    heading = "there are" if answer["dryRun"] else "removed"
    rows = [{"what": name, "count": count} for name, count in counts.items() if count]
    if rows:
        print_rows(rows, {"what": "what", "count": heading}, output)
    else:
        click.echo(f"nothing of {answer['tenantId']} is stored", err=True)
    if not answer.get("whole", True):
        click.echo("these are at least: there was no time to count all", err=True)
    if answer["queued"] or not answer["queuesWhole"]:
        least = "" if answer["queuesWhole"] else "at least "
        click.echo(f"{least}{answer['queued']} messages wait in queues; once purged they end without a trace", err=True)
