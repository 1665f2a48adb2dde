"""`syncd entities`: stored records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.differences import print_edit
from syncd.cli.inputs import changed_fields, edited, file_option, pairs_option, partition_part, pretty, read_object
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_rows

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import Json, JsonObject


@click.group()
def command() -> None:
    """List, show and edit stored records."""


def _row(entity: JsonObject) -> JsonObject:
    return {**entity, "known": ", ".join(f"{name} {one}" for name, one in entity["externalIds"].items())}


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID", required=True)
@click.option("--deleted", is_flag=True, help="The deleted ones, which are kept for 30 days.")
@click.argument("entity_type", metavar="TYPE")
def list_all(api: Api, output: str, limit: int | None, tenant: str, deleted: bool, entity_type: str) -> None:
    """A tenant's entities of one type."""
    columns = {"id": "id", "version": "version", "updatedAt": "updated", "known": "known as", "data": "data"}
    query = {"tenantId": tenant, "deleted": "true" if deleted else None}
    print_list(api, path("entities", entity_type), columns, output, query=query, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One entity, and for each connection: its id there, what it is owed, what it waits for."""
    found = api.get(_path(identifier))
    if output == "json" or not found["links"]:
        print_document(found, output)
        return
    print_document({name: value for name, value in found.items() if name not in ("links", "externalIds")}, output)
    rows = [_link_row(name, link, found["externalIds"]) for name, link in found["links"].items()]
    print_rows(rows, {name: name for name in rows[0]}, output)


def _link_row(connection: str, link: JsonObject, external_ids: JsonObject) -> JsonObject:
    held = link.get("held")
    wanted, pushed = link.get("want", 0), link.get("pushed", 0)
    return {
        "connection": connection,
        "external id": external_ids.get(connection),
        "pushed": pushed or None,
        "owed": wanted if pushed < wanted else None,
        "last push": link.get("pushedAt"),
        "next look": link.get("checkAt") if pushed < wanted and not held else None,
        "held": f"{held['bin']}: {held['reason']}" if held else None,
        "last error": link.get("error"),
        "open conflicts": ", ".join(f"{name} ({one})" for name, one in link.get("open", {}).items()) or None,
    }


@command.command()
@with_api
@output_option
@file_option("--data", "data", "JSON object that becomes the content; - for standard input.")
@pairs_option("--set", "fields", "Set one field, null removes it; may be repeated. Values are JSON, or text.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and show what would be sent to whom.")
@click.argument("identifier", metavar="ID")
def edit(api: Api, output: str, data: Path | None, fields: JsonObject, dry_run: bool, identifier: str) -> None:
    """Change an entity's content, in $EDITOR unless --data or --set says how; connections that take pushes are sent it.

    Refused where somebody else changed it meanwhile.
    """
    if data is not None and fields:
        raise click.UsageError("--data and --set exclude each other")
    given = None if data is None else read_object(data)
    where = _path(identifier)
    answer = api.ask("GET", where)
    found = answer.body
    if given is not None:
        content: Json = given
    else:
        content = changed_fields(found["data"], fields) if fields else edited(pretty(found["data"]))
    if content is None or content == found["data"]:
        click.echo("nothing changed", err=True)
        return
    body = {"tenantId": found["tenantId"], "data": content}
    if dry_run:
        query = {"dryRun": "true"}
        print_edit(api.ask("PUT", where, body, query=query, if_match=answer.etag or found["etag"]).body, output)
        return
    print_document(api.ask("PUT", where, body, if_match=answer.etag or found["etag"]).body, output)


def _path(identifier: str) -> str:
    """An entity's id is `<tenant>:<type>.<rest>`."""
    partition_part(identifier, "an entity")
    entity_type = identifier.rpartition(".")[0].rpartition(":")[2]
    return path("entities", entity_type, identifier)
