"""What a rule between settings looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from syncd.settings.errors import DEFAULT, Problem, Source
from syncd.settings.root import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    settings: Settings
    sources: Mapping[str, Source]
    """Of keys that are set; a key that is not here has its default."""
    environ: Mapping[str, str]
    """Process environment and env files, merged: for naming what was probably meant."""

    def source(self, key: str) -> Source | None:
        return self.sources.get(key)

    def is_set(self, key: str) -> bool:
        return self.sources.get(key, DEFAULT).kind not in {"default", "preset"}

    def place(self, key: str) -> str:
        return f"{key} ({self.sources.get(key, DEFAULT)})"


Check = Callable[[Situation], Iterator[Problem]]
