"""Print what a command found: a table for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from syncd.domain.jsontypes import Json

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"ok": "green", "note": "yellow", "degraded": "yellow", "waiting": "yellow", "failed": "red", "wrong": "red"}


def print_json(value: Json) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Json]], columns: Mapping[str, str], output: str, *, title: str = "") -> None:
    """`columns`: field -> heading. As JSON, whole rows are printed, fields without a column included.

    Without a terminal the table is as wide as its content, so that `grep` finds whole lines.
    """
    if output == "json":
        print_json(list(rows))
        return
    from rich.box import SIMPLE_HEAD  # here: a daemon must not pay for it at start
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold", no_wrap=not terminal)
    for row in rows:
        table.add_row(*(_cell(row.get(field), styled=field in {"status", "verdict"}) for field in columns))
    if terminal:
        Console(highlight=False).print(table)
        return
    console = Console(width=10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))


def _cell(value: Json, *, styled: bool) -> Text:
    from rich.text import Text  # plain text: a value with [brackets] is not markup

    if value is None:
        text = "-"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return Text(text, style=_STYLES.get(text, "") if styled else "")
