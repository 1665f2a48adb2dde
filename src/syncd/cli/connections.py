"""`syncd connections`: accounts of tenants at providers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import changed_fields, file_option, pairs_option, read_object, sure, yes_option
from syncd.cli.listing import print_list
from syncd.cli.ondemand import allow_deletes, backfill, pull, test
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

_DIRECTIONS = ("pull", "push", "both")


@click.group()
def command() -> None:
    """Add, try, sync, change and remove connections."""


for _one in (test, pull, backfill, allow_deletes):
    command.add_command(_one)


def _entities(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> JsonObject:
    found: JsonObject = {}
    for text in given:
        name, _, direction = text.partition(":")
        if not name or direction not in ("", *_DIRECTIONS):
            raise click.BadParameter(f"{text!r} is not TYPE or TYPE:{'|'.join(_DIRECTIONS)}", ctx, option)
        found[name] = {"direction": direction or "pull"}
    return found


@command.command()
@with_api
@output_option
@file_option("--file", "file", "The whole connection as JSON, as the API takes it; - for standard input.")
@click.option("--tenant", metavar="ID")
@click.option("--integration", metavar="NAME", help="The provider, for example github.")
@pairs_option("--setting", "settings", "A setting of the provider, such as owner=acme; may be repeated.")
@click.option(
    "--entity",
    "entities",
    multiple=True,
    callback=_entities,
    metavar="TYPE[:DIRECTION]",
    help="A type that is synced, and whether it is pulled (default), pushed or both; may be repeated.",
)
@file_option("--credential", "credential", "JSON with kind and its fields (bearer: token); - for standard input.")
@click.option("--force", is_flag=True, help="Also where entities are linked to a former connection of this id.")
@click.argument("identifier", metavar="[ID]", required=False)
def add(
    api: Api,
    output: str,
    file: Path | None,
    tenant: str | None,
    integration: str | None,
    settings: JsonObject,
    entities: JsonObject,
    credential: Path | None,
    force: bool,
    identifier: str | None,
) -> None:
    """Make a connection, from options or from --file; its credential goes to the vault and is never shown.

    A credential is never taken from the command line itself, where every user of the machine could read it.
    """
    body: JsonObject = {} if file is None else read_object(file)
    given = {"id": identifier, "tenantId": tenant, "integrationId": integration}
    body |= {name: value for name, value in given.items() if value is not None}
    if missing := [name for name in given if name not in body]:
        options = {"id": "ID", "tenantId": "--tenant", "integrationId": "--integration"}
        raise click.UsageError(f"missing: {', '.join(options[name] for name in missing)}")
    if settings:
        body["settings"] = {**body.get("settings", {}), **settings}
    if entities:
        body["entities"] = {**body.get("entities", {}), **entities}
    if credential is not None:
        body["credential"] = read_object(credential)
    if force:
        body["force"] = True
    made = api.post(path("connections"), body)
    print_document(made, output)


def _row(connection: JsonObject) -> JsonObject:
    entities = ", ".join(f"{name}:{rules['direction']}" for name, rules in connection["entities"].items())
    kind = connection["credential"]["kind"]
    return {**connection, "entities": entities, "credential": kind or "none"}


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID")
def list_all(api: Api, output: str, limit: int | None, tenant: str | None) -> None:
    """Connections, of one tenant or of all."""
    columns = {
        "id": "id",
        "tenantId": "tenant",
        "integrationId": "integration",
        "entities": "entities",
        "credential": "credential",
        "enabled": "enabled",
    }
    print_list(api, path("connections"), columns, output, query={"tenantId": tenant}, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One connection, without secrets."""
    print_document(api.get(path("connections", identifier)), output)


@command.command()
@with_api
@output_option
@pairs_option("--setting", "settings", "Set one setting, null removes it; may be repeated.")
@click.option(
    "--entity",
    "entities",
    multiple=True,
    callback=_entities,
    metavar="TYPE[:DIRECTION]",
    help="Sync this type, too, or in this direction; may be repeated.",
)
@file_option("--credential", "credential", "JSON with kind and its fields (bearer: token); - for standard input.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether anything is synced.")
@click.option("--force", is_flag=True, help="Also where linked entities would then lead to another system's objects.")
@click.argument("identifier", metavar="ID")
def edit(
    api: Api,
    output: str,
    settings: JsonObject,
    entities: JsonObject,
    credential: Path | None,
    enabled: bool | None,
    force: bool,
    identifier: str,
) -> None:
    """Change a connection; what is not named stays as it is. One that is enabled again is told what it missed."""
    where = path("connections", identifier)
    found = api.get(where)
    body: JsonObject = {}
    if settings:
        body["settings"] = changed_fields(found["settings"], settings)
    if entities:
        known = found["entities"]
        body["entities"] = known | {name: {**known.get(name, {}), **rules} for name, rules in entities.items()}
    if credential is not None:
        body["credential"] = read_object(credential)
    if enabled is not None:
        body["enabled"] = enabled
    if not body:
        raise click.UsageError("nothing to change: --setting, --entity, --credential, --enable or --disable")
    if force:
        body["force"] = True
    print_document(api.ask("PATCH", where, body, if_match=found["etag"]).body, output)


@command.command()
@with_api
@yes_option
@click.argument("identifier", metavar="ID")
def remove(api: Api, yes: bool, identifier: str) -> None:
    """Delete a connection with its credential. Refused while a webhook uses it."""
    found = api.get(path("connections", identifier))
    sure(f"delete the connection {identifier} of {found['tenantId']} with its credential", yes=yes)
    api.ask("DELETE", path("connections", identifier))
    click.echo(f"{identifier}: deleted")
