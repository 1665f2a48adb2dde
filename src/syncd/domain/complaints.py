"""Takes settings of a connection apart and collects every complaint, so that a person mends them in one go."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.domain.dotted import path_of
from syncd.domain.jsonbody import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncd.domain.dotted import Path
    from syncd.domain.jsontypes import Json, JsonObject

_LONGEST = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Complaints:
    """Settings under `path`, read name by name. A value that is wrong reads as its default, and is complained about; `errors`, field
    path -> text, is shared with all sections inside."""

    def __init__(self, settings: JsonObject, *, path: str = "", errors: dict[str, str] | None = None) -> None:
        self.errors: dict[str, str] = {} if errors is None else errors
        self._settings = settings
        self._path = path
        self._asked: list[str] = []

    def __contains__(self, name: str) -> bool:
        return self._settings.get(name) is not None

    def wrong(self, name: str, text: str) -> None:
        """The first complaint about a field stands."""
        self.errors.setdefault(f"{self._path}{name}" or '""', text)

    def take(self, name: str, *, needed: bool = False) -> Json:
        """The value as it is, None where it is null or absent."""
        self._asked.append(name)
        value = self._settings.get(name)
        if value is None and needed:
            self.wrong(name, "needed")
        return value

    def text(self, name: str, *, needed: bool = False, default: str | None = None) -> str | None:
        value = self.take(name, needed=needed)
        if value is None:
            return default
        if not isinstance(value, str) or not value or len(value) > _LONGEST or _CONTROL.search(value):
            self.wrong(name, f"must be text of 1 to {_LONGEST} characters; it is {_said(value)}")
            return default
        return value

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str | None:
        value = self.take(name)
        if value is None:
            return default
        if value not in choices:
            self.wrong(name, f"must be one of {', '.join(choices)}{_hint(value, choices)}")
            return default
        return str(value)

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(name, f"must be true or false; it is {_said(value)}")
        return value is True

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(name, f"must be a whole number from {least} to {most}; it is {_said(value)}")
            return default
        return value

    def path(self, name: str, *, default: Path | None = None) -> Path | None:
        """A dotted path."""
        value = self.take(name)
        if value is None:
            return default
        try:
            return path_of(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def names(self, name: str) -> tuple[str, ...] | None:
        """A list of texts."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            self.wrong(name, f"must be a list of names; it is {_said(value)}")
            return None
        return tuple(value)

    def texts(self, name: str) -> Mapping[str, str]:
        """An object whose values are texts; numbers and booleans become what they look like."""
        found: dict[str, str] = {}
        for key, value in self.object(name).items():
            if isinstance(value, bool):
                found[key] = "true" if value else "false"
            elif isinstance(value, str | int | float) and not _CONTROL.search(f"{key}{value}"):
                found[key] = str(value)
            else:
                self.wrong(f"{name}.{key}", f"must be text without control characters; it is {_said(value)}")
        return found

    def object(self, name: str, *, needed: bool = False) -> JsonObject:
        value = self.take(name, needed=needed)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(name, f"must be an object; it is {_said(value)}")
            return {}
        return value

    def section(self, name: str, *, shorthand: str | None = None) -> Complaints | None:
        """An object with settings of its own; None where it is absent. `shorthand`: a text stands for an object with this one name."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, str) and shorthand is not None:
            value = {shorthand: value}
        if not isinstance(value, dict):
            self.wrong(name, f"must be an object; it is {_said(value)}")
            return None
        return Complaints(value, path=f"{self._path}{name}.", errors=self.errors)

    def url(self, name: str) -> str | None:
        """http or https, with a host, without user, query and fragment; answered without a slash at the end."""
        value = self.text(name, needed=True)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            port, host = parts.port, parts.hostname
        except ValueError:
            port = host = None
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not host or port == 0 or value != value.strip() or " " in value:
            self.wrong(name, "must be an address such as https://api.example.com/v1")
        elif parts.username is not None or parts.password is not None:
            self.wrong(name, "must hold no user name or password: a secret belongs into credential")
        elif parts.query or parts.fragment:
            self.wrong(name, "must hold no ? and no #")
        return value.rstrip("/")

    def finish(self) -> None:
        """Whatever nobody asked for is a mistake."""
        for name in self._settings:
            if name not in self._asked:
                known = f"; there are: {', '.join(sorted(self._asked))}"
                self.wrong(name, f"not a setting{_hint(name, self._asked) or known}")


def _hint(value: Json, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def _said(value: Json) -> str:
    return kind_of(value) if isinstance(value, dict | list | bool) or value is None else repr(value)[:60]
