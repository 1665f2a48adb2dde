"""`syncd conflicts`: what both sides changed, and deciding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import pairs_option
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_rows

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

_SIDES = ("ours", "theirs")
_COLUMNS = {
    "id": "id",
    "status": "status",
    "createdAt": "since",
    "entityId": "entity",
    "connectionId": "connection",
    "changed": "fields",
}


@click.group()
def command() -> None:
    """List, show and resolve recorded conflicts."""


def _row(conflict: JsonObject) -> JsonObject:
    return {**conflict, "changed": ", ".join(f"{one['field']} {one['taken']}" for one in conflict["fields"])}


@command.command("list")
@with_api
@output_option
@limit_option
@click.option("--tenant", metavar="ID")
@click.option("--status", type=click.Choice(["open", "resolved"]), help="open: those that wait for a person.")
@click.option("--entity", metavar="ID", help="Of one entity.")
def list_all(
    api: Api, output: str, limit: int | None, tenant: str | None, status: str | None, entity: str | None
) -> None:
    """What both sides had changed, newest first, with what became of each field."""
    query = {"tenantId": tenant, "status": status, "entityId": entity}
    print_list(api, path("conflicts"), _COLUMNS, output, query=query, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """One conflict: what both sides last agreed on, what is stored, what the other side sent, and what was taken."""
    found = api.get(path("conflicts", identifier))
    if output == "json":
        print_document(found, output)
        return
    print_document({name: value for name, value in found.items() if name != "fields"}, output)
    columns = {name: name for name in ("field", "rule", "taken", "base", "ours", "theirs", "result")}
    print_rows([_absent_said(one) for one in found["fields"]], columns, output)


def _absent_said(field: JsonObject) -> JsonObject:
    """`-` stands for null in tables, so what was not there needs a word."""
    omitted = field.get("omitted", ())
    words = {name: "(too large)" if name in omitted else "(absent)" for name in ("base", "result", *_SIDES)}
    return words | field


def _takes(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str | None, str]:
    found: dict[str | None, str] = {}
    for text in given:
        name, _, side = text.rpartition("=")
        if side not in _SIDES:
            raise click.BadParameter(f"{text!r} is not ours, theirs, FIELD=ours or FIELD=theirs", ctx, option)
        found[name or None] = side
    return found


@command.command()
@with_api
@output_option
@click.option(
    "--take",
    "takes",
    multiple=True,
    callback=_takes,
    metavar="[FIELD=]ours|theirs",
    help="Ours is what is stored, theirs what the connection sent. Without FIELD for every open field; may be repeated.",
)
@pairs_option("--value", "values", "Give a field another value; may be repeated. Values are JSON, or text.")
@click.option("--remove", "removed", multiple=True, metavar="FIELD", help="Take a field out; may be repeated.")
@click.argument("identifier", metavar="ID")
def resolve(
    api: Api,
    output: str,
    takes: dict[str | None, str],
    values: JsonObject,
    removed: tuple[str, ...],
    identifier: str,
) -> None:
    """Decide fields that wait for a person; the connections are sent what they have otherwise.

    It stays open while a field does. Refused where somebody else decided otherwise, or the other side changed it again.
    """
    named = [*(name for name in takes if name is not None), *values, *removed]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise click.UsageError(f"more than one decision for {', '.join(twice)}")
    if not (takes or named):
        raise click.UsageError(
            "say what is to be taken: --take ours, --take theirs, --value FIELD=JSON or --remove FIELD"
        )
    fields: JsonObject = {name: {"take": side} for name, side in takes.items() if name is not None}
    fields |= {name: {"value": value} for name, value in values.items()}
    fields |= {name: {"remove": True} for name in removed}
    body: JsonObject = {"fields": fields}
    if None in takes:
        body["take"] = takes[None]
    print_document(api.post(path("conflicts", identifier, "resolve"), body), output)
