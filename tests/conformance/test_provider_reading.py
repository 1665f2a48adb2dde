"""Reading, as every provider with records does it: against its double, over real sockets."""

from __future__ import annotations

import json

from syncd.ports.provider import Fetch, Record
from tests.conformance.providers import Bench, each_kind
from tests.doubles.contract import START


@each_kind()
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


@each_kind()
async def test_an_empty_list_is_one_page_without_records(bench: Bench) -> None:
    pages = await bench.pages()
    assert [(list(page.records), list(page.unreadable), page.next) for page in pages] == [([], [], None)]


@each_kind()
async def test_pages_say_when_they_were_served_by_the_providers_clock(bench: Bench) -> None:
    bench.double.now = START + 777
    assert {page.served_at for page in await bench.pages()} == {START + 777}


@each_kind()
async def test_asking_for_the_same_page_again_shows_the_same(bench: Bench) -> None:
    bench.put(bench.double.page_size + 1)
    first = await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name, limit=bench.double.page_size))
    again = await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name, limit=bench.double.page_size))
    assert (first.records, first.next) == (again.records, again.next)


@each_kind(that=lambda kind: kind.incremental)
async def test_what_changed_at_the_very_second_of_since_is_shown_and_what_is_older_is_not(bench: Bench) -> None:
    older, edited, newer = bench.put(3)
    bench.double.now = START + 100
    bench.double.edit(bench.kind.name, edited, bench.double.change(bench.kind.name, 1))
    bench.double.now = START + 200
    bench.double.edit(bench.kind.name, newer, bench.double.change(bench.kind.name, 2))
    found = {record.external_id: record for record in await bench.all(since=START + 100)}
    assert set(found) == {edited, newer}, f"{older} is older"
    assert (found[edited].updated_at, found[newer].updated_at) == (START + 100, START + 200)


@each_kind(that=lambda kind: kind.deletes_visible)
async def test_what_is_deleted_shows_as_deleted_where_that_is_declared(bench: Bench) -> None:
    gone, stays = bench.put(2)
    bench.double.now = START + 100
    bench.double.remove(bench.kind.name, gone)
    found = {record.external_id: record.deleted for record in await bench.all(since=START)}
    assert found == {gone: True, stays: False}


@each_kind()
async def test_reading_one_object_shows_what_the_list_shows_and_none_where_there_is_none(bench: Bench) -> None:
    kept, gone = bench.put(2)
    [listed] = [record for record in await bench.all() if record.external_id == kept]
    one = await bench.read(kept)
    assert (one.data, one.updated_at, one.deleted) == (listed.data, listed.updated_at, False)
    bench.double.remove(bench.kind.name, gone)
    assert await bench.records.read(bench.api, bench.kind.name, gone) is None


@each_kind()
async def test_the_test_of_a_connection_is_one_cheap_call(bench: Bench) -> None:
    told = await bench.records.test(bench.api)
    assert json.loads(json.dumps(told)) == told
    assert [line.method for line in bench.double.log] == ["GET"]
