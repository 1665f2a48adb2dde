"""`python -m syncd` and the console script."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    gc.disable()  # importing makes much and drops little
    from syncd.cli.main import main as run  # here, so that importing this module costs nothing

    gc.enable()
    sys.exit(run())


if __name__ == "__main__":
    main()
