"""How the Service Bus double reads what is on the wire: proton's encoding by example, anything at all by hypothesis."""

from __future__ import annotations

from uuid import UUID

import proton
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.servicebus import message as wire
from tests.wire.servicebus.encoding import Malformed

ANY_VALUE = {
    "null": None,
    "true": True,
    "int": proton.int32(-7),
    "long": -(2**40),
    "ulong": proton.ulong(2**63),
    "uint": proton.uint(300),
    "byte": proton.byte(-3),
    "float": 0.5,
    "float32": proton.float32(0.25),
    "text": "grüße" * 100,
    "bytes": b"\x00\xff" * 200,
    "symbol": proton.symbol("s"),
    "uuid": UUID(int=7),
    "time": proton.timestamp(1_700_000_000_000),
    "list": [1, "two", [3]],
    "map": {"a": {"b": 1}},
}


def encoded(**fields: object) -> bytes:
    return bytes(proton.Message(**fields).encode())


@pytest.mark.parametrize("name", ANY_VALUE)
def test_each_type_of_property_is_read_as_proton_wrote_it(name: str) -> None:
    value = ANY_VALUE[name]
    read = wire.parse(encoded(body="x", properties={"before": 1, name: value, "after": 2})).application_properties
    assert read == {"before": 1, name: value, "after": 2}


def test_what_the_broker_adds_is_all_that_changes() -> None:
    annotations = {proton.symbol("x-opt-partition-key"): "p", proton.symbol("x-opt-sequence-number"): 99}
    sent = proton.Message(
        body=b"body",
        inferred=True,
        id="m",
        subject="s",
        group_id="g",
        priority=7,
        ttl=5.0,
        properties={"k": 1},
        annotations=annotations,
    )
    message = wire.parse(bytes(sent.encode()))
    assert (message.message_id, message.session_id, message.priority, message.ttl) == ("m", "g", 7, 5.0)
    got = proton.Message()
    got.decode(wire.encode(message, sequence=5, enqueued_at=1.5, deliveries=2, ttl=message.ttl, locked_until=2.5))
    assert (got.body, got.id, got.subject, got.group_id, got.properties) == (b"body", "m", "s", "g", {"k": 1})
    assert (got.priority, got.ttl, got.delivery_count) == (7, 5.0, 2)
    assert got.annotations == {
        "x-opt-sequence-number": 5,
        "x-opt-enqueued-time": 1500,
        "x-opt-locked-until": 2500,
        "x-opt-partition-key": "p",
    }


def test_dead_lettering_adds_to_the_properties_and_replaces_its_own() -> None:
    message = wire.parse(encoded(body=b"x", properties={"k": 1}))
    once = message.with_properties({"DeadLetterReason": "first"})
    assert once.application_properties == {"k": 1, "DeadLetterReason": "first"}
    assert once.with_properties({"DeadLetterReason": "second"}).application_properties["DeadLetterReason"] == "second"
    bare = wire.parse(encoded(body=b"x")).with_properties({"DeadLetterReason": "r"})
    assert bare.application_properties == {"DeadLetterReason": "r"}


@pytest.mark.parametrize(
    "unit", [b"\x00", b"\x00\x53\x70", b"\xd0\x00\x00\x00\x04\x00\x00\x00\x01", b"\xc1\x02\x02\x45\x45"]
)
def test_nesting_without_end_is_malformed(unit: bytes) -> None:
    for raw in (unit * 60_000, b"\x00\x53\x74" + unit * 60_000):
        with pytest.raises(Malformed):
            wire.parse(raw)
        assert wire.batch(encoded(body=raw, inferred=True)) is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_malformed_and_nothing_else(raw: bytes) -> None:
    try:
        wire.parse(raw)
    except Malformed:
        assert wire.batch(raw) is None


@given(st.data())
def test_a_message_that_is_cut_or_changed_is_read_or_malformed(data: st.DataObject) -> None:
    whole = encoded(body=b"body", inferred=True, id="m", properties={"k": [1, {"a": "b"}]}, annotations={"x": 1})
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] = data.draw(st.integers(0, 255))
    for raw in (whole[:at], bytes(changed)):
        try:
            message = wire.parse(raw)
            assert message.application_properties is not None
        except Malformed:
            continue
