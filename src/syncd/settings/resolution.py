"""From what is written for a key to its value: references are followed, honoured names converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from syncd.domain.jsontypes import Json
from syncd.domain.secrets import Secret
from syncd.settings.errors import Problem, Source
from syncd.settings.layers import Entry
from syncd.settings.references import BadReference, VaultReference, follow, is_reference
from syncd.settings.validation import shown


class Missing:
    """A value that cannot be had (yet): the key keeps its default while everything else is checked."""


MISSING = Missing()


@dataclass(slots=True)
class Resolution:
    environ: Mapping[str, str]
    vault: Mapping[str, Secret]
    problems: list[Problem]
    sources: dict[str, Source] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    done: dict[int, Json] = field(default_factory=dict)

    def value(self, entry: Entry) -> Json:
        """The entry's value with references followed and honoured names converted, or MISSING."""
        if id(entry) not in self.done:
            self.done[id(entry)] = self._value(entry)
        return self.done[id(entry)]

    def _value(self, entry: Entry) -> Json:
        dotted = ".".join(entry.path)
        value = self._followed(entry, entry.value, dotted)
        if value is MISSING or entry.convert is None or not isinstance(value, str):
            return value
        try:
            return entry.convert(value)
        except ValueError as error:
            text = shown(value, dotted, ())
            problem = Problem(text=f"{text}: {error}", fix=f"allowed: {entry.allowed}", key=dotted, source=entry.source)
            self.problems.append(problem)
            return MISSING

    def _followed(self, entry: Entry, value: Json, dotted: str) -> Json:
        if isinstance(value, list):
            items = [self._followed(entry, item, f"{dotted}.{index}") for index, item in enumerate(value)]
            return MISSING if any(item is MISSING for item in items) else items
        if isinstance(value, Mapping):
            table = {name: self._followed(entry, item, f"{dotted}.{name}") for name, item in value.items()}
            return MISSING if any(item is MISSING for item in table.values()) else table
        if not is_reference(value):
            return value
        try:
            end, via = follow(value, self.environ)
        except BadReference as error:
            source = replace(entry.source, via=error.via[1:])
            self.problems.append(Problem(text=error.text, fix=error.fix, key=dotted, source=source))
            return MISSING
        self.sources[dotted] = replace(entry.source, via=via)
        if not isinstance(end, VaultReference):
            return end
        if end.name in self.vault:
            return self.vault[end.name]
        self.pending[dotted] = end.name
        return MISSING
