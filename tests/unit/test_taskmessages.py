"""SyncTaskMessage: ours there and back, and those of the producers in use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from syncd.domain.errors import Invalid, NotUnderstood
from syncd.domain.taskmessages import TaskMessage, body_for, envelope_for, fields_of, foreign_origin, task_of_origin
from syncd.domain.tasks import SyncTask

NOW = 1_700_000_000.0
#: As the scheduler in use sends it.
THEIRS = {
    "integrationId": "github",
    "tenantId": "t",
    "connectionId": "gh",
    "syncMode": "pull",
    "priority": "normal",
    "correlationId": "tick-1",
    "enqueuedAt": "2023-11-14T22:13:20.000Z",
    "taskId": "5f0c",
}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(THEIRS),
        json.dumps(THEIRS).encode(),
        json.dumps(json.dumps(THEIRS)),
        json.dumps(json.dumps(THEIRS)).encode(),
        b"\xef\xbb\xbf" + json.dumps(THEIRS).encode(),
    ],
)
def test_a_body_is_read_encoded_once_or_twice_as_text_or_bytes(body: str | bytes) -> None:
    message = TaskMessage.of(fields_of(body), origin_id="17")
    assert (message.task_id, message.generation, message.named, message.mode) == ("5f0c", None, True, "pull")


@pytest.mark.parametrize("body", ["", "[]", "7", '"x"', "{", json.dumps(json.dumps(json.dumps(THEIRS))), b"\xff"])
def test_a_body_that_holds_no_object_is_not_understood(body: str | bytes) -> None:
    with pytest.raises(NotUnderstood):
        fields_of(body)


def test_ours_comes_back_as_it_was_sent() -> None:
    data: dict[str, Any] = {
        **{name: THEIRS[name] for name in ("integrationId", "tenantId", "connectionId")},
        "syncMode": "bidirectional",
        "priority": "low",
        "entityType": "issue",
        "full": True,
        "since": "2023-11-14T20:00:00.000Z",
        "generation": 3,
        "correlationId": "c",
    }
    task = SyncTask(data)
    envelope = envelope_for(data, "t.one", task, NOW, hop=2)
    message = TaskMessage.of(fields_of(body_for(data, "t.one", task, NOW)), origin_id=envelope.origin_id)
    assert (envelope.origin_id, envelope.hop, envelope.lane, envelope.group) == ("t.one~3", 2, "low", "t:gh")
    assert task_of_origin(envelope.origin_id) == ("t.one", 3)
    assert message == TaskMessage(
        tenant_id="t",
        integration_id="github",
        connection_id="gh",
        mode="bidirectional",
        priority="low",
        entity_type="issue",
        task_id="t.one",
        generation=3,
        correlation_id="c",
        origin_id="t.one~3",
        full=True,
        since=1_699_992_000.0,
        named=True,
    )


def test_the_origin_of_theirs_is_by_correlation_and_task_then_by_what_is_asked_then_by_number() -> None:
    origin = foreign_origin(THEIRS, "17")
    assert origin == foreign_origin({**THEIRS, "enqueuedAt": "later"}, "18")
    assert origin != foreign_origin({**THEIRS, "taskId": "other"}, "17")
    assert origin != foreign_origin({**THEIRS, "correlationId": "tick-2"}, "17")
    nameless = {name: value for name, value in THEIRS.items() if name != "taskId"}
    asked = foreign_origin(nameless, "17")
    assert asked == foreign_origin(nameless, "18")
    # One tick has one correlation: what differs is what is asked for.
    assert asked != foreign_origin({**nameless, "connectionId": "other"}, "17")
    assert asked != foreign_origin({**nameless, "entityType": "issue"}, "17")
    assert foreign_origin({**nameless, "correlationId": None}, "17") == "17"


def test_a_message_without_a_task_names_one_by_a_hash_below_its_tenant() -> None:
    nameless = {name: value for name, value in THEIRS.items() if name != "taskId"}
    message = TaskMessage.of(nameless, origin_id="17")
    assert (message.named, message.task_id) == (False, f"t.{message.origin_id}")
    document = message.task_document(NOW)
    assert (document["status"], document["generation"], document["origins"]) == (
        "queued",
        0,
        [[message.origin_id, 0]],
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tenantId": None}, "tenantId"),
        ({"integrationId": 7}, "integrationId"),
        ({"connectionId": ""}, "connectionId"),
        ({"syncMode": "sideways"}, "syncMode"),
        ({"syncMode": ["pull"]}, "syncMode"),
        ({"taskId": 7}, "taskId"),
        ({"entityType": {}}, "entityType"),
    ],
)
def test_what_is_wrong_in_a_message_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        TaskMessage.of({**THEIRS, **change}, origin_id="17")
    assert field in refused.value.errors


def test_an_unknown_priority_is_normal() -> None:
    assert TaskMessage.of({**THEIRS, "priority": "urgent"}, origin_id="17").priority == "normal"


@pytest.mark.parametrize("origin", ["", "x", "x~", "~1", "x~-1", "x~²"])
def test_the_origin_of_another_kind_of_message_names_no_task(origin: str) -> None:
    with pytest.raises(NotUnderstood):
        task_of_origin(origin)


@pytest.mark.parametrize("since", [5, "yesterday", ""])
def test_a_time_that_is_none_is_named(since: object) -> None:
    with pytest.raises(Invalid) as caught:
        TaskMessage.of({**THEIRS, "since": since}, origin_id="17")
    assert caught.value.errors == {"since": "an ISO 8601 time"}
