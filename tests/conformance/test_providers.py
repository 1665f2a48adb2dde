"""What every provider file promises: each is tried by being there, against its double (tests/doubles)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.providers import _template, load_providers
from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Invalid,
    NotUnderstood,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
)
from syncd.domain.events import ReceivedEvent, generic_event
from syncd.domain.ids import USER_ID
from syncd.domain.jsontypes import JsonObject
from syncd.ports.api import Api
from syncd.ports.provider import Fetch, Kind, Provider, Record, RecordPage, Records, schemes_of
from tests.doubles.client import connected
from tests.doubles.contract import START, Fault, ProviderDouble

#: The template is no provider, but what is copied must work.
PROVIDERS = {**load_providers(), _template.PROVIDER.name: _template.PROVIDER}
KEY = "0123456789abcdef0123456789abcdef"
#: Pages that any list of this suite may take; more is a circle.
_MOST_PAGES = 40
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
with_webhooks = pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.webhooks])
with_records = pytest.mark.parametrize("name", [name for name, one in PROVIDERS.items() if one.records])
every = pytest.mark.parametrize("name", PROVIDERS)


def doubles_of(name: str) -> Mapping[str, Callable[[], ProviderDouble]]:
    module = f"tests.doubles.{name.replace('-', '_')}"
    return getattr(import_module(module), "DOUBLES", {}) if find_spec(module) else {}


#: (provider, configuration of its double, type of object).
CASES = [
    pytest.param(name, variant, kind, id=f"{name}-{variant}-{kind}")
    for name, provider in PROVIDERS.items()
    if provider.records
    for variant, make in doubles_of(name).items()
    for kind in make().kinds
]
each_kind = pytest.mark.parametrize(("name", "variant", "kind"), CASES)


class Bench:
    """A provider's records beside its double."""

    def __init__(self, provider: Provider, double: ProviderDouble, api: Api, kind: str) -> None:
        assert provider.records is not None
        self.provider, self.double, self.api = provider, double, api
        self.records: Records = provider.records
        self.kind = self.records.kinds(api.account.settings)[kind]

    async def pages(self, since: float | None = None) -> list[RecordPage]:
        found: list[RecordPage] = []
        cursor = None
        for _ in range(_MOST_PAGES):
            fetch = Fetch(kind=self.kind.name, since=since, cursor=cursor, limit=self.double.page_size)
            found.append(await self.records.fetch(self.api, fetch))
            cursor = found[-1].next
            if cursor is None:
                return found
        raise AssertionError(f"the list did not end within {_MOST_PAGES} pages")

    async def all(self, since: float | None = None) -> list[Record]:
        pages = await self.pages(since)
        assert not [one for page in pages for one in page.unreadable]
        return [record for page in pages for record in page.records]

    async def read(self, external_id: str) -> Record:
        found = await self.records.read(self.api, self.kind.name, external_id)
        assert found is not None
        return found

    def put(self, count: int = 1) -> list[str]:
        return [self.double.put(self.kind.name, number) for number in range(1, count + 1)]

    def content(self, record: Record) -> JsonObject:
        return self.kind.fields.of(record.data)

    def needs(self, capability: bool, what: str) -> None:
        if not capability:
            pytest.skip(f"{self.provider.name} declares no {what} of {self.kind.name}")


@pytest.fixture
async def bench(name: str, variant: str, kind: str):  # type: ignore[no-untyped-def] # an async generator of Bench, with the parameters of each_kind
    double = doubles_of(name)[variant]()
    async with connected(PROVIDERS[name], double) as api:
        yield Bench(PROVIDERS[name], double, api, kind)


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


@each_kind
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


@each_kind
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


# -- reading --


@each_kind
async def test_all_pages_show_every_object_once_as_it_is(bench: Bench) -> None:
    made = bench.put(2 * bench.double.page_size + 1)
    found = await bench.all()
    assert sorted(record.external_id for record in found) == sorted(made)
    for record in found:
        held = bench.double.held(bench.kind.name, record.external_id)
        assert held is not None
        assert held.items() <= record.data.items()
        assert bench.kind.conditional is False or record.version or await _has_version(bench, record)


async def _has_version(bench: Bench, record: Record) -> bool:
    """Where a list shows no versions, an answer about the object does."""
    return (await bench.read(record.external_id)).version is not None


@each_kind
async def test_an_empty_list_is_one_page_without_records(bench: Bench) -> None:
    pages = await bench.pages()
    assert [(list(page.records), list(page.unreadable), page.next) for page in pages] == [([], [], None)]


@each_kind
async def test_pages_say_when_they_were_served_by_the_providers_clock(bench: Bench) -> None:
    bench.double.now = START + 777
    assert {page.served_at for page in await bench.pages()} == {START + 777}


@each_kind
async def test_asking_for_the_same_page_again_shows_the_same(bench: Bench) -> None:
    bench.put(bench.double.page_size + 1)
    first = await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name, limit=bench.double.page_size))
    again = await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name, limit=bench.double.page_size))
    assert (first.records, first.next) == (again.records, again.next)


@each_kind
async def test_what_changed_at_the_very_second_of_since_is_shown_and_what_is_older_is_not(bench: Bench) -> None:
    bench.needs(bench.kind.incremental, "incremental reading")
    older, edited, newer = bench.put(3)
    bench.double.now = START + 100
    bench.double.edit(bench.kind.name, edited, bench.double.change(bench.kind.name, 1))
    bench.double.now = START + 200
    bench.double.edit(bench.kind.name, newer, bench.double.change(bench.kind.name, 2))
    found = {record.external_id: record for record in await bench.all(since=START + 100)}
    assert set(found) == {edited, newer}, f"{older} is older"
    assert (found[edited].updated_at, found[newer].updated_at) == (START + 100, START + 200)


@each_kind
async def test_what_is_deleted_shows_as_deleted_where_that_is_declared(bench: Bench) -> None:
    bench.needs(bench.kind.deletes_visible, "visible deletions")
    gone, stays = bench.put(2)
    bench.double.now = START + 100
    bench.double.remove(bench.kind.name, gone)
    found = {record.external_id: record.deleted for record in await bench.all(since=START)}
    assert found == {gone: True, stays: False}


@each_kind
async def test_reading_one_object_shows_what_the_list_shows_and_none_where_there_is_none(bench: Bench) -> None:
    kept, gone = bench.put(2)
    [listed] = [record for record in await bench.all() if record.external_id == kept]
    one = await bench.read(kept)
    assert (one.data, one.updated_at, one.deleted) == (listed.data, listed.updated_at, False)
    bench.double.remove(bench.kind.name, gone)
    assert await bench.records.read(bench.api, bench.kind.name, gone) is None


@each_kind
async def test_the_test_of_a_connection_is_one_cheap_call(bench: Bench) -> None:
    told = await bench.records.test(bench.api)
    assert json.loads(json.dumps(told)) == told
    assert [line.method for line in bench.double.log] == ["GET"]


# -- writing --


@each_kind
async def test_what_is_created_is_there_under_the_id_that_was_answered(bench: Bench) -> None:
    bench.needs(bench.kind.creates != "none", "creation")
    content = bench.double.sample(bench.kind.name, 7)
    made = await bench.records.create(bench.api, bench.kind.name, content, key=KEY)
    assert bench.double.ids(bench.kind.name) == [made.external_id]
    assert bench.double.held(bench.kind.name, made.external_id) == content
    assert replace(made, version=None) == replace(await bench.read(made.external_id), version=None)
    assert content.items() <= made.data.items()


@each_kind
async def test_a_create_whose_answer_was_lost_leaves_one_object_in_the_way_that_is_declared(bench: Bench) -> None:
    bench.needs(bench.kind.creates in ("idempotent", "lookup"), "repeatable creation")
    content, kind = bench.double.sample(bench.kind.name, 7), bench.kind.name
    if bench.kind.creates == "lookup":
        assert await bench.records.find(bench.api, kind, content, key=KEY) is None
    bench.double.faults.append(Fault(when="after", cut=True, writes=True))
    with pytest.raises(ServerFault):
        await bench.records.create(bench.api, kind, content, key=KEY)
    if bench.kind.creates == "lookup":
        found = await bench.records.find(bench.api, kind, content, key=KEY)
        assert await bench.records.find(bench.api, kind, content, key=KEY[::-1]) is None
    else:
        found = await bench.records.create(bench.api, kind, content, key=KEY)
    assert found is not None
    assert bench.double.ids(kind) == [found.external_id]
    assert content.items() <= found.data.items()


@each_kind
async def test_creates_with_other_keys_are_other_objects(bench: Bench) -> None:
    bench.needs(bench.kind.creates != "none", "creation")
    content = bench.double.sample(bench.kind.name, 7)
    first = await bench.records.create(bench.api, bench.kind.name, content, key=KEY)
    second = await bench.records.create(bench.api, bench.kind.name, content, key=KEY[::-1])
    assert sorted(bench.double.ids(bench.kind.name)) == sorted([first.external_id, second.external_id])


@each_kind
async def test_an_update_changes_what_was_said_and_nothing_else(bench: Bench) -> None:
    bench.needs(bench.kind.updates, "updates")
    [made, other] = bench.put(2)
    bench.double.now = START + 100
    before, untouched = await bench.read(made), bench.double.held(bench.kind.name, other)
    changes = bench.double.change(bench.kind.name, 1)
    whole = {**bench.content(before), **changes}
    after = await bench.records.update(bench.api, bench.kind.name, made, changes, whole=whole, version=before.version)
    assert after is not None
    assert bench.double.held(bench.kind.name, made) == {**bench.double.sample(bench.kind.name, 1), **changes}
    assert bench.double.held(bench.kind.name, other) == untouched
    assert (after.external_id, bench.content(after)) == (made, whole)
    assert before.updated_at is None or after.updated_at == START + 100
    assert not bench.kind.conditional or after.version not in (None, before.version)


@each_kind
async def test_an_update_after_a_foreign_change_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.needs(bench.kind.updates and bench.kind.conditional, "conditional updates")
    [made] = bench.put()
    seen = await bench.read(made)
    foreign, ours = bench.double.change(bench.kind.name, 1), bench.double.change(bench.kind.name, 2)
    bench.double.edit(bench.kind.name, made, foreign)
    held = bench.double.held(bench.kind.name, made)
    with pytest.raises(Conflict):
        await bench.records.update(
            bench.api, bench.kind.name, made, ours, whole={**bench.content(seen), **ours}, version=seen.version
        )
    assert bench.double.held(bench.kind.name, made) == held


@each_kind
async def test_an_update_of_what_is_gone_says_so(bench: Bench) -> None:
    bench.needs(bench.kind.updates, "updates")
    [made] = bench.put()
    changes = bench.double.change(bench.kind.name, 1)
    bench.double.remove(bench.kind.name, made)
    whole = {**bench.double.sample(bench.kind.name, 1), **changes}
    assert await bench.records.update(bench.api, bench.kind.name, made, changes, whole=whole, version=None) is None


@each_kind
async def test_what_is_deleted_is_gone_and_deleting_it_again_is_fine(bench: Bench) -> None:
    bench.needs(bench.kind.deletes, "deletion")
    made, stays = bench.put(2)
    version = (await bench.read(made)).version
    for expected in (version, version, None):
        await bench.records.delete(bench.api, bench.kind.name, made, version=expected)
    assert bench.double.ids(bench.kind.name) == [stays]


@each_kind
async def test_a_deletion_after_a_foreign_change_is_refused_and_deletes_nothing(bench: Bench) -> None:
    bench.needs(bench.kind.deletes and bench.kind.conditional, "conditional deletion")
    [made] = bench.put()
    seen = await bench.read(made)
    bench.double.edit(bench.kind.name, made, bench.double.change(bench.kind.name, 1))
    with pytest.raises(Conflict):
        await bench.records.delete(bench.api, bench.kind.name, made, version=seen.version)
    assert bench.double.ids(bench.kind.name) == [made]


# -- what goes wrong --

_ERRORS = [
    (Fault(status=400, body=b'{"message": "no"}'), Rejected),
    (Fault(status=401), AuthenticationFailed),
    (Fault(status=403, body=b'{"message": "no"}'), Rejected),
    (Fault(status=422), Rejected),
    (Fault(status=429), Throttled),
    (Fault(status=429, headers={"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}), Throttled),
    (Fault(status=503, headers={"Retry-After": "7"}), Throttled),
    (Fault(status=500), ServerFault),
    (Fault(status=502, body=b"<html>Bad gateway</html>"), ServerFault),
    (Fault(status=302, headers={"Location": "https://elsewhere.example/"}), Rejected),
    (Fault(cut=True), ServerFault),
    (Fault(status=200, body=b"<html>Please log in</html>"), ServerFault),
    (Fault(status=200, body=b'{"error": "the database is away"}'), ServerFault),
    (Fault(status=200, body=b'"a text"'), ServerFault),
    (Fault(status=200, body=b"[" * 5000), ServerFault),
    (Fault(status=200, body=b'\xff\xfe{"data": []}'), ServerFault),
]


@pytest.mark.parametrize(("fault", "expected"), _ERRORS, ids=lambda one: getattr(one, "__name__", None) or _label(one))
@each_kind
async def test_each_thing_that_goes_wrong_while_reading_is_its_own_error(
    bench: Bench, fault: Fault, expected: type[SyncdError]
) -> None:
    [made] = bench.put()
    # The HTTP library itself asks once more on a connection that was used before and is cut: for reading that is right.
    times = 2 if fault.cut else 1
    bench.double.faults.extend([fault] * times)
    with pytest.raises(expected):
        await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name))
    bench.double.faults.clear()
    bench.double.faults.extend([fault] * times)
    with pytest.raises(expected):
        await bench.records.read(bench.api, bench.kind.name, made)
    bench.double.faults.clear()
    assert [record.external_id for record in await bench.all()] == [made], "the next request is as if nothing had been"


@pytest.mark.parametrize(("fault", "expected"), _ERRORS, ids=lambda one: getattr(one, "__name__", None) or _label(one))
@each_kind
async def test_each_thing_that_goes_wrong_while_writing_is_its_own_error(
    bench: Bench, fault: Fault, expected: type[SyncdError]
) -> None:
    kind, double = bench.kind, bench.double
    bench.needs(kind.creates != "none" or kind.updates, "writing")
    content, fault = double.sample(kind.name, 1), replace(fault, writes=True)
    if kind.creates != "none":
        double.faults.append(fault)
        with pytest.raises(expected):
            await bench.records.create(bench.api, kind.name, content, key=KEY)
        assert double.ids(kind.name) == []
    if kind.updates:
        [made] = bench.put()
        changes = double.change(kind.name, 1)
        double.faults.append(fault)
        with pytest.raises(expected):
            await bench.records.update(bench.api, kind.name, made, changes, whole={**content, **changes}, version=None)
        assert double.held(kind.name, made) == content


@each_kind
async def test_a_conflict_that_the_provider_reports_is_one(bench: Bench) -> None:
    bench.needs(bench.kind.updates, "updates")
    [made] = bench.put()
    changes = bench.double.change(bench.kind.name, 1)
    for status in (409, 412):
        bench.double.faults.append(Fault(status=status, writes=True))
        with pytest.raises(Conflict):
            await bench.records.update(bench.api, bench.kind.name, made, changes, whole=changes, version=None)


@each_kind
async def test_an_id_that_leads_elsewhere_reaches_no_other_object(bench: Bench) -> None:
    bench.needs(bench.kind.deletes, "deletion")
    made = bench.put(2)
    for hostile in (
        "..",
        "../..",
        ".",
        "",
        "%2e%2e",
        f"{made[0]}/../{made[1]}",
        f"{made[0]}?x=1",
        f"{made[0]}#x",
        "a\nb",
        "x" * 600,
    ):
        try:
            await bench.records.delete(bench.api, bench.kind.name, hostile, version=None)
        except SyncdError:
            continue
    assert sorted(bench.double.ids(bench.kind.name)) == sorted(made)


def _label(fault: Fault) -> str:
    return "cut" if fault.cut else f"{fault.status}{'-' + fault.body[:12].decode('latin-1') if fault.body else ''}"


def test_kinds_are_declared_by_name() -> None:
    """A guard for the suite itself: it tries something."""
    assert CASES
    assert Kind(name="x").name == "x"
