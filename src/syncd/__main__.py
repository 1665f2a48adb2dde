"""`python -m syncd` and the console script."""

from __future__ import annotations

import sys


def main() -> None:
    from syncd.cli.main import main as run  # here, so that importing this module costs nothing

    sys.exit(run())


if __name__ == "__main__":
    main()
