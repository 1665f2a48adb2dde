"""What is written for a batch says the same as what the SDK would have written."""

from __future__ import annotations

import pytest
from azure.servicebus._pyamqp._decode import decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.azure.servicebus import amqp
from syncd.adapters.azure.servicebus.wire import Wire
from syncd.domain.messages import Envelope
from syncd.ports.queue import Message

#: Around the sizes at which an encoding changes.
_LENGTHS = st.sampled_from([0, 1, 200, 254, 255, 256, 257, 1024, 70_000])
_texts = st.one_of(st.text(max_size=40), _LENGTHS.map(lambda length: "ü" * (length // 2)))
_maybe = st.none() | _texts
_envelopes = st.builds(
    Envelope,
    kind=_texts,
    origin_id=_texts,
    schema=st.integers(-(2**31), 2**31 - 1),
    hop=st.integers(0, 1000),
    group=_maybe,
    tenant_id=_maybe,
    received_at=st.none() | st.floats(0, 4e9),
    expires_at=st.none() | st.floats(0, 4e9),
    correlation_id=_maybe,
    resumed=st.booleans(),
    headers=st.dictionaries(_texts, _texts, max_size=3),
)
_bodies = st.one_of(st.binary(max_size=300), _LENGTHS.map(lambda length: b"{" * length))


@given(
    message=st.builds(Message, _envelopes, _bodies, due=st.none() | st.integers(0, 4_000_000_000)),
    session=st.none() | st.text(min_size=1, max_size=128),
)
def test_a_written_message_reads_like_the_sdks(message: Message, session: str | None) -> None:
    ours = Wire(sender="us").outgoing(message, now=1_700_000_000.0, repeated=True, session=session)
    theirs = encode_payload(bytearray(), PyamqpTransport.to_outgoing_amqp_message(ours.alone().raw_amqp_message))
    written, expected = decode_payload(memoryview(ours.encoded)), decode_payload(memoryview(theirs))
    assert written == expected
    assert (ours.id, ours.session) == (message.envelope.broker_id, session)


def test_a_header_that_is_no_unicode_comes_out_as_it_went_in() -> None:
    headers = {"x-github-event": "\udcff"}
    wire = Wire(sender="us").outgoing(Message(Envelope(kind="k", origin_id="o", headers=headers), b""), now=0.0)
    [properties] = [decode_payload(memoryview(wire.encoded)).application_properties]
    assert properties is not None
    assert properties[b"headers"] == b'{"x-github-event":"\\udcff"}'


@pytest.mark.parametrize("value", ["a", "", True, False, 0, -129, 2**31, -(2**63)])
def test_every_value_that_a_property_may_have_comes_out_as_it_went_in(value: amqp.Scalar) -> None:
    assert _written({"beside": value}) == {b"beside": value.encode() if isinstance(value, str) else value}


def test_a_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        _written({"beside": 2**63})


def _written(properties: dict[str, amqp.Scalar]) -> object:
    encoded = amqp.message(
        b"", message_id="m", correlation_id=None, content_type=None, session_id=None, due_ms=None, properties=properties
    )
    return decode_payload(memoryview(encoded)).application_properties
