"""Env files: KEY=VALUE lines, a Functions `local.settings.json`, or the list that `az functionapp config appsettings list` prints.

Values are kept as written. Only a pair of quotes around the whole value is taken off; nothing inside is unescaped, because tokens
in use contain `+`, `/` and `=`. A `#` after white space begins a comment, as in dotenv files, unless the value is quoted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.settings.errors import Problem, Source
from syncd.settings.tomlfile import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from syncd.domain.jsontypes import Json

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.:-]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<inside>.*)(?P=quote)""")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_HIDDEN_QUOTES = re.compile(r"""^(["'])(.*?)\1\s+#""")


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    value: str
    source: Source


@dataclass(frozen=True, slots=True)
class EnvFile:
    name: str
    variables: dict[str, Variable]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Lines that cannot be read; the others are in `variables`, so that their faults are found too."""


def read_env_file(path: Path) -> EnvFile:
    """Raises ConfigurationError where the file cannot be read at all."""
    return parse_env_file(str(path), read_text(path, kind="env-file"))


def parse_env_file(name: str, text: str) -> EnvFile:
    problems: list[Problem] = []
    pairs = _from_json(name, text, problems) if text.lstrip()[:1] in {"{", "["} else _from_lines(name, text, problems)
    variables: dict[str, Variable] = {}
    notes: list[str] = []
    for variable in pairs:
        before = variables.get(variable.name)
        if before is not None and before.value != variable.value:
            notes.append(f"{variable.source}: set before in line {before.source.line}; this one, the later, counts")
        variables[variable.name] = variable
    return EnvFile(name, variables, tuple(notes), tuple(problems))


def _from_lines(name: str, text: str, problems: list[Problem]) -> Iterator[Variable]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        source = Source("env-file", name, number)
        match = _LINE.fullmatch(line)
        if match is None:
            text_ = "is not KEY=VALUE" if "=" in line else "has no '='"
            fix = "write NAME=value; a name has letters, digits and '_'; a comment begins with '#'"
            problems.append(Problem(text=text_, fix=fix, source=source))
            continue
        source = Source("env-file", name, number, match["name"])
        value = _unquoted(match["value"])
        if value is None:
            fix = "close it on the same line, or leave the quotes out: nothing needs them"
            problems.append(Problem(text="a quote is opened and not closed", fix=fix, source=source))
        elif "\x00" in value:
            problems.append(Problem(text="contains a NUL character", fix="remove it", source=source))
        else:
            yield Variable(match["name"], value, source)


def _unquoted(text: str) -> str | None:
    """The value; None where a quote is left open."""
    if text[:1] not in {'"', "'"}:
        return _COMMENT.sub("", text).rstrip()
    commented = _HIDDEN_QUOTES.match(text)
    if commented:
        return commented[2]
    match = _QUOTED.fullmatch(text)
    return match["inside"] if match else None


def _from_json(name: str, text: str, problems: list[Problem]) -> Iterator[Variable]:
    # Functions tools allow whole-line comments in this file; blanked, so that line numbers stay.
    plain = "\n".join("" if line.lstrip().startswith("//") else line for line in text.split("\n"))
    try:
        document: Json = json.loads(plain)
    except json.JSONDecodeError as error:
        where = Source("env-file", name, error.lineno)
        fix = "it begins like JSON (local.settings.json): mend it, or write KEY=VALUE lines"
        problems.append(Problem(text=f"is not JSON: {error.msg} (column {error.colno})", fix=fix, source=where))
        return
    except RecursionError:
        problem = Problem(text="is nested too deeply", fix="Values is one flat object", source=Source("env-file", name))
        problems.append(problem)
        return
    for key, value in _settings_of(name, document, problems):
        source = Source("env-file", name, _line_of(plain, key), key)
        if isinstance(value, bool):
            yield Variable(key, "true" if value else "false", source)
        elif isinstance(value, str | int | float):
            yield Variable(key, str(value), source)
        elif value is not None:
            fix = 'write the value as text, in double quotes: "NAME": "value"'
            problems.append(Problem(text="is an object or a list", fix=fix, source=source))


def _settings_of(name: str, document: Json, problems: list[Problem]) -> list[tuple[str, Json]]:
    whole = Source("env-file", name)
    if isinstance(document, list):
        items = [item for item in document if isinstance(item, dict) and isinstance(item.get("name"), str)]
        if len(items) == len(document):
            return [(item["name"], item.get("value")) for item in items]
        fix = 'each item is {"name": ..., "value": ...}, as the portal exports application settings'
        problems.append(Problem(text="is a JSON list of something else", fix=fix, source=whole))
        return []
    if document.get("IsEncrypted") is True:
        fix = "run `func settings decrypt` beside it, then use it again"
        problems.append(Problem(text="is encrypted (IsEncrypted is true)", fix=fix, source=whole))
        return []
    values = document.get("Values")
    if not isinstance(values, dict):
        fix = 'a local.settings.json has {"Values": {"NAME": "value"}}'
        problems.append(Problem(text="has no object Values", fix=fix, source=whole))
        return []
    return list(values.items())


def _line_of(text: str, key: str) -> int | None:
    match = re.search(rf'"{re.escape(key)}"', text)
    return text.count("\n", 0, match.start()) + 1 if match else None
