"""`python -m tests.wire <double> [options]`: one of the doubles, started by hand. Prints one JSON line with where it is.

A new double adds one line to DOUBLES: its name, the module, and the function in it that takes the remaining arguments and returns
an exit code.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence

#: Name to `module:function`. Imported only when asked for; a double whose module is not there is left out.
DOUBLES = {
    "servicebus": "tests.wire.servicebus.command:main",
    "cosmos": "tests.wire.cosmos.command:main",
    "keyvault": "tests.wire.starting:keyvault",
    "arm": "tests.wire.starting:arm",
    "identity": "tests.wire.starting:identity",
    "azurite": "tests.wire.azurite:main",
    "stack": "tests.wire.stack:main",
}


def _there(target: str) -> bool:
    try:
        return importlib.util.find_spec(target.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


def available() -> dict[str, Callable[[Sequence[str]], int]]:
    """The doubles that are there, by name."""

    def starter(target: str) -> Callable[[Sequence[str]], int]:
        module, _, function = target.partition(":")
        return lambda arguments: int(getattr(importlib.import_module(module), function)(arguments))

    return {name: starter(target) for name, target in DOUBLES.items() if _there(target)}


def main(arguments: Sequence[str]) -> int:
    doubles = available()
    if arguments and arguments[0] in doubles:
        return doubles[arguments[0]](arguments[1:])
    wanted = not arguments or arguments[0] in ("-h", "--help")
    print(
        f"usage: python -m tests.wire {{{','.join(doubles)}}} [--help | options]",
        file=sys.stdout if wanted else sys.stderr,
    )
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
