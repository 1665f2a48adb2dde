"""What would change, printed: the answers of dry runs, a line for each field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncd.domain.jsontypes import JsonObject

_SIDES = {"field": "field", "before": "before", "after": "after"}
_RECORD = {"externalId": "external id", "effect": "effect", **_SIDES, "note": "note"}
_PUSH = {"connectionId": "connection", "operation": "operation", "externalId": "external id", **_SIDES, "note": "note"}


def print_pull(preview: JsonObject, output: str) -> None:
    """Of a pull: every record that would not stay as it is."""
    if output == "json":
        print_json(preview)
        return
    for one in preview["types"]:
        counted = ", ".join(f"{count} {effect}" for effect, count in one["counts"].items())
        since = f" changed since {one['since']}" if one["since"] else ""
        more = "; there are more, which were not read" if one["more"] else ""
        click.echo(f"{one['entityType']}: {one['fetched']} read{since}: {counted or 'nothing'}{more}")
        rows = [row for record in one["records"] if record["effect"] != "unchanged" for row in _record_rows(record)]
        rows += [
            {"externalId": f"item {item['position']}", "effect": "unreadable", "note": item["reason"]}
            for item in one["unreadable"]
        ]
        if rows:
            print_rows(rows, _RECORD, output)
    click.echo("nothing was written", err=True)


def _record_rows(record: JsonObject) -> Iterator[JsonObject]:
    notes = {
        one["field"]: f"both sides changed it: {one['rule']} takes {one['taken']}"
        for one in record.get("conflicts", [])
    }
    head = {"externalId": record["externalId"], "effect": record["effect"]}
    changes = record.get("changes", [])
    for change in changes:
        yield {**head, **change, "note": notes.pop(change["field"], "")}
    for field, note in notes.items():
        yield {**head, "field": field, "note": note}
    if not changes and not record.get("conflicts"):
        yield {**head, "note": f"stands for the same as {record['of']}" if "of" in record else ""}


def print_edit(preview: JsonObject, output: str) -> None:
    """Of an edit: the content, then what each connection would be sent."""
    if output == "json":
        print_json(preview)
        return
    click.echo(f"{preview['id']}: {preview['effect']}, version {preview['version']}")
    if preview["changes"]:
        print_rows(preview["changes"], _SIDES, output)
    rows = [row for push in preview["pushes"] for row in _push_rows(push)]
    if rows:
        print_rows(rows, _PUSH, output)
    else:
        click.echo("no connection would be sent anything")
    click.echo("nothing was written", err=True)


def _push_rows(push: JsonObject) -> Iterator[JsonObject]:
    head = {name: push[name] for name in ("connectionId", "operation", "externalId")}
    note = push.get("reason", "")
    for change in push["changes"] or [{}]:
        yield {**head, **change, "note": note}
