"""Webhooks. https://docs.github.com/webhooks: signature: webhooks/using-webhooks/validating-webhook-deliveries, payloads:
webhooks/webhook-events-and-payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from syncd.adapters.providers.github.content import CONTENTS, content_of
from syncd.domain.errors import NotUnderstood
from syncd.domain.events import ReceivedEvent, moment_of
from syncd.domain.jsonbody import parse_object
from syncd.domain.signatures import SignatureScheme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from syncd.domain.events import Operation
    from syncd.domain.jsontypes import Json, JsonObject

_SCHEME = SignatureScheme(
    name="github",
    header="x-hub-signature-256",
    prefix="sha256=",
    delivery_id_header="x-github-delivery",
    event_type_header="x-github-event",
    kept_headers=(
        "content-type",
        "x-github-event",
        "x-github-delivery",
        "x-github-hook-id",
        "x-github-hook-installation-target-type",
        "x-github-hook-installation-target-id",
    ),
    max_body_bytes=25 * 1024 * 1024,  # GitHub sends no more: webhooks/webhook-events-and-payloads, "payload cap"
)

_OPERATIONS: dict[str, Operation] = {
    "opened": "create",
    "created": "create",
    "published": "create",
    "added": "create",
    "purchased": "create",
    "submitted": "create",
    "queued": "create",
    "deleted": "delete",
    "transferred": "delete",
    "removed": "delete",
}
#: Events without an action whose name says what happened.
_EVENT_OPERATIONS: dict[str, Operation] = {"create": "create", "fork": "create", "delete": "delete"}
#: Names of events that are not the singular of their object.
_TYPES = {"issues": "issue", "create": "ref", "delete": "ref", "public": "repository", "meta": "hook"}
#: Where the object does not stand under the event's name, its singular, or the last word of it.
_KEYS = {
    "deployment_review": "workflow_run",
    "fork": "forkee",
    "org_block": "blocked_user",
    "page_build": "build",
    "public": "repository",
    "repository_import": "repository",
    "meta": "hook",
}
#: Around every event's own object.
_FRAME = ("action", "sender", "repository", "organization", "installation", "enterprise")
_TIMES = ("updated_at", "submitted_at", "completed_at", "started_at", "starred_at", "created_at", "timestamp")


class Webhooks:
    @property
    def scheme(self) -> SignatureScheme:
        return _SCHEME

    def event(self, headers: Mapping[str, str], body: bytes) -> ReceivedEvent | None:
        name = headers.get("x-github-event")
        if not name:
            raise NotUnderstood("the header x-github-event is missing")
        payload = _payload(headers.get("content-type", ""), body)
        if name == "ping":
            return None
        action = payload.get("action")
        identifier, found = _COMPOSED[name](payload) if name in _COMPOSED else _own_object(name, payload)
        entity_type = _TYPES.get(name, name)
        return ReceivedEvent(
            event_type=f"{name}.{action[:100]}" if isinstance(action, str) else name,
            entity_type=entity_type,
            entity_id=identifier,
            operation=_operation(name, action, payload),
            # What is also read over the REST API has the same shape here; everything else is kept as it came.
            data=content_of(entity_type, found) if entity_type in CONTENTS else found,
            occurred_at=_occurred_at(name, payload, found),
        )


def _payload(content_type: str, body: bytes) -> JsonObject:
    if not content_type.lower().startswith("application/x-www-form-urlencoded"):
        return parse_object(body)
    try:
        form = parse_qs(body.decode("ascii"), strict_parsing=True, errors="strict", max_num_fields=10)
    except ValueError:  # not ASCII, not UTF-8 behind its escapes, no pairs, too many
        raise NotUnderstood("the body is not a form") from None
    values = form.get("payload", [])
    if len(values) != 1:
        raise NotUnderstood(f"the form holds {len(values)} fields named payload; there must be one")
    return parse_object(values[0].encode())


def _operation(name: str, action: Json, payload: JsonObject) -> Operation:
    if name == "push":
        return "create" if payload.get("created") is True else "delete" if payload.get("deleted") is True else "update"
    if isinstance(action, str):
        return _OPERATIONS.get(action, "update")
    return _EVENT_OPERATIONS.get(name, "update")


def _own_object(name: str, payload: JsonObject) -> tuple[str, JsonObject]:
    """The general rule: the object under the event's own key, known by its repository and number, else by its id."""
    for key in (_KEYS.get(name), name, _TYPES.get(name), name.rpartition("_")[2]):
        found = payload.get(key) if key else None
        if isinstance(found, dict):
            own = found if "id" in found or "id" not in payload else {"id": payload["id"], **found}
            return _identifier(own, payload, key or name), own
    raise NotUnderstood(f"the event {name[:80]} holds no object that we know how to find")


def _identifier(found: JsonObject, payload: JsonObject, key: str) -> str:
    number = found.get("number")
    if _is_id(number) and isinstance(payload.get("repository"), dict):
        return f"{_repository_id(payload)}#{number}"
    account = found.get("account")  # a marketplace purchase is that of its account
    candidates = [found.get("id"), found.get("node_id"), found.get("ghsa_id")]
    for candidate in (*candidates, account.get("id") if isinstance(account, dict) else None):
        if _is_id(candidate):
            return str(candidate)
    raise NotUnderstood(f"the {key} has no id")


def _is_id(value: Json) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _id_of(payload: JsonObject, key: str) -> str:
    found = payload.get(key)
    identifier = found.get("id") if isinstance(found, dict) else None
    if not _is_id(identifier):
        raise NotUnderstood(f"the {key} is missing or has no id")
    return str(identifier)


def _repository_id(payload: JsonObject) -> str:
    return _id_of(payload, "repository")


def _brief(payload: JsonObject, key: str) -> JsonObject:
    """What identifies the repository, member or team that an object belongs to."""
    found = payload[key]
    return {name: found[name] for name in ("id", "node_id", "full_name", "login", "slug", "name") if name in found}


def _ref(payload: JsonObject) -> tuple[str, JsonObject]:
    ref = payload.get("ref")
    if not isinstance(ref, str) or not ref:
        raise NotUnderstood("the event names no ref")
    identifier = f"{_repository_id(payload)}:{ref}"
    own = {name: value for name, value in payload.items() if name not in _FRAME}
    return identifier, {**own, "repository": _brief(payload, "repository")}


def _pair(first: str, second: str, own: tuple[str, ...] = ()) -> Callable[[JsonObject], tuple[str, JsonObject]]:
    """An object that is only the tie between two others, such as a star or a membership."""

    def read(payload: JsonObject) -> tuple[str, JsonObject]:
        identifier = f"{_id_of(payload, first)}:{_id_of(payload, second)}"
        ties = {name: payload[name] for name in own if name in payload}
        return identifier, {first: _brief(payload, first), second: _brief(payload, second), **ties}

    return read


_COMPOSED: dict[str, Callable[[JsonObject], tuple[str, JsonObject]]] = {
    "create": _ref,
    "delete": _ref,
    "push": _ref,
    "member": _pair("repository", "member"),
    "membership": _pair("team", "member", ("scope",)),
    "star": _pair("repository", "sender", ("starred_at",)),
    "team_add": _pair("repository", "team"),
    "watch": _pair("repository", "sender"),
}


def _occurred_at(name: str, payload: JsonObject, data: JsonObject) -> float | None:
    """The first time that the object itself gives; for what has none, that of its repository."""
    for field in _TIMES:
        value = data.get(field)
        if value is not None:
            return moment_of(value, field)
    if payload.get("effective_date") is not None:  # marketplace_purchase
        return moment_of(payload["effective_date"], "effective_date")
    repository = payload.get("repository")
    if not isinstance(repository, dict) or name not in _COMPOSED:
        return None
    # A push's commits carry the times of their authors, which a forced push moves backwards; the repository's does not. Making
    # and deleting a ref are pushes too.
    field = "pushed_at" if _COMPOSED[name] is _ref else "updated_at"
    return None if repository.get(field) is None else moment_of(repository[field], field)
