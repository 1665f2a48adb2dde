"""Read a TOML file, and know the line of every key: the standard library's parser gives values only."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.settings.errors import ConfigurationError, Problem, Source

if TYPE_CHECKING:
    from pathlib import Path

    from syncd.domain.jsontypes import JsonObject

Step = str | int
#: No configuration is longer; a device or a log named by mistake is.
FILE_BYTES = 4 * 1024 * 1024
_WHERE = re.compile(
    r"^(?P<what>.*?)\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL
)
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")
_STRINGS = {
    '"""': re.compile(r'"""(?:\\.|(?!""").)*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:(?!''').)*'{3,5}", re.DOTALL),
    '"': re.compile(r'"(?:\\.|[^"\\\n])*"'),
    "'": re.compile(r"'[^'\n]*'"),
}


@dataclass(frozen=True, slots=True)
class TomlFile:
    name: str
    values: JsonObject
    lines: dict[tuple[Step, ...], int]

    def source(self, path: tuple[Step, ...]) -> Source:
        """Where `path` is written, or its nearest parent."""
        while path and path not in self.lines:
            path = path[:-1]
        return Source("file", self.name, self.lines.get(path))


def read_toml(path: Path) -> TomlFile:
    """Raises ConfigurationError naming the file and the line."""
    name = str(path)
    return parse_toml(name, read_text(path, kind="file"))


def read_text(path: Path, *, kind: str) -> str:
    """UTF-8 text of a small file, without a byte order mark. Raises ConfigurationError."""
    source = Source("env-file" if kind == "env-file" else "file", str(path))
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        text, fix = f"cannot be read ({error.strerror})", "check the path and its permissions"
        raise ConfigurationError([Problem(text=text, fix=fix, source=source)]) from None
    if len(data) > FILE_BYTES:
        raise ConfigurationError(
            [Problem(text=f"is longer than {FILE_BYTES} bytes", fix="is it the right file?", source=source)]
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        where = Source(source.kind, source.name, line)
        problem = Problem(text="is not UTF-8 text", fix="save it as UTF-8", source=where)
        raise ConfigurationError([problem]) from None


def parse_toml(name: str, text: str) -> TomlFile:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_syntax_problem(name, text, str(error))]) from None
    except RecursionError:
        problem = Problem(
            text="is nested too deeply", fix="a setting is at most a list of tables", source=Source("file", name)
        )
        raise ConfigurationError([problem]) from None
    return TomlFile(name, values, _Scanner(text.replace("\r\n", "\n")).lines())


def _syntax_problem(name: str, text: str, message: str) -> Problem:
    match = _WHERE.match(message)
    if match is None:
        return Problem(text=f"is not TOML: {message}", fix="", source=Source("file", name))
    line = int(match["line"]) if match["line"] else text.rstrip("\n").count("\n") + 1
    column = f" (column {match['column']})" if match["column"] else " (at the end of the file)"
    fix = "write it as key = value; text needs quotes, a table is [section]"
    what = match["what"]
    twice = re.fullmatch(r"Cannot (?:declare|overwrite|mutate).*|Duplicate .*", what)
    if twice:
        what = "the table or key is there already"
        fix = "each table and each key stands once in the file: put them together"
    return Problem(text=f"is not TOML: {what}{column}", fix=fix, source=Source("file", name, line))


@dataclass(slots=True)
class _Scanner:
    """Walks text that is known to be valid TOML and notes where each key and list item begins."""

    text: str
    position: int = 0
    found: dict[tuple[Step, ...], int] = field(default_factory=dict)
    counts: dict[tuple[Step, ...], int] = field(default_factory=dict)
    newlines: list[int] = field(default_factory=list)

    def lines(self) -> dict[tuple[Step, ...], int]:
        self.newlines = [match.start() for match in re.finditer("\n", self.text)]
        base: tuple[Step, ...] = ()
        while True:
            self._skip()
            if self.position >= len(self.text):
                return self.found
            if self.text[self.position] == "[":
                base = self._header()
            else:
                self._pair(base)

    def _skip(self) -> None:
        match = _BLANK.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

    def _note(self, path: tuple[Step, ...], at: int) -> None:
        self.found.setdefault(path, bisect_right(self.newlines, at - 1) + 1)

    def _header(self) -> tuple[Step, ...]:
        start = self.position
        double = self.text.startswith("[[", start)
        self.position += 2 if double else 1
        steps = self._key()
        path: tuple[Step, ...] = ()
        for index, step in enumerate(steps):
            path += (step,)
            if double and index == len(steps) - 1:
                self.counts[path] = self.counts.get(path, -1) + 1
            self._note(path, start)
            if path in self.counts:
                path += (self.counts[path],)
                self._note(path, start)
        self.position += 2 if double else 1
        return path

    def _key(self) -> list[str]:
        """A dotted key; leaves the position behind it and its blanks."""
        steps = []
        while True:
            self._skip()
            quote = self.text[self.position]
            if quote in "\"'":
                match = _STRINGS[quote].match(self.text, self.position)
                assert match is not None
                steps.append(next(iter(tomllib.loads(f"{match[0]}=0"))))
            else:
                match = _BARE_KEY.match(self.text, self.position)
                assert match is not None
                steps.append(match[0])
            self.position = match.end()
            self._skip()
            if self.text[self.position] != ".":
                return steps
            self.position += 1

    def _pair(self, base: tuple[Step, ...]) -> None:
        start = self.position
        path = base
        for step in self._key():
            path += (step,)
            self._note(path, start)
        self.position += 1  # the equals sign
        self._value(path)

    def _value(self, path: tuple[Step, ...]) -> None:
        self._skip()
        opening = self.text[self.position]
        if opening == "[":
            self._items(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            quotes = self.text[self.position : self.position + 3]
            pattern = _STRINGS.get(quotes) or _STRINGS.get(opening) or _SCALAR
            match = pattern.match(self.text, self.position)
            assert match is not None
            self.position = match.end()

    def _items(self, path: tuple[Step, ...]) -> None:
        self.position += 1
        index = 0
        while True:
            self._skip()
            if self.text[self.position] == "]":
                break
            if self.text[self.position] == ",":
                self.position += 1
                continue
            self._note((*path, index), self.position)
            self._value((*path, index))
            index += 1
        self.position += 1

    def _inline_table(self, path: tuple[Step, ...]) -> None:
        self.position += 1
        while True:
            self._skip()
            if self.text[self.position] == "}":
                break
            if self.text[self.position] == ",":
                self.position += 1
                continue
            self._pair(path)
        self.position += 1
