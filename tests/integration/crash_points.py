"""How many crash points are tried, said once for who tries them and for the line at the end of a run."""

from __future__ import annotations

import os

#: `all`: scenarios are ended before and after each port call, on every backend. Otherwise after each one on the embedded backend, and
#: at so many, spread over the scenario, on Azure, where each world costs some seconds.
CRASH_POINTS = os.environ.get("CRASH_POINTS", "2")
