from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from syncd.adapters.providers.github import PROVIDER
from syncd.domain.errors import NotUnderstood
from syncd.domain.events import ReceivedEvent
from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import iso_or_none

DATA = next(
    (path for up in Path(__file__).parents if (path := up.parent / "shared/data/github_webhooks.json").is_file()), None
)
REPOSITORY = {"id": 7, "full_name": "o/r", "updated_at": "2024-01-01T00:00:00Z", "pushed_at": "2024-01-02T00:00:00Z"}

#: event -> for each of its real payloads: eventType, entityType, entityId, operation, occurredAt
EXPECTED: dict[str, list[tuple[str, str, str, str, str | None]]] = {
    "check_suite": [("check_suite.completed", "check_suite", "118578147", "update", "2019-05-15T15:21:14.000Z")] * 3,
    "create": [("create", "ref", "186853002:simple-tag", "create", "2019-05-15T15:20:56.000Z")] * 3,
    "deployment_review": [
        ("deployment_review.requested", "deployment_review", "5453085689", "update", "2023-07-04T09:28:15.000Z")
    ],
    "discussion": [
        ("discussion.created", "discussion", "17273051#90", "create", "2021-03-29T14:16:08.000Z"),
        ("discussion.answered", "discussion", "186853002#4", "update", "2021-03-30T23:17:18.000Z"),
        ("discussion.category_changed", "discussion", "186853002#4", "update", "2021-03-30T20:35:35.000Z"),
    ],
    "fork": [("fork", "fork", "186853261", "create", "2019-05-15T15:20:41.000Z")] * 3,
    "issue_comment": [("issue_comment.created", "issue_comment", "492700400", "create", "2019-05-15T15:20:21.000Z")]
    * 3,
    "issues": [
        ("issues.edited", "issue", "186853002#1", "update", "2019-05-15T15:20:18.000Z"),
        ("issues.assigned", "issue", "186853002#1", "update", "2019-05-15T15:20:18.000Z"),
        ("issues.assigned", "issue", "186853002#1", "update", "2019-05-15T15:20:18.000Z"),
    ],
    "marketplace_purchase": [
        ("marketplace_purchase.purchased", "marketplace_purchase", "18404719", "create", "2017-10-25T00:00:00.000Z"),
        ("marketplace_purchase.cancelled", "marketplace_purchase", "28536653", "update", "2017-10-25T00:00:00.000Z"),
        ("marketplace_purchase.changed", "marketplace_purchase", "18404719", "update", "2017-10-25T00:00:00.000Z"),
    ],
    "membership": [
        ("membership.removed", "membership", "3253328:21031067", "delete", None),
        ("membership.added", "membership", "3253328:21031067", "create", None),
        ("membership.removed", "membership", "3253328:21031067", "delete", None),
    ],
    "org_block": [("org_block.blocked", "org_block", "39652351", "update", None)] * 3,
    "page_build": [("page_build", "page_build", "130514899", "update", "2019-05-15T15:20:40.000Z")] * 3,
    "pull_request": [
        ("pull_request.opened", "pull_request", "186853002#2", "create", "2019-05-15T15:20:33.000Z"),
        ("pull_request.assigned", "pull_request", "186853002#2", "update", "2019-05-15T15:20:33.000Z"),
        ("pull_request.assigned", "pull_request", "186853002#2", "update", "2019-05-15T15:20:33.000Z"),
    ],
    "pull_request_review_thread": [
        ("pull_request_review_thread.resolved", "pull_request_review_thread", "PRRT_kwDOEL39TM4w7XDQ", "update", None),
        ("pull_request_review_thread.resolved", "pull_request_review_thread", "PRRT_kwDOFd42Pc4rQOUv", "update", None),
        (
            "pull_request_review_thread.unresolved",
            "pull_request_review_thread",
            "PRRT_kwDOFd42Pc4rQOUv",
            "update",
            None,
        ),
    ],
    "push": [
        ("push", "push", "186853002:refs/tags/simple-tag", "create", "2019-05-15T15:20:57.000Z"),
        ("push", "push", "186853002:refs/tags/simple-tag", "delete", "2019-05-15T15:20:57.000Z"),
        ("push", "push", "186853002:refs/tags/simple-tag", "delete", "2019-05-15T15:20:57.000Z"),
    ],
    "repository": [
        ("repository.publicized", "repository", "186853002", "update", "2019-05-15T15:21:03.000Z"),
        ("repository.created", "repository", "186853261", "create", "2019-05-15T15:20:41.000Z"),
        ("repository.created", "repository", "186853261", "create", "2019-05-15T15:20:41.000Z"),
    ],
    "repository_import": [("repository_import", "repository_import", "135493233", "update", "2018-05-30T20:18:49.000Z")]
    * 2,
    "star": [
        ("star.created", "star", "186853002:21031067", "create", "2019-05-15T15:20:40.000Z"),
        ("star.created", "star", "186853002:21031067", "create", "2019-05-15T15:20:40.000Z"),
        ("star.deleted", "star", "186853002:21031067", "delete", "2019-05-15T15:20:41.000Z"),
    ],
    "team": [
        ("team.added_to_repository", "team", "3253328", "update", None),
        ("team.added_to_repository", "team", "3253328", "update", None),
        ("team.created", "team", "3253328", "create", None),
    ],
    "workflow_job": [
        ("workflow_job.in_progress", "workflow_job", "2832853555", "update", "2021-06-15T19:22:27.000Z"),
        ("workflow_job.completed", "workflow_job", "289782451", "update", "2021-08-05T10:38:16.000Z"),
        ("workflow_job.completed", "workflow_job", "289782451", "update", "2021-08-05T10:38:16.000Z"),
    ],
}


def read(name: str | None, payload: Any, content_type: str = "application/json") -> ReceivedEvent | None:
    webhooks = PROVIDER.webhooks
    assert webhooks is not None
    headers = {"content-type": content_type, **({} if name is None else {"x-github-event": name})}
    return webhooks.event(headers, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def real() -> list[Any]:
    if DATA is None:
        return [pytest.param("", [], marks=pytest.mark.skip(reason="the real payloads (shared/data) are not here"))]
    return [pytest.param(one["event"], one["payloads"], id=one["event"]) for one in json.loads(DATA.read_text())]


@pytest.mark.parametrize(("name", "payloads"), real())
def test_every_real_payload_is_read_as_expected(name: str, payloads: list[JsonObject]) -> None:
    found = [read(name, payload) for payload in payloads]
    if name == "ping":
        assert found == [None] * len(payloads)
        return
    assert [
        (one.event_type, one.entity_type, one.entity_id, one.operation, iso_or_none(one.occurred_at))
        for one in found
        if one is not None
    ] == EXPECTED[name]


@pytest.mark.parametrize(("name", "payloads"), real())
def test_every_real_payload_reads_the_same_from_a_form(name: str, payloads: list[JsonObject]) -> None:
    for payload in payloads:
        form = urlencode({"payload": json.dumps(payload)}).encode()
        assert read(name, form, "application/x-www-form-urlencoded") == read(name, payload)


def test_what_is_no_type_of_the_rest_interface_is_kept_as_it_came() -> None:
    milestone = {"id": 1, "number": 4, "title": "t", "updated_at": "2024-05-01T10:00:00Z", "creator": {"id": 9}}
    event = read("milestone", {"action": "created", "milestone": milestone, "repository": REPOSITORY})
    assert event is not None
    assert (event.data, event.entity_id, event.operation) == (milestone, "7#4", "create")


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("label", {"action": "created", "label": {"id": 5}}, ("label", "5", "create")),
        ("milestone", {"action": "closed", "milestone": {"id": 5, "number": 2}, "repository": REPOSITORY}, ("milestone", "7#2", "update")),
        ("pull_request_review", {"action": "submitted", "review": {"id": 9}}, ("pull_request_review", "9", "create")),
        ("dependabot_alert", {"action": "fixed", "alert": {"number": 3}, "repository": REPOSITORY}, ("dependabot_alert", "7#3", "update")),
        ("security_advisory", {"action": "published", "security_advisory": {"ghsa_id": "GHSA-1"}}, ("security_advisory", "GHSA-1", "create")),
        ("delete", {"ref": "b", "ref_type": "branch", "repository": REPOSITORY}, ("ref", "7:b", "delete")),
        ("issues", {"action": "transferred", "issue": {"id": 1, "number": 4}, "repository": REPOSITORY}, ("issue", "7#4", "delete")),
        ("issues", {"action": "reopened", "issue": {"id": 1}}, ("issue", "1", "update")),
        ("public", {"repository": REPOSITORY}, ("repository", "7", "update")),
        ("member", {"action": "added", "member": {"id": 2}, "repository": REPOSITORY}, ("member", "7:2", "create")),
        ("installation", {"action": "deleted", "installation": {"id": 8}}, ("installation", "8", "delete")),
        ("brand_new_thing", {"action": "created", "brand_new_thing": {"node_id": "X_1"}}, ("brand_new_thing", "X_1", "create")),
    ],
)  # fmt: skip
def test_the_general_rule_reads_what_has_a_recognisable_object(
    name: str, payload: JsonObject, expected: tuple[str, str, str]
) -> None:
    event = read(name, payload)
    assert event is not None
    assert (event.entity_type, event.entity_id, event.operation) == expected


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        (None, {}, "x-github-event is missing"),
        ("issues", b"", "empty"),
        ("issues", b"\xff", "not UTF-8"),
        ("issues", [], "an array"),
        ("issues", {}, "no object"),
        ("issues", {"issue": []}, "no object"),
        ("issues", {"issue": {"title": "t"}}, "no id"),
        ("issues", {"issue": {"id": True}}, "no id"),
        ("issues", {"issue": {"id": 1, "number": 2}, "repository": {}}, "repository is missing or has no id"),
        ("issues", {"issue": {"id": 1, "updated_at": "yesterday"}}, "not a time"),
        ("issues", {"issue": {"id": 1, "updated_at": {}}}, "must be a time"),
        ("issues", {"issue": {"id": 1, "updated_at": 1e300}}, "not a time"),
        ("issues", {"issue": {"id": 10**599}}, "longer than"),
        ("push", {"ref": "refs/heads/main"}, "repository is missing"),
        ("push", {"repository": REPOSITORY}, "names no ref"),
        ("star", {"repository": REPOSITORY}, "sender is missing"),
        ("workflow_dispatch", {"inputs": {}, "ref": "main"}, "no object"),
        ("a b", {"a b": {"id": 1}}, "cannot be the type"),
        ("issues", b'{"issue":{"id":1,"id":2}}', "twice"),
        ("issues", b"[" * 1_000, "nested"),
    ],
)
def test_what_cannot_be_read_says_why(name: str | None, payload: Any, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        read(name, payload)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (b"", "form"),
        (b"payload", "not a form"),
        (b"payload=%ff", "not a form"),
        ("payload=ü".encode(), "not a form"),
        (b"other=1", "0 fields named payload"),
        (b"payload=%7B%7D&payload=%7B%7D", "2 fields named payload"),
        (b"payload=%7B", "not JSON"),
        (b"&".join(b"a%d=1" % number for number in range(20)), "not a form"),
    ],
)
def test_a_form_that_is_none_says_why(form: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        read("issues", form, "application/x-www-form-urlencoded")
