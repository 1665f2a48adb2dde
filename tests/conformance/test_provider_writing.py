"""Writing, as every provider with records does it: what was asked for, once, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.domain.errors import Conflict, ServerFault
from tests.conformance.providers import KEY, Bench, each_kind
from tests.doubles.contract import START, Fault


@each_kind(that=lambda kind: kind.creates != "none")
async def test_what_is_created_is_there_under_the_id_that_was_answered(bench: Bench) -> None:
    content = bench.double.sample(bench.kind.name, 7)
    made = await bench.records.create(bench.api, bench.kind.name, content, key=KEY)
    assert bench.double.ids(bench.kind.name) == [made.external_id]
    assert bench.double.held(bench.kind.name, made.external_id) == content
    assert replace(made, version=None) == replace(await bench.read(made.external_id), version=None)
    assert content.items() <= made.data.items()


@each_kind(that=lambda kind: kind.creates in ("idempotent", "lookup"))
async def test_a_create_whose_answer_was_lost_leaves_one_object_in_the_way_that_is_declared(bench: Bench) -> None:
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


@each_kind(that=lambda kind: kind.creates != "none")
async def test_creates_with_other_keys_are_other_objects(bench: Bench) -> None:
    content = bench.double.sample(bench.kind.name, 7)
    first = await bench.records.create(bench.api, bench.kind.name, content, key=KEY)
    second = await bench.records.create(bench.api, bench.kind.name, content, key=KEY[::-1])
    assert sorted(bench.double.ids(bench.kind.name)) == sorted([first.external_id, second.external_id])


@each_kind(that=lambda kind: kind.updates)
async def test_an_update_changes_what_was_said_and_nothing_else(bench: Bench) -> None:
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


@each_kind(that=lambda kind: kind.updates and kind.conditional)
async def test_an_update_after_a_foreign_change_is_refused_and_changes_nothing(bench: Bench) -> None:
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


@each_kind(that=lambda kind: kind.updates)
async def test_an_update_of_what_is_gone_says_so(bench: Bench) -> None:
    [made] = bench.put()
    changes = bench.double.change(bench.kind.name, 1)
    bench.double.remove(bench.kind.name, made)
    whole = {**bench.double.sample(bench.kind.name, 1), **changes}
    assert await bench.records.update(bench.api, bench.kind.name, made, changes, whole=whole, version=None) is None


@each_kind(that=lambda kind: kind.deletes)
async def test_what_is_deleted_is_gone_and_deleting_it_again_is_fine(bench: Bench) -> None:
    made, stays = bench.put(2)
    version = (await bench.read(made)).version
    for expected in (version, version, None):
        await bench.records.delete(bench.api, bench.kind.name, made, version=expected)
    assert bench.double.ids(bench.kind.name) == [stays]


@each_kind(that=lambda kind: kind.deletes and kind.conditional)
async def test_a_deletion_after_a_foreign_change_is_refused_and_deletes_nothing(bench: Bench) -> None:
    [made] = bench.put()
    seen = await bench.read(made)
    bench.double.edit(bench.kind.name, made, bench.double.change(bench.kind.name, 1))
    with pytest.raises(Conflict):
        await bench.records.delete(bench.api, bench.kind.name, made, version=seen.version)
    assert bench.double.ids(bench.kind.name) == [made]
