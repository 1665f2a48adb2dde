"""How adapters, flows and the runtime say what happened, without knowing who counts or logs it."""

from __future__ import annotations

from typing import Protocol


class Observe(Protocol):
    """`event` is a stable snake_case word; facts are small scalars. Durations are seconds. Never blocks, never raises."""

    def __call__(self, event: str, /, **facts: object) -> None: ...


def ignore(event: str, /, **facts: object) -> None:
    """The observer of whoever is not interested."""
