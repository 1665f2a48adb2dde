"""What the world of HTTP tests has in place of the runtime: a vault in memory, a control, a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.domain.errors import Invalid, NotFound
from syncd.domain.secrets import Secret
from syncd.flows.jobs import Tick, TickResult
from syncd.ports.control import Component, Health


class MemoryVault:
    """The port `Vault` in a dict: what is tried here is who may see its secrets, not how they are kept."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Secret]] = {}

    async def append(self, name: str, value: Secret) -> str:
        versions = self.kept.setdefault(name, {})
        version = f"v{len(versions) + 1}"
        versions[version] = value
        return version

    async def get(self, name: str, version: str) -> Secret:
        try:
            return self.kept[name][version]
        except KeyError:
            raise NotFound("no such version") from None

    async def versions(self, name: str) -> list[str]:
        return list(self.kept.get(name, {}))

    async def purge(self, name: str, *, keep: str | None = None) -> int:
        return len(self.kept.pop(name, {}))

    async def rotate_key(self) -> int:
        return sum(len(versions) for versions in self.kept.values())


@dataclass
class Controls:
    """The port `Control`, with what a test wants it to say."""

    reported: Health = field(
        default_factory=lambda: Health(
            live=True,
            ready=True,
            phase="running",
            version="0.1.0",
            generation=1,
            roles=("webhooks", "scheduler"),
            components=(Component("store", "ok", "1 ms"), Component("blobs", "degraded", "slow")),
        )
    )
    reload_error: Invalid | None = None
    reloads: int = 0
    nudged: list[str] = field(default_factory=list)

    def health(self) -> Health:
        return self.reported

    async def reload(self) -> dict[str, Any]:
        self.reloads += 1
        if self.reload_error is not None:
            raise self.reload_error
        return {"changed": ["sync.batch_size"], "needsRestart": [], "shadowed": []}

    def nudge(self, what: str) -> None:
        self.nudged.append(what)

    def effective_settings(self) -> dict[str, Any]:
        return {"sync": {"batch_size": {"value": 100, "source": "default"}}}


class Runs:
    """What the one job of this world was run for, and how it is to end."""

    def __init__(self) -> None:
        self.result = TickResult(status="succeeded", reason="12 records")
        self.ticks: list[Tick] = []

    async def run(self, tick: Tick) -> TickResult:
        self.ticks.append(tick)
        return self.result


def check_overlay(values: Mapping[str, Any]) -> None:
    wrong = {key: "not a key" for key in values if not key.startswith(("sync.", "http."))}
    if wrong:
        raise Invalid("the overlay is wrong", errors=wrong)
