"""`syncd webhooks`: registrations, and what came in through them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import file_option, pairs_option, partition_part, read_secret, sure, yes_option
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_json
from syncd.cli.verifying import default_scheme, verify

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

_STATUSES = ("accepted", "duplicate", "rejected", "parked", "processed", "failed")
_SECRET_HELP = "File with the secret, - for standard input; left out: one is made and shown once."  # noqa: S105 (a help text)


@click.group()
def command() -> None:
    """Register, rotate, disable and verify webhooks; look at their events."""


command.add_command(verify)


@command.command()
@with_api
@output_option
@click.option("--tenant", metavar="ID", help="Default: that of the connection.")
@click.option("--integration", metavar="NAME", help="The sender, for example github. Default: that of the connection.")
@click.option("--connection", metavar="ID", help="The connection whose entities the events change.")
@click.option("--scheme", metavar="NAME", help="How it signs. Default: the integration's own scheme, else hmac-sha256.")
@pairs_option("--setting", "settings", "A setting of a generic scheme, such as header=X-Sig; may be repeated.")
@file_option("--secret-file", "secret_file", _SECRET_HELP)
@click.option("--rate", type=click.IntRange(min=1), metavar="N", help="Events per minute that it may send.")
@click.option("--max-body-bytes", type=click.IntRange(min=1), metavar="N")
@click.argument("identifier", metavar="ID")
def register(
    api: Api,
    output: str,
    tenant: str | None,
    integration: str | None,
    connection: str | None,
    scheme: str | None,
    settings: JsonObject,
    secret_file: Path | None,
    rate: int | None,
    max_body_bytes: int | None,
    identifier: str,
) -> None:
    """Let a sender in. Prints the path to give it and, once, the secret where it was made here."""
    if connection is not None and not (tenant and integration):
        found = api.get(path("connections", connection))
        tenant, integration = tenant or found["tenantId"], integration or found["integrationId"]
    if not tenant or not integration:
        raise click.UsageError("say --connection, or --tenant and --integration")
    optional = {
        "connectionId": connection,
        "schemeSettings": settings or None,
        "secret": None if secret_file is None else read_secret(secret_file, ""),
        "rate": rate,
        "maxBodyBytes": max_body_bytes,
    }
    made = api.post(
        path("webhooks"),
        {
            "id": identifier,
            "tenantId": tenant,
            "integrationId": integration,
            "scheme": scheme or default_scheme(integration),
            **{name: value for name, value in optional.items() if value is not None},
        },
    )
    if output == "json":
        print_json(made)
        return
    click.echo(f"{identifier}: registered, signed as {made['scheme']}")
    click.echo(f"path:   /webhooks/{identifier}/events")
    _print_secret(made)


def _print_secret(made: JsonObject) -> None:
    if "secret" in made:
        click.echo(f"secret: {made['secret']}")
        click.echo("the secret is shown this once: give it to the sender now", err=True)


def _row(registration: JsonObject) -> JsonObject:
    return {**registration, "state": "on" if registration["enabled"] else "disabled"}


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID")
def list_all(api: Api, output: str, limit: int | None, tenant: str | None) -> None:
    """Registrations, of one tenant or of all."""
    columns = {
        "id": "id",
        "tenantId": "tenant",
        "integrationId": "integration",
        "connectionId": "connection",
        "scheme": "scheme",
        "state": "state",
    }
    print_list(api, path("webhooks"), columns, output, query={"tenantId": tenant}, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One registration, without its secrets."""
    print_document(api.get(path("webhooks", identifier)), output)


@command.command()
@with_api
@output_option
@file_option("--secret-file", "secret_file", _SECRET_HELP)
@click.option(
    "--overlap",
    type=click.IntRange(0, 30 * 86_400),
    default=86_400,
    show_default=True,
    metavar="SECONDS",
    help="How long the secret before stays valid; 0 for one that leaked.",
)
@click.argument("identifier", metavar="ID")
def rotate(api: Api, output: str, secret_file: Path | None, overlap: int, identifier: str) -> None:
    """Give it a new secret; the one before stays valid for a while."""
    secret = None if secret_file is None else read_secret(secret_file, "")
    body: JsonObject = {"overlapSeconds": overlap, **({} if secret is None else {"secret": secret})}
    changed = api.post(path("webhooks", identifier, "rotate"), body)
    if output == "json":
        print_json(changed)
        return
    click.echo(f"{identifier}: rotated; the secret before is valid for {overlap} s")
    _print_secret(changed)


@command.command()
@with_api
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def disable(api: Api, identifiers: tuple[str, ...]) -> None:
    """Answer its sender as if it did not exist."""
    _enable(api, identifiers, enabled=False)


@command.command()
@with_api
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def enable(api: Api, identifiers: tuple[str, ...]) -> None:
    """Take its events again."""
    _enable(api, identifiers, enabled=True)


def _enable(api: Api, identifiers: tuple[str, ...], *, enabled: bool) -> None:
    for identifier in identifiers:
        api.ask("PATCH", path("webhooks", identifier), {"enabled": enabled})
        click.echo(f"{identifier}: {'enabled' if enabled else 'disabled'}")


@command.command()
@with_api
@yes_option
@click.argument("identifier", metavar="ID")
def remove(api: Api, yes: bool, identifier: str) -> None:
    """Delete a registration with its secrets. Events that were accepted are still applied."""
    found = api.get(path("webhooks", identifier))
    sure(f"delete the webhook {identifier} of {found['tenantId']} with its secrets", yes=yes)
    api.ask("DELETE", path("webhooks", identifier))
    click.echo(f"{identifier}: deleted")


@command.command()
@with_api
@output_option
@limit_option
@click.option("--status", type=click.Choice(_STATUSES))
@click.argument("identifier", metavar="ID")
def events(api: Api, output: str, limit: int | None, status: str | None, identifier: str) -> None:
    """What a registration received, newest first."""
    columns = {
        "receivedAt": "received",
        "status": "status",
        "eventType": "event",
        "entityType": "entity",
        "entityId": "of",
        "operation": "operation",
        "note": "note",
        "eventId": "id",
    }
    where = path("webhooks", identifier, "events")
    print_list(api, where, columns, output, query={"status": status}, limit=limit, row=_with_reason)


def _with_reason(event: JsonObject) -> JsonObject:
    return {**event, "note": event.get("note") or event.get("reason")}


@command.command()
@with_api
@click.argument("events", metavar="EVENT...", nargs=-1, required=True)
def replay(api: Api, events: tuple[str, ...]) -> None:
    """Send events through again, also processed ones; `events` lists their ids."""
    places = [path("webhooks", partition_part(event, "an event"), "events", event, "replay") for event in events]
    for event, where in zip(events, places, strict=True):
        api.post(where)
        click.echo(f"{event}: sent through again")
