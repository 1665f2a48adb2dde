"""Taking secrets out of whatever is about to be written: by type, by the name they are under, by how they look, by value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from math import isfinite
from urllib.parse import quote, quote_plus

from syncd.domain.secrets import Secret

MASK = "***"
#: Shorter values are not searched for: they would blank out half of every line, and they protect nothing.
SHORTEST = 6
#: How far a value is followed and how much of it is written: a log line is no dump.
DEPTH = 8
ITEMS = 100
CHARACTERS = 16_384

_SENSITIVE = re.compile(
    r"authorization|token|secret|password|passwd|passphrase|signature|cookie|credential"
    r"|connection_?str|api_?key|access_?key|private_?key|account_?key|shared_?key|hub_verify"
)
#: Names that the pattern meets and that hold no secret.
_HARMLESS = frozenset({"tokens", "credential_id", "token_endpoint", "token_type", "secret_name", "secret_version"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Secrets inside text, whatever they are called around it; group 1 stays.
_SHAPES = (
    re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?i)((?:account_?key|shared_?access_?key|shared_?access_?signature|client_?secret|api[_-]?key|authorization"
        r"|\b(?:x-sync-|access_?|refresh_?|id_)?token|passw(?:or)?d|\bsecret|\bsig|[?&]code)[\"']?\s*[=:]\s*[\"']?)"
        r"(?!\*\*\*)[^\s\"'&;,<>]{4,}"
    ),
    re.compile(r"(://[^/\s:@]{1,100}:)[^/\s@]+(?=@)"),
)


class KnownSecrets:
    """Values that must never be written, in the forms in which they turn up: as they are, in a URL, in JSON, in a repr.

    A deployment has one for each webhook and connection, so neither adding one nor looking for them may take longer the more
    there are. What begins like one of them (its first SHORTEST characters) is cut to the lengths that such ones have, and looked
    up. Thread-safe: a form is in the set before its length is told, and lengths are replaced as a whole.
    """

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._lengths: dict[str, tuple[int, ...]] = {}

    def add(self, *values: Secret | str | None) -> None:
        for value in values:
            text = value.reveal() if isinstance(value, Secret) else value
            if text and len(text) >= SHORTEST:
                for form in (text, *(line for line in text.splitlines() if len(line) >= SHORTEST)):
                    self._add_forms(form)

    def _add_forms(self, form: str) -> None:
        forms = {form, quote(form), quote(form, safe=""), quote_plus(form)}
        forms |= {json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1], repr(form)[1:-1]}
        for one in forms:
            self._forms.add(one)
            lengths = self._lengths.get(one[:SHORTEST], ())
            if len(one) not in lengths:
                # Longest first: a secret that begins with another must go whole.
                self._lengths[one[:SHORTEST]] = tuple(sorted((*lengths, len(one)), reverse=True))

    def cleaned(self, text: str) -> str:
        known, forms = self._lengths, self._forms
        if not known:
            return text
        kept: list[str] = []
        begin = at = 0
        last = len(text) - SHORTEST
        while at <= last:
            lengths = known.get(text[at : at + SHORTEST])
            found = lengths and next((length for length in lengths if text[at : at + length] in forms), 0)
            if not found:
                at += 1
                continue
            kept += (text[begin:at], MASK)
            begin = at = at + found
        return "".join((*kept, text[begin:])) if kept else text


class Redaction:
    """Makes any value fit to be written: secrets masked at every depth, sizes bounded, nothing left that JSON cannot hold."""

    def __init__(self, known: KnownSecrets) -> None:
        self._known = known

    def text(self, text: str) -> str:
        # By value before shapes and cutting: a value that was cut or partly masked would not be found any more.
        text = self._known.cleaned(text)
        for shape in _SHAPES:
            text = shape.sub(rf"\1{MASK}", text)
        return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}… ({len(text)} characters)"

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        return {self.text(str(key)): self._field(str(key), value, DEPTH) for key, value in fields.items()}

    def _field(self, key: str, value: object, depth: int) -> object:
        if value is not None and not isinstance(value, bool) and sensitive(key):
            return MASK
        return self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if isfinite(value) else str(value)  # JSON has no NaN
        if isinstance(value, Secret):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {_shown(value)}")
        if depth == 0:
            return "…"
        if isinstance(value, Mapping):
            return self._mapping(value, depth - 1)
        if isinstance(value, Sequence | Set):
            return self._items(value, depth - 1)
        return self.text(_shown(value))

    def _mapping(self, mapping: Mapping[object, object], depth: int) -> dict[str, object]:
        cleaned: dict[str, object] = {}
        for key, value in mapping.items():
            if len(cleaned) == ITEMS:
                cleaned["…"] = f"{len(mapping)} fields"
                break
            cleaned[self.text(str(key))] = self._field(str(key), value, depth)
        return cleaned

    def _items(self, items: Sequence[object] | Set[object], depth: int) -> list[object]:
        # (name, value) pairs are fields, too: that is how headers travel.
        cleaned: list[object] = []
        for item in items:
            if len(cleaned) == ITEMS:
                cleaned.append(f"… ({len(items)} items)")
                break
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str | bytes):
                name = item[0] if isinstance(item[0], str) else item[0].decode("latin-1")
                cleaned.append([self.text(name), self._field(name, item[1], depth)])
            else:
                cleaned.append(self._value(item, depth))
        return cleaned


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - an object that cannot show itself must not cost the line
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def sensitive(key: str) -> bool:
    """Does a value under this name look like a secret?"""
    name = _CAMEL.sub("_", key).lower().replace("-", "_").replace(" ", "_").replace(".", "_")
    return bool(_SENSITIVE.search(name)) and name not in _HARMLESS
