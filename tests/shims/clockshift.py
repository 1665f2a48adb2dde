"""A wall clock that a test may set: see clock_shift.c."""

from __future__ import annotations

import os
from pathlib import Path

from tests.shims import built

SOURCE = Path(__file__).with_name("clock_shift.c")


class ClockShift:
    """Shifts the wall clock of every process started with `environment`."""

    def __init__(self, scratch: Path) -> None:
        """`scratch`: a directory of the test. Skips the test where there is no C compiler."""
        self._file = scratch / "clock.shift"
        self.environment = {"LD_PRELOAD": str(built(SOURCE, scratch)), "CLOCK_SHIFT_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """From now on the clock is so much ahead of what it is, or behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        os.replace(new, self._file)
