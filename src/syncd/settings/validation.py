"""From values to Settings: every fault of every value becomes a Problem that names where the value was written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.secrets import Secret
from syncd.settings import catalogue
from syncd.settings.catalogue import Key, Path
from syncd.settings.errors import Problem, Source
from syncd.settings.root import Settings
from syncd.settings.sections.http import HttpToken
from syncd.settings.tomlfile import TomlFile


def _nested(values: Mapping[Path, Json]) -> JsonObject:
    tree: JsonObject = {}
    for path, value in values.items():
        table = tree
        for step in path[:-1]:
            table = table.setdefault(step, {})
        table[path[-1]] = value
    return tree


def validated(
    values: dict[Path, Json], sources: Mapping[str, Source], file: TomlFile | None, problems: list[Problem]
) -> Settings:
    """The settings; where values are wrong, with those at their defaults, so that the remaining rules can be checked too."""
    values = {path: value.reveal() if isinstance(value, Secret) else value for path, value in values.items()}
    for _ in range(2):
        try:
            return Settings.model_validate(_nested(values))
        except ValidationError as error:
            details = error.errors(include_url=False)
            wrong = [_key_path(detail["loc"]) for detail in details]
            for detail, path in zip(details, wrong, strict=True):
                problems.append(_problem(detail, path, values.get(path), sources, file))
            values = {path: value for path, value in values.items() if path not in wrong}
    return Settings()


def _key_path(location: tuple[int | str, ...]) -> Path:
    path: Path = ()
    for step in location:
        path = (*path, str(step))
        if isinstance(catalogue.find(path), Key):
            return path
    return path


_WHY = {
    "greater_than_equal": "it is too small",
    "less_than_equal": "it is too large",
    "literal_error": "there is no such choice",
    "extra_forbidden": "there is no such key",
}


def _problem(
    detail: ErrorDetails, path: Path, value: Json, sources: Mapping[str, Source], file: TomlFile | None
) -> Problem:
    known = catalogue.find(path)
    allowed = known.allowed if isinstance(known, Key) else ""
    inside = detail["loc"][len(path) :]
    dotted = ".".join(str(step) for step in (*path, *inside))
    source = sources.get(".".join(path))
    if source is not None and source.kind == "file" and file is not None and inside:
        source = file.source((*path, *inside))
    if path == ("http", "tokens") and inside:
        allowed = _token_allowed(inside)
    why = _WHY.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "literal_error":
        why += _nearest_choice(detail)
    if detail["type"] == "missing":
        return Problem(text="it is missing", fix=f"allowed: {allowed}", key=dotted, source=source)
    value_text = shown(value, ".".join(path), inside)
    return Problem(text=f"{value_text}: {why}", fix=f"allowed: {allowed}" if allowed else "", key=dotted, source=source)


def _nearest_choice(detail: ErrorDetails) -> str:
    choices = re.findall("'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
    close = difflib.get_close_matches(str(detail["input"]).lower(), choices, 1, 0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _token_allowed(inside: tuple[int | str, ...]) -> str:
    field_name = str(inside[-1])
    if field_name == "role":
        return "one of: read, operate"
    return "a table with " + ", ".join(HttpToken.model_fields) if field_name not in HttpToken.model_fields else "text"


def shown(value: Json, dotted: str, inside: tuple[int | str, ...]) -> str:
    """The value as it may be printed: a secret never, a long one cut."""
    known = catalogue.find(tuple(dotted.split(".")))
    secret = not isinstance(known, Key) or known.secret
    for step in inside:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return "what is there (not shown)"
    if secret and not (inside and inside[-1] in {"role", "name", "tenants"}):
        return "the value (not shown)"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
