"""A list of the API, printed: all its pages, up to `--limit`, and a word where there is more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from syncd.cli.output import print_json, print_rows
from syncd.domain.jsontypes import JsonObject

if TYPE_CHECKING:
    from syncd.cli.client import Api


def print_list(
    api: Api,
    where: str,
    columns: Mapping[str, str],
    output: str,
    *,
    query: Mapping[str, str | None] | None = None,
    limit: int | None = None,
    paged: bool = True,
    row: Callable[[JsonObject], JsonObject] | None = None,
) -> None:
    """`row` makes a line of the table of an item; JSON shows the items as they are. `paged`: the API takes `limit` and `cursor`."""
    items, more = api.listed(where, query, limit=limit, paged=paged)
    if output == "json":
        print_json(items)
    elif items:
        print_rows([row(item) for item in items] if row else items, columns, output)
    else:
        click.echo("none", err=True)
    if more:
        click.echo(f"these are the first {limit}; --limit N shows more, --limit 0 all", err=True)
