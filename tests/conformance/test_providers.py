"""What every provider file promises about itself, its settings and its webhooks, by being there."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import Invalid, NotUnderstood
from syncd.domain.events import ReceivedEvent, generic_event
from syncd.domain.ids import USER_ID
from syncd.domain.jsontypes import JsonObject
from syncd.ports.provider import Provider, schemes_of
from tests.conformance.providers import CASES, PROVIDERS, Bench, doubles_of, each_kind

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
with_webhooks = pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.webhooks])
with_records = pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.records])
every = pytest.mark.parametrize("name", PROVIDERS)


def test_the_suite_tries_every_provider_that_there_is() -> None:
    assert {name for name, _, _ in CASES} == {name for name, one in PROVIDERS.items() if one.records}


# -- what it says about itself --


@every
def test_its_name_and_title_can_be_shown_and_its_limits_be_kept(name: str) -> None:
    provider = PROVIDERS[name]
    assert USER_ID.fullmatch(provider.name)
    assert provider.title.strip() == provider.title != ""
    assert set(provider.limits) <= {"all", "fetch", "create", "update", "delete"}
    assert all(0 < limit <= 100_000 for limit in provider.limits.values())
    assert provider.webhooks or provider.records or provider.read_event, "it can do nothing"


def test_no_two_signature_schemes_share_a_name() -> None:
    assert len(schemes_of(PROVIDERS)) == sum(one.webhooks is not None for one in PROVIDERS.values())


@with_records
def test_a_provider_with_records_has_a_double_to_be_tried_against(name: str) -> None:
    file = f"tests/doubles/{name.replace('-', '_')}.py"
    assert doubles_of(name), (
        f"{name} reads and writes objects, so {file} must declare DOUBLES (tests/doubles/contract.py)"
    )


@with_records
@given(settings=st.dictionaries(st.text(max_size=12) | st.sampled_from(["baseUrl", "types", "owner", "headers"]), JSON))
def test_settings_of_any_kind_are_checked_and_never_break_it(name: str, settings: JsonObject) -> None:
    records = PROVIDERS[name].records
    assert records is not None
    wrong = records.check(settings)
    assert all(path and text for path, text in wrong.items())
    for ask in (records.base_url, records.kinds):
        try:
            ask(settings)
        except Invalid:
            assert wrong


@each_kind()
async def test_its_double_uses_settings_that_it_accepts_and_kinds_that_it_has(bench: Bench) -> None:
    settings, kind = bench.double.settings(), bench.kind
    assert bench.records.check(settings) == {}
    assert bench.records.base_url(settings) == bench.records.base_url(settings).rstrip("/")
    assert set(bench.double.kinds) <= set(bench.records.kinds(settings))
    assert all(name == one.name for name, one in bench.records.kinds(settings).items())
    assert kind.lookup_delay >= 0
    for number in (1, 2):
        for content in (bench.double.sample(kind.name, number), bench.double.change(kind.name, number)):
            assert kind.fields.of(content) == content, "the double writes what the provider says is read-only"


# -- webhooks --


@with_webhooks
@given(headers=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3), body=st.binary(max_size=200))
def test_any_bytes_are_an_event_nothing_or_not_understood(name: str, headers: dict[str, str], body: bytes) -> None:
    _reads(PROVIDERS[name], headers, body)


@with_webhooks
@given(data=st.data(), payload=JSON)
def test_any_json_under_its_own_headers_is_an_event_nothing_or_not_understood(
    name: str, data: st.DataObject, payload: JsonObject
) -> None:
    webhooks = PROVIDERS[name].webhooks
    assert webhooks is not None
    values = st.sampled_from(["application/json", "issues", "push", "ping", "created", "contact"]) | st.text(
        max_size=12
    )
    headers = {header: data.draw(values) for header in webhooks.scheme.kept_headers}
    _reads(PROVIDERS[name], headers, json.dumps(payload).encode())


def _reads(provider: Provider, headers: Mapping[str, str], body: bytes) -> None:
    assert provider.webhooks is not None
    try:
        event = provider.webhooks.event(headers, body)
    except NotUnderstood:
        with pytest.raises(NotUnderstood, match=r"."):
            provider.webhooks.event(headers, body)
        return
    assert event is None or isinstance(event, ReceivedEvent)
    assert provider.webhooks.event(headers, body) == event


@pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.read_event])
@given(settings=st.dictionaries(st.text(max_size=8), JSON), content=st.dictionaries(st.text(max_size=8), JSON))
def test_a_generic_event_is_read_by_any_settings_or_not_understood(
    name: str, settings: JsonObject, content: JsonObject
) -> None:
    provider = PROVIDERS[name]
    assert provider.read_event is not None
    event = ReceivedEvent(event_type="e", entity_type="contact", entity_id="1", operation="update", data=content)
    for each in (settings, *(make().settings() for make in doubles_of(name).values())):
        try:
            assert isinstance(provider.read_event(each, event), ReceivedEvent)
        except NotUnderstood:
            continue


@each_kind()
async def test_an_event_shows_an_object_as_a_pull_does(bench: Bench) -> None:
    [made] = bench.put()
    sent = bench.double.event(bench.kind.name, made, "update")
    if sent is None:
        pytest.skip(f"{bench.provider.name} sends no webhooks about {bench.kind.name}")
    webhooks, settings = bench.provider.webhooks, bench.api.account.settings
    event = webhooks.event(*sent) if webhooks else generic_event(sent[1])
    assert event is not None
    if webhooks is None and bench.provider.read_event is not None:
        event = bench.provider.read_event(settings, event)
    [pulled] = await bench.all()
    assert (event.entity_type, event.entity_id, event.operation) == (bench.kind.name, made, "update")
    assert event.data == pulled.data
    assert pulled.updated_at is None or event.occurred_at == pulled.updated_at
