"""The import contracts hold in our tree, and each of them is broken by a made-up tree that breaks it."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".importlinter"

#: One module for each package of the house, importing nothing.
HOUSE = [
    "cli/run.py",
    "demo/tour.py",
    "bootstrap.py",
    "http/webhooks.py",
    "runtime/ticker.py",
    "runtime/daemon.py",
    "telemetry/logs.py",
    "flows/accept.py",
    "ports/queue.py",
    "domain/ids.py",
    "settings/http.py",
    "testing/clock.py",
    "adapters/embedded/store.py",
    "adapters/http/client.py",
    "adapters/providers/github.py",
    "adapters/providers/jira.py",
    "adapters/azure/servicebus.py",
    "adapters/redis/limiter.py",
    "__main__.py",
]

#: Contract to the import that breaks it: the file it is put in, and the line.
VIOLATIONS = {
    "layers": ("http/webhooks.py", "from syncd.runtime import daemon"),
    "settings-domain": ("settings/http.py", "from syncd.ports import queue"),
    "settings-readers": ("runtime/daemon.py", "from syncd.settings import http"),
    "testing": ("flows/accept.py", "from syncd.testing import clock"),
    "adapters-flows": ("adapters/embedded/store.py", "from syncd.flows import accept"),
    "adapters": ("adapters/embedded/store.py", "from syncd.adapters.azure import servicebus"),
    "embedded-azure": ("adapters/embedded/store.py", "import azure.servicebus"),
    "providers-independent": ("adapters/providers/github.py", "from syncd.adapters.providers import jira"),
    "sqlite": ("flows/accept.py", "import sqlite3"),
    "apscheduler": ("runtime/daemon.py", "from apscheduler.schedulers.asyncio import AsyncIOScheduler"),
    "aiohttp": ("runtime/daemon.py", "from aiohttp import ClientSession"),
    "azure": ("telemetry/logs.py", "from azure.monitor.opentelemetry import configure_azure_monitor"),
    "redis": ("flows/accept.py", "import redis.asyncio"),
    "structlog": ("adapters/embedded/store.py", "import structlog"),
    "telemetry-libraries": ("adapters/http/client.py", "from prometheus_client import Counter"),
}
#: What each part may import.
RIGHT = {
    "__main__.py": ["from syncd.cli import run"],
    "cli/run.py": ["from syncd import bootstrap", "from syncd.demo import tour", "import aiohttp", "import structlog"],
    "bootstrap.py": [
        "from syncd.adapters.azure import servicebus",
        "from syncd.adapters.embedded import store",
        "from syncd.http import webhooks",
        "from syncd.runtime import daemon",
        "from syncd.settings import http",
    ],
    "http/webhooks.py": ["from aiohttp import web", "from syncd.flows import accept"],
    "runtime/ticker.py": ["from apscheduler.schedulers.asyncio import AsyncIOScheduler"],
    "flows/accept.py": ["from syncd.ports import queue"],
    "ports/queue.py": ["from syncd.domain import ids"],
    "settings/http.py": ["from syncd.domain import ids"],
    "adapters/embedded/store.py": ["import sqlite3", "from syncd.ports import queue"],
    "adapters/azure/servicebus.py": ["import azure.servicebus.aio", "from syncd.adapters.http import client"],
    "adapters/redis/limiter.py": ["import redis.asyncio"],
    "adapters/providers/github.py": ["from syncd.adapters.http import client"],
    "adapters/http/client.py": ["import aiohttp"],
    "telemetry/logs.py": ["import structlog", "from prometheus_client import Counter"],
}


def build(root: Path, imports: dict[str, list[str]]) -> None:
    for name in HOUSE:
        path = root / "syncd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in path.relative_to(root).parents:
            if package.name:
                (root / package / "__init__.py").touch()
        path.write_text("\n".join(imports.get(name, [])) + "\n")


def lint(config: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run as `make check` runs it. `path` comes first on sys.path."""
    program = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]; from importlinter.cli import lint_imports_command as c; c()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(path), "--config", str(config), "--no-cache", "--no-logo"],
        cwd=path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def contracts() -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(CONFIG)
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): parser[name]["name"] for name in parser.sections() if name.startswith(prefix)}


def test_our_own_tree_keeps_every_contract() -> None:
    done = lint(CONFIG, ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken." in done.stdout


def test_a_made_up_tree_that_is_right_keeps_every_contract(tmp_path: Path) -> None:
    build(tmp_path, RIGHT)
    done = lint(CONFIG, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_made_up_tree_breaks_every_contract(tmp_path: Path) -> None:
    assert VIOLATIONS.keys() == contracts().keys(), "each contract needs an import that breaks it"
    imports = {name: list(lines) for name, lines in RIGHT.items()}
    for name, line in VIOLATIONS.values():
        imports.setdefault(name, []).append(line)
    build(tmp_path, imports)
    done = lint(CONFIG, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    kept = [name for name, title in contracts().items() if f"{title} BROKEN" not in done.stdout]
    assert kept == [], done.stdout
