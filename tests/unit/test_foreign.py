from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import NotUnderstood
from syncd.domain.foreign import OutboundChange, envelope_of, kind_of
from syncd.domain.ids import digest
from syncd.domain.messages import MESSAGE_LIFETIME, Envelope
from syncd.domain.taskmessages import TaskMessage, fields_of

TASK = {
    "integrationId": "salesforce",
    "tenantId": "tenant-1",
    "connectionId": "conn-1",
    "syncMode": "pull",
    "priority": "high",
    "correlationId": "tick-1",
    "taskId": "task-1",
}
EVENT = {
    "integrationId": "salesforce",
    "tenantId": "tenant-1",
    "eventType": "contact.updated",
    "entityType": "contact",
    "entityId": "7",
    "operation": "update",
    "data": {"name": "Ada"},
}
CHANGE = {"integrationId": "salesforce", "entityId": "entity-001", "operation": "create", "changes": {"name": "John"}}


def enveloped(body: object, queue: str = "sync-outbound", sequence: str = "17", **properties: object) -> Envelope:
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    return envelope_of(queue, text, properties, sequence, now=1_700_000_000.0)


@pytest.mark.parametrize(("fields", "kind"), [(TASK, "task"), (EVENT, "webhook"), (CHANGE, "change")])
@pytest.mark.parametrize("queue", ["sync-inbound", "sync-outbound"])
@pytest.mark.parametrize("encode", [str.encode, str, lambda text: json.dumps(text).encode(), json.dumps])
def test_a_body_is_recognised_however_often_it_was_encoded(
    fields: dict[str, Any], kind: str, queue: str, encode: Any
) -> None:
    envelope = enveloped(encode(json.dumps(fields)), queue)
    assert envelope.kind == kind
    assert envelope.tenant_id == fields.get("tenantId")
    assert envelope.expires_at == 1_700_000_000.0 + MESSAGE_LIFETIME
    assert envelope == enveloped(fields, queue)


def test_a_task_is_known_by_its_correlation_and_task_and_lies_in_the_lane_of_its_priority() -> None:
    envelope = enveloped(TASK, "sync-inbound")
    assert envelope.origin_id == digest("tick-1", "task-1")
    assert (envelope.lane, envelope.group, envelope.correlation_id) == ("high", "tenant-1:conn-1", "tick-1")
    assert enveloped({**TASK, "enqueuedAt": "2024-01-01T00:00:00Z"}).origin_id == envelope.origin_id
    assert enveloped({**TASK, "taskId": "task-2"}).origin_id != envelope.origin_id


@pytest.mark.parametrize("fields", [TASK, {k: v for k, v in TASK.items() if k not in ("taskId", "correlationId")}])
def test_the_handler_of_tasks_sees_the_origin_of_the_envelope(fields: dict[str, Any]) -> None:
    envelope = enveloped(fields, "sync-inbound")
    assert TaskMessage.of(fields_of(json.dumps(fields)), origin_id=envelope.origin_id).origin_id == envelope.origin_id


def test_what_the_body_leaves_out_is_in_the_properties() -> None:
    envelope = enveloped(CHANGE, correlationId="run-1", tenantId="tenant-1", connectionId="c", priority=3)
    assert (envelope.tenant_id, envelope.connection_id, envelope.correlation_id) == ("tenant-1", "c", "run-1")
    assert envelope.origin_id == enveloped({**CHANGE, "correlationId": "run-1"}).origin_id
    assert enveloped({**CHANGE, "tenantId": "tenant-2"}, tenantId="tenant-1").tenant_id == "tenant-2"


def test_two_messages_of_one_correlation_are_one_only_where_they_ask_for_the_same() -> None:
    first = enveloped(CHANGE, sequence="1", correlationId="run-1")
    assert enveloped(dict(reversed(CHANGE.items())), sequence="2", correlationId="run-1").origin_id == first.origin_id
    others: list[dict[str, Any]] = [
        {**CHANGE, "entityId": "entity-002"},
        {**CHANGE, "operation": "update"},
        {**CHANGE, "changes": {"name": "Jane"}},
        {**CHANGE, "correlationId": "run-2"},
        {**CHANGE, "entityType": "contact", "data": CHANGE["changes"]},
    ]
    origins = {enveloped(one, correlationId="run-1").origin_id for one in others}
    assert len(origins | {first.origin_id}) == len(others) + 1


def test_without_a_correlation_each_message_is_its_own() -> None:
    assert enveloped(CHANGE, sequence="17").origin_id == "sync-outbound:17"
    assert enveloped(TASK | {"correlationId": ""}, "sync-inbound", "17").origin_id == "sync-inbound:17"


@pytest.mark.parametrize(
    ("body", "queue", "kind"),
    [
        (b"\xff\xfe", "sync-outbound", "change"),
        (b"", "sync-inbound", "task"),
        (b"[1]", "sync-outbound", "change"),
        (b'"\\"twice more\\""', "sync-outbound", "change"),
        (b'{"hello": 1}', "sync-inbound", "task"),
    ],
)
def test_what_cannot_be_read_goes_to_a_handler_that_says_so(body: bytes, queue: str, kind: str) -> None:
    envelope = enveloped(body, queue)
    assert (envelope.kind, envelope.origin_id) == (kind, f"{queue}:17")


@given(
    fields=st.dictionaries(
        st.sampled_from([*TASK, *EVENT, *CHANGE]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.none(), max_size=1) | st.just({"a": 1}),
    ),
    properties=st.dictionaries(st.sampled_from([*TASK, "traceparent"]), st.integers() | st.text() | st.binary()),
)
def test_no_message_is_without_an_envelope(fields: dict[str, Any], properties: dict[str, Any]) -> None:
    envelope = enveloped(fields, **properties)
    assert Envelope.from_json(json.loads(json.dumps(envelope.to_json()))) == envelope


def test_what_is_none_of_them_is_named_with_what_it_lacks() -> None:
    with pytest.raises(NotUnderstood, match="OutboundChange"):
        kind_of("sync-outbound", {"hello": 1})
    with pytest.raises(NotUnderstood, match="not on reports"):
        kind_of("reports", TASK)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"entityId": ""}, "entityId"),
        ({"entityId": True}, "entityId"),
        ({"entityId": "x" * 501}, "entityId"),
        ({"operation": "merge"}, "operation"),
        ({"operation": None}, "operation"),
        ({"changes": [1]}, "changes"),
        ({"changes": None}, "changes"),
        ({"tenantId": 7}, "tenantId"),
    ],
)
def test_a_change_that_cannot_be_one_is_refused_with_the_field(more: dict[str, Any], named: str) -> None:
    with pytest.raises(NotUnderstood, match=named):
        OutboundChange.of({**CHANGE, **more})


def test_a_change_may_have_a_number_for_an_id_and_a_delete_no_changes() -> None:
    change = OutboundChange.of({"entityId": 7, "operation": "delete", "integrationId": ""})
    assert (change.entity_id, change.changes, change.integration_id) == ("7", {}, None)
