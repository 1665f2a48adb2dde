"""What is wrong with a configuration, said so that an operator at 3 a.m. can mend it without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from syncd.domain.errors import Invalid

SourceKind = Literal["default", "preset", "file", "env-file", "environment", "overlay", "flag"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from."""

    kind: SourceKind
    name: str = ""
    """The file, the preset, the environment name, the overlay's version or the flag."""
    line: int | None = None
    variable: str = ""
    """Name inside an env file."""
    via: tuple[str, ...] = ()
    """References that were followed from there."""

    def __str__(self) -> str:
        chain = "".join(f" -> {step}" for step in self.via)
        place = self.name if self.line is None else f"{self.name}:{self.line}"
        if self.kind in {"file", "env-file"}:
            return f"{place}{' ' + self.variable if self.variable else ''}{chain}"
        words = {"preset": "preset", "environment": "environment", "overlay": "overlay version", "flag": "flag"}
        return f"{words.get(self.kind, self.kind)} {self.name}".strip() + chain


DEFAULT = Source("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `text` never holds a secret."""

    text: str
    """What is wrong, with the value where it is not secret."""
    fix: str
    """What is allowed, or what to do."""
    key: str = ""
    """Dotted; empty where it is not about a key (a file that cannot be read)."""
    source: Source | None = None

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.text}; {self.fix}" if self.fix else f"{place}{key}{self.text}"


class ConfigurationError(Invalid):
    """Every problem found, at once."""

    EXIT_CODE: ClassVar[int] = 78
    """What the process ends with, EX_CONFIG of sysexits.h: no service manager should try again."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{count} in the configuration:\n{lines}",
            errors={
                problem.key or str(problem.source or number): str(problem) for number, problem in enumerate(problems)
            },
        )
