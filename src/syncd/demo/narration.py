"""What happens goes to standard error: with a bar where that is a terminal, as plain lines elsewhere. The result goes to standard
output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

#: Without a terminal a line is written after each such share of the work.
_SHARES = 4
_PLAIN_WIDTH = 110


class Narrator:
    def __init__(self) -> None:
        self._told = Console(stderr=True, highlight=False, soft_wrap=True)
        self._result = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)

    def say(self, text: str, style: str = "") -> None:
        self._told.print(Text(text, style=style))

    @contextmanager
    def counting(self, totals: Mapping[str, int]) -> Iterator[Counting]:
        """One bar for each name."""
        counts = _Bars(self._told, totals) if self._told.is_terminal else _Lines(self, totals)
        with counts.shown():
            yield counts

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Rows of what, figure, and where the figure is from."""
        table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("what", no_wrap=True)
        table.add_column("figure", justify="right", no_wrap=True)
        table.add_column("read from", style="dim")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._result.print(table)

    def result(self, text: str, style: str = "") -> None:
        self._result.print(Text(text, style=style), soft_wrap=True)


class Counting:
    """Figures that grow to their totals."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        yield

    def reached(self, name: str, count: int) -> None: ...


class _Bars(Counting):
    def __init__(self, console: Console, totals: Mapping[str, int]) -> None:
        self._bars = Progress(
            TextColumn("  {task.description:<18}"),
            BarColumn(40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._bars.add_task(name, total=total) for name, total in totals.items()
        }

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    def reached(self, name: str, count: int) -> None:
        self._bars.update(self._tasks[name], completed=count)


class _Lines(Counting):
    def __init__(self, narrator: Narrator, totals: Mapping[str, int]) -> None:
        self._narrator = narrator
        self._totals = totals
        self._said = dict.fromkeys(totals, 0)

    def reached(self, name: str, count: int) -> None:
        share = count * _SHARES // self._totals[name]
        if share > self._said[name]:
            self._said[name] = share
            self._narrator.say(f"  {name}: {count:,} of {self._totals[name]:,}")
