"""Our own tree keeps every rule, and every rule fails on a made-up file that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.rules import RULES, Source

ROOT = Path(__file__).parents[2]


def sources() -> Iterator[Source]:
    for path in sorted((ROOT / "src" / "syncd").rglob("*.py")):
        yield Source(path.relative_to(ROOT / "src" / "syncd").as_posix(), path.read_text())
    for path in sorted((ROOT / "tests").rglob("*.py")):
        yield Source(path.relative_to(ROOT).as_posix(), path.read_text())


@pytest.fixture(scope="module")
def tree() -> list[Source]:
    return list(sources())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_own_tree_keeps_the_rule(rule: Callable[[Source], Iterator[str]], tree: list[Source]) -> None:
    assert len(tree) > 50
    broken = [f"{source.package}:{finding}" for source in tree for finding in rule(source)]
    assert not broken, "\n".join(broken)


def test_every_long_file_on_the_list_is_still_long(tree: list[Source]) -> None:
    lengths = {source.package: len(source.text.splitlines()) for source in tree}
    assert {name for name in rules.LONG_FILES if lengths.get(name, 0) <= rules.MOST_LINES} == set()


BREAKS: list[tuple[Callable[[Source], Iterator[str]], str, str]] = [
    (rules.pure_layers, "domain/mapping.py", "import pydantic"),
    (rules.pure_layers, "domain/mapping.py", "from cryptography.hazmat import primitives"),
    (rules.pure_layers, "domain/mapping.py", "import time"),
    (rules.pure_layers, "domain/mapping.py", "import asyncio"),
    (rules.pure_layers, "ports/queue.py", "import anyio"),
    (rules.pure_layers, "ports/queue.py", "import sqlite3"),
    (rules.pure_layers, "flows/accept.py", "import aiohttp"),
    (rules.pure_layers, "flows/accept.py", "def f() -> None:\n    from http import client"),
    (rules.domain_is_sync, "domain/mapping.py", "async def f() -> None: ..."),
    (rules.aiohttp_sides, "adapters/http/client.py", "from aiohttp import web"),
    (rules.aiohttp_sides, "runtime/daemon.py", "import aiohttp.web"),
    (rules.aiohttp_sides, "http/webhooks.py", "import aiohttp"),
    (rules.aiohttp_sides, "http/webhooks.py", "from aiohttp import ClientSession"),
    (rules.aiohttp_sides, "adapters/embedded/store.py", "from aiohttp.client import ClientSession"),
    (rules.settings_readers, "flows/accept.py", "from syncd.settings import Settings"),
    (rules.settings_readers, "runtime/daemon.py", "import syncd.settings.http"),
    (rules.settings_readers, "http/server.py", "from syncd import settings"),
    (rules.settings_readers, "settings/http.py", "from syncd.ports.clock import Clock"),
    (rules.settings_readers, "settings/http.py", "from syncd.bootstrap import build"),
    (rules.file_size, "flows/accept.py", "x = 1\n" * 401),
    (rules.telling_names, "http/utils.py", ""),
    (rules.telling_names, "flows/helpers/names.py", ""),
    (rules.telling_names, "adapters/base.py", ""),
    (rules.telling_names, "tests/unit/common.py", ""),
    (rules.telling_names, "runtime/_manager.py", ""),
    (rules.broad_excepts, "flows/a.py", "try: ...\nexcept Exception: ..."),
    (rules.broad_excepts, "flows/a.py", "try: ...\nexcept Exception:  # noqa: BLE001\n    ..."),
    (rules.broad_excepts, "flows/a.py", "try: ...\nexcept (ValueError, BaseException): ..."),
    (rules.broad_excepts, "flows/a.py", "try: ...\nexcept: ..."),
    (rules.suppressions, "flows/a.py", "import os  # noqa"),
    (rules.suppressions, "flows/a.py", "import os  # noqa: F401, E501"),
    (rules.suppressions, "flows/a.py", "x = f()  # type: ignore[no-any-return]"),
    (rules.suppressions, "tests/unit/test_a.py", "x = f()  # pragma: no cover"),
    (rules.untyped, "flows/a.py", "from typing import Any\nx: Any = 1"),
    (rules.untyped, "flows/a.py", "import typing\ndef f() -> dict[str, typing.Any]: ..."),
    (rules.sleeps, "flows/a.py", "import time\ntime.sleep(1)  # a very good reason"),
    (rules.sleeps, "flows/a.py", "import asyncio\nasync def f() -> None:\n    await asyncio.sleep(0.1)"),
    (rules.sleeps, "tests/unit/test_a.py", "import time\ntime.sleep(0.1)"),
    (rules.sleeps, "tests/unit/test_a.py", "from asyncio import sleep"),
    (rules.open_ends, "flows/a.py", "x = 1  # " + "TO" + "DO: the rest"),
]


@pytest.mark.parametrize(
    ("rule", "package", "text"), BREAKS, ids=[f"{r.__name__}-{p}-{i}" for i, (r, p, _) in enumerate(BREAKS)]
)
def test_a_made_up_file_that_breaks_the_rule_is_found(
    rule: Callable[[Source], Iterator[str]], package: str, text: str
) -> None:
    assert list(rule(Source(package, text)))


def test_every_rule_has_a_made_up_file_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


ALLOWED: list[tuple[str, str]] = [
    ("adapters/embedded/a.py", "try: ...\nexcept BaseException:\n    rollback()\n    raise"),
    ("domain/signatures.py", "from cryptography.hazmat.primitives import hashes"),
    ("flows/accept.py", "import anyio\nfrom collections.abc import Mapping\nfrom syncd.ports.queue import Queue"),
    ("http/webhooks.py", "from aiohttp import hdrs, web"),
    ("adapters/http/client.py", "import aiohttp\nfrom aiohttp import ClientSession"),
    ("demo/crm.py", "from aiohttp import ClientSession, web"),
    ("bootstrap.py", "from syncd.settings import Settings"),
    ("settings/http.py", "from syncd.domain.secrets import Secret\nfrom syncd.settings.names import NAMES"),
    ("flows/a.py", "x = 1\n" * 400),
    ("adapters/embedded/database.py", ""),
    ("flows/a.py", "try: ...\nexcept Exception:  # noqa: BLE001 - the outcome says what happened\n    ..."),
    (
        "flows/a.py",
        "# whatever the caller's code raises is its answer\ntry: ...\n# one bad row must not stop the others\nexcept Exception: ...",
    ),
    ("flows/a.py", "x = f()  # type: ignore[misc]  # the library's types are wrong here"),
    ("flows/a.py", "from typing import Any\n# pydantic passes anything\nx: Any = 1"),
    ("tests/unit/test_a.py", "import asyncio\nasync def f() -> None:\n    await asyncio.sleep(0)"),
    ("tests/unit/test_a.py", "import time\ntime.sleep(1)  # the kernel gives no signal for this"),
]


@pytest.mark.parametrize(("package", "text"), ALLOWED)
def test_what_is_right_is_not_found(package: str, text: str) -> None:
    assert [finding for rule in RULES for finding in rule(Source(package, text))] == []
