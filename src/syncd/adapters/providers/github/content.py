"""What we keep of GitHub's objects: one shape per type, the same from a list, a single read, a write's answer and a webhook.

Left out is what changes by itself (`updated_at`, counts), what says nothing (node ids, addresses of the API), and what not every
source has. Times are ISO 8601 with milliseconds, people are logins, labels are names; both are sorted, because GitHub's order of
them means nothing. What is absent reads as null, or as an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from syncd.domain.errors import NotUnderstood
from syncd.domain.events import moment_of
from syncd.domain.jsonbody import kind_of
from syncd.domain.times import iso

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json, JsonObject

ISSUE, PULL_REQUEST, COMMENT, REPOSITORY = "issue", "pull_request", "issue_comment", "repository"

#: In the body of what we made, unseen on GitHub's pages: which create made it.
_MARKER = re.compile(r"(?:\r?\n){0,2}<!-- syncd:([0-9a-f]{32}) -->")
_ISSUE_URL = re.compile(r"/issues/([1-9][0-9]{0,18})$")


def marked(body: str | None, key: str) -> str:
    """`body` as it is sent by the create with this key; reading it gives `body` back."""
    return f"{body}\n\n<!-- syncd:{key} -->" if body else f"<!-- syncd:{key} -->"


def key_in(body: Json) -> str | None:
    """The key of the create that made the object with this body, as far as nobody has rewritten it since."""
    found = _MARKER.search(body) if isinstance(body, str) else None
    return found[1] if found else None


def content_of(kind: str, found: JsonObject) -> JsonObject:
    """The content of an object of this type, which must be one of CONTENTS. Raises NotUnderstood."""
    return {name: read(found, name) for name, read in CONTENTS[kind].items()}


def identifier_of(kind: str, found: JsonObject, repository_id: str) -> str:
    """Its external id (interface, "Events"). Raises NotUnderstood."""
    name = "number" if kind in (ISSUE, PULL_REQUEST) else "id"
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise NotUnderstood(f"the {kind} has no {name}")
    return f"{repository_id}#{value}" if name == "number" else str(value)


def _text(found: JsonObject, name: str) -> str | None:
    value = found.get(name)
    if value is None or isinstance(value, str):
        return value
    raise NotUnderstood(f"{name} must be text; it is {kind_of(value)}")


def _prose(found: JsonObject, name: str) -> str | None:
    """GitHub shows an empty text now as "", now as null."""
    value = _text(found, name)
    return (_MARKER.sub("", value) or None) if value else None


def _flag(found: JsonObject, name: str) -> bool | None:
    value = found.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise NotUnderstood(f"{name} must be true or false; it is {kind_of(value)}")


def _count(found: JsonObject, name: str) -> int | None:
    value = found.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise NotUnderstood(f"{name} must be a whole number; it is {kind_of(value)}")


def _moment(found: JsonObject, name: str) -> str | None:
    value = found.get(name)
    return None if value is None else iso(moment_of(value, name))


def _login(found: JsonObject, name: str) -> str | None:
    return _named(found.get(name), name, "login")


def _named(value: Json, name: str, by: str) -> str | None:
    """What `by` says in an object; null stays null (a person whose account is gone)."""
    if value is None:
        return None
    inner = value.get(by) if isinstance(value, dict) else value
    if isinstance(inner, str) or (inner is None and isinstance(value, dict)):
        return inner
    raise NotUnderstood(f"{name} must be an object with a {by}; it is {kind_of(value)}")


def _all_named(by: str) -> Callable[[JsonObject, str], list[str]]:
    def read(found: JsonObject, name: str) -> list[str]:
        values = found.get(name) or []
        if not isinstance(values, list):
            raise NotUnderstood(f"{name} must be a list; it is {kind_of(values)}")
        names = {_named(value, name, by) for value in values}
        return sorted(one for one in names if one is not None)

    return read


def _inside(
    key: str, name: str, read: Callable[[JsonObject, str], str | int | None]
) -> Callable[[JsonObject, str], str | int | None]:
    """A field of an inner object."""

    def read_inner(found: JsonObject, _name: str) -> str | int | None:
        inner = found.get(key)
        if inner is None:
            return None
        if not isinstance(inner, dict):
            raise NotUnderstood(f"{key} must be an object; it is {kind_of(inner)}")
        return read(inner, name)

    return read_inner


def _issue_of(found: JsonObject, _name: str) -> int | None:
    """The number of the issue or pull request that a comment belongs to; a comment tells it by an address only."""
    url = _text(found, "issue_url")
    number = _ISSUE_URL.search(url) if url is not None else None
    return int(number[1]) if number else None


_logins, _names = _all_named("login"), _all_named("name")
_DISCUSSED: Mapping[str, Callable[[JsonObject, str], Json]] = {
    "id": _count,
    "number": _count,
    "title": _text,
    "body": _prose,
    "state": _text,
    "labels": _names,
    "assignees": _logins,
    "milestone": _inside("milestone", "number", _count),
    "locked": _flag,
    "user": _login,
    "html_url": _text,
    "created_at": _moment,
    "closed_at": _moment,
}

#: By type of object: field -> how it is read from what GitHub shows.
CONTENTS: Mapping[str, Mapping[str, Callable[[JsonObject, str], Json]]] = {
    ISSUE: {**_DISCUSSED, "state_reason": _text},
    PULL_REQUEST: {
        **_DISCUSSED,
        "draft": _flag,
        "base": _inside("base", "ref", _text),
        "head": _inside("head", "ref", _text),
        "head_sha": _inside("head", "sha", _text),
        "requested_reviewers": _logins,
        "merged_at": _moment,
    },
    COMMENT: {
        "id": _count,
        "issue": _issue_of,
        "body": _prose,
        "user": _login,
        "html_url": _text,
        "created_at": _moment,
    },
    REPOSITORY: {
        "id": _count,
        "name": _text,
        "full_name": _text,
        "owner": _login,
        "description": _prose,
        "homepage": _prose,
        "default_branch": _text,
        "topics": _all_named("name"),
        "license": _inside("license", "spdx_id", _text),
        "private": _flag,
        "visibility": _text,
        "fork": _flag,
        "archived": _flag,
        "has_issues": _flag,
        "has_projects": _flag,
        "has_wiki": _flag,
        "html_url": _text,
        "created_at": _moment,
    },
}
