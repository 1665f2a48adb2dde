"""What happens goes to standard error: with a bar where that is a terminal, as plain lines elsewhere. The result goes to standard
output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
    def counting(self, total: int) -> Iterator[Counting]:
        counts = _Bars(self._told, total) if self._told.is_terminal else _Lines(self, total)
        with counts.shown():
            yield counts

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Rows of what, figure, and where the figure is from."""
        table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("what")
        table.add_column("figure", justify="right")
        table.add_column("read from", style="dim")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._result.print(table)

    def result(self, text: str, style: str = "") -> None:
        self._result.print(Text(text, style=style), soft_wrap=True)


class Counting:
    """Two figures that grow to the same total: deliveries answered 2xx, and events applied."""

    def __init__(self, total: int) -> None:
        self.total = total

    @contextmanager
    def shown(self) -> Iterator[None]:
        yield

    def delivered(self, count: int) -> None: ...

    def processed(self, count: int) -> None: ...


class _Bars(Counting):
    def __init__(self, console: Console, total: int) -> None:
        super().__init__(total)
        self._bars = Progress(
            TextColumn("  {task.description:<10}"),
            BarColumn(50),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._delivered: TaskID = self._bars.add_task("delivered", total=total)
        self._processed: TaskID = self._bars.add_task("processed", total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    def delivered(self, count: int) -> None:
        self._bars.update(self._delivered, completed=count)

    def processed(self, count: int) -> None:
        self._bars.update(self._processed, completed=count)


class _Lines(Counting):
    def __init__(self, narrator: Narrator, total: int) -> None:
        super().__init__(total)
        self._narrator = narrator
        self._said = 0

    def delivered(self, count: int) -> None:
        share = count * _SHARES // self.total
        if share > self._said:
            self._said = share
            self._narrator.say(f"  {count:,} of {self.total:,} delivered")
