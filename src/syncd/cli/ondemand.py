"""`syncd connections test | pull | backfill | allow-deletes`: what people ask of a connection now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.differences import print_pull
from syncd.cli.following import follow
from syncd.cli.inputs import moment
from syncd.cli.options import output_option
from syncd.cli.output import print_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

    F = TypeVar("F", bound=Callable[..., object])


def _entity_option(command: F) -> F:
    return click.option("--entity", metavar="TYPE", help="Only this type; default: all that the connection lists.")(
        command
    )


@click.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def test(api: Api, output: str, identifier: str) -> None:
    """Ask the provider who we are, with one cheap call; once more after 5 s where it cannot be reached or answers 5xx.

    Exits 1 with the reason: the credential, a limit and when it ends, an address that is not allowed, nobody there.
    """
    print_document(api.post(path("connections", identifier, "test")), output)


@click.command()
@with_api
@output_option
@_entity_option
@click.option(
    "--from", "since", type=moment, metavar="TIME", help="What changed at or after it (2026-01-31, 2h, 3d ago)."
)
@click.option("--full", is_flag=True, help="Everything, not only what changed since the last pull.")
@click.option("--dry-run", is_flag=True, help="Read the first records, write nothing, and show what would change.")
@click.option("--no-wait", is_flag=True, help="Print the task and do not wait for its end.")
@click.argument("identifier", metavar="ID")
def pull(
    api: Api,
    output: str,
    entity: str | None,
    since: str | None,
    full: bool,
    dry_run: bool,
    no_wait: bool,
    identifier: str,
) -> int:
    """Pull now and wait for the end; exits 1 where it failed. Ctrl-C ends the waiting, not the pull."""
    if since is not None and full:
        raise click.UsageError("--from and --full exclude each other")
    wanted = {"entityType": entity, "since": since, "full": full or None}
    body = {name: value for name, value in wanted.items() if value is not None}
    where = path("connections", identifier, "pull")
    if dry_run:
        print_pull(api.ask("POST", where, body, query={"dryRun": "true"}).body, output)
        return 0
    return _begun(api, where, body, output, wait=not no_wait)


@click.command()
@with_api
@output_option
@_entity_option
@click.option("--no-wait", is_flag=True, help="Print the task and do not wait for its end.")
@click.argument("identifier", metavar="ID")
def backfill(api: Api, output: str, entity: str | None, no_wait: bool, identifier: str) -> int:
    """Read everything, then tell the connection everything that it does not have, as far as its directions let it.

    The task ends when all that is owed is written down; the pushes themselves follow at the pace that the provider's limits allow.
    """
    where = path("connections", identifier, "backfill")
    return _begun(api, where, {"entityType": entity} if entity else {}, output, wait=not no_wait)


def _begun(api: Api, where: str, body: JsonObject, output: str, *, wait: bool) -> int:
    if wait and not api.daemon:
        raise click.UsageError("no daemon runs that would do it: start one, or leave the task to it with --no-wait")
    task: JsonObject = api.post(where, body)
    if wait:
        return follow(api, task, output)
    print_document(task, output)
    return 0


@click.command("allow-deletes")
@with_api
@_entity_option
@click.argument("identifier", metavar="ID")
def allow_deletes(api: Api, entity: str | None, identifier: str) -> None:
    """Let the next run through that was held because it would delete too much."""
    answer = api.post(path("connections", identifier, "allow-deletes"), {"entityType": entity} if entity else {})
    click.echo(f"{identifier}: the next run may delete {', '.join(answer['entityTypes'])}, however many")
