"""The header `Link` (RFC 8288), read without regular expressions over it: in one pass, whatever a server sends."""

from __future__ import annotations

from collections.abc import Iterator

#: Characters of the header that are read. Next links are a few hundred; the session refuses headers above 8 KB anyway.
_MOST = 16_384


def target_of(header: str, relation: str) -> str | None:
    """The first link's target with this relation type, as it stands there: it may be relative."""
    for target, relations in links(header):
        if relation in relations:
            return target
    return None


def links(header: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Target and relation types, in lower case, of each link. What is no link is passed over."""
    text = header[:_MOST]
    at = 0
    while (start := text.find("<", at)) >= 0:
        end = text.find(">", start)
        if end < 0:
            return
        relations, at = _relations(text, end + 1)
        yield text[start + 1 : end].strip(), relations


def _relations(text: str, at: int) -> tuple[frozenset[str], int]:
    """Those of the parameters from `at` on, and where the link ends: at a comma outside quotes."""
    relations: str | None = None
    while at < len(text) and text[at] != ",":
        start = at
        while at < len(text) and text[at] not in ',;="':
            at += 1
        name = text[start:at].strip().lower()
        value = ""
        if at < len(text) and text[at] == "=":
            value, at = _value(text, at + 1)
        elif at < len(text) and text[at] == '"':
            value, at = _quoted(text, at)
        if at < len(text) and text[at] == ";":
            at += 1
        if name == "rel" and relations is None:  # only the first counts (3.3)
            relations = value
    return frozenset((relations or "").lower().split()), at


def _value(text: str, at: int) -> tuple[str, int]:
    while at < len(text) and text[at] in " \t":
        at += 1
    if at < len(text) and text[at] == '"':
        return _quoted(text, at)
    start = at
    while at < len(text) and text[at] not in ",;":
        at += 1
    return text[start:at].strip(), at


def _quoted(text: str, at: int) -> tuple[str, int]:
    """The quoted string that begins at `at`, and the place behind it."""
    characters: list[str] = []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        characters.append(text[at])
        at += 1
    return "".join(characters), at + 1
