from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.dedupe import STRATEGIES, Claim, Deduped, Identity, dedupe, key_id
from syncd.domain.errors import Invalid
from syncd.ports.provider import Record

EMAIL = Identity(strategy="composite_key", key_fields=("email",))
CONTENT = Identity(strategy="content_hash")


def record(one: str, at: float | None = None, *, deleted: bool = False, **data: Any) -> Record:
    return Record(external_id=one, data=data, updated_at=at, deleted=deleted)


def outcome(found: Deduped[Record], page: list[Record]) -> tuple[list[int], list[tuple[int, str, str]]]:
    kept = [next(at for at, one in enumerate(page) if one is record) for record in found.kept]
    return kept, [(one.position, one.reason, one.of) for one in found.duplicates]


@pytest.mark.parametrize(
    ("page", "kept", "duplicates"),
    [
        ([], [], []),
        ([record("1"), record("2")], [0, 1], []),
        ([record("1", 1, a=1), record("1", 2, a=2)], [1], [(0, "superseded", "1")]),
        ([record("1", 2, a=1), record("1", 1, a=2)], [0], [(1, "superseded", "1")]),
        ([record("1", 1, a=1), record("2", 1), record("1", 1, a=1)], [0, 1], [(2, "copy", "1")]),
        ([record("1", 1, a=1), record("1", 1, a=True)], [1], [(0, "superseded", "1")]),
        ([record("1", 1, deleted=True), record("1", 1, a=2)], [0], [(1, "superseded", "1")]),
        ([record("1", 1, a=2), record("1", 1, deleted=True)], [1], [(0, "superseded", "1")]),
        (
            [record("1", 9, a=1), record("1", a=2), record("1", 3, a=3)],
            [2],
            [(0, "superseded", "1"), (1, "superseded", "1")],
        ),
    ],
)
def test_of_one_id_the_later_stands_and_copies_are_duplicates(
    page: list[Record], kept: list[int], duplicates: list[tuple[int, str, str]]
) -> None:
    assert outcome(dedupe(page), page) == (kept, duplicates)


@pytest.mark.parametrize(
    ("page", "kept", "reasons"),
    [
        ([record("1", 9, a=1), record("1", a=2), record("1", 3, a=3)], [0], ["superseded", "superseded"]),
        ([record("1", a=1), record("1", a=2)], [1], ["superseded"]),
        ([record("1", a=1), record("1", 1, a=2)], [1], ["superseded"]),
        ([record("known", 4, a=1)], [], ["outdated"]),
        ([record("known", a=1)], [], ["outdated"]),
        ([record("known", 5, a=1)], [0], []),
        ([record("known", 6, a=1), record("known", 4, a=3)], [0], ["outdated"]),
    ],
)
def test_where_the_latest_wins_a_position_never_stands_against_a_time(
    page: list[Record], kept: list[int], reasons: list[str]
) -> None:
    found = dedupe(page, Identity(strategy="latest_wins"), said={"known": 5.0})
    assert outcome(found, page)[0] == kept
    assert [one.reason for one in found.duplicates] == reasons


def test_an_unknown_id_with_the_content_of_another_is_a_duplicate() -> None:
    page = [record("1", id=1, name="Ann"), record("2", id="2", name="Ann"), record("3", name="Bob"), record("4", n=1.0)]
    found = dedupe(page, CONTENT)
    assert outcome(found, page) == ([0, 2, 3], [(1, "same_content", "1")])
    assert found.keys.keys() == {"1", "3", "4"}


def test_an_id_that_has_its_entity_keeps_it_whatever_its_content_becomes() -> None:
    page = [record("new", name="Ann"), record("1", name="Ann"), record("2", name="Ann")]
    found = dedupe(page, CONTENT, known={"1", "2"})
    assert outcome(found, page) == ([1, 2], [(0, "same_content", "1")])
    assert found.keys.keys() == {"1"}


def test_content_that_its_holder_has_given_up_in_the_same_page_is_free() -> None:
    ann = CONTENT.key_of(record("1", name="Ann"))
    assert ann is not None
    claims = {ann: Claim(external_id="1", updated_at=None, run="before")}
    assert not dedupe([record("2", name="Ann")], CONTENT, claims=claims).kept
    for page in (
        [record("2", name="Ann"), record("1", name="Eve")],
        [record("2", name="Ann"), record("1", deleted=True)],
    ):
        assert outcome(dedupe(page, CONTENT, claims=claims, known={"1"}), page) == ([0, 1], [])


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ({"id": "1", "a": 1}, {"id": "2", "a": 1.0}, True),
        ({"_id": 1, "a": [{"k": 1}]}, {"_id": 2, "a": [{"k": 1.0}]}, True),
        ({"id": "x", "a": 1}, {"id": "y", "a": 1}, False),
        ({"number": 1}, {"number": 2}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {}, False),
        ({"etag": "x", "a": 1}, {"etag": "y", "a": 1}, True),
    ],
)
def test_content_is_what_a_record_has_beside_its_id_and_the_ignored_fields(left: Any, right: Any, equal: bool) -> None:
    identity = Identity(strategy="content_hash", ignored=frozenset({"etag"}))
    one, other = Record(external_id="1", data=left), Record(external_id="2", data=right)
    assert (identity.key_of(one) == identity.key_of(other)) is equal


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ({"a": "x", "b": {"c": 1}}, {"a": "x", "b": {"c": 1.0}, "d": 5}, True),
        ({"a": "x", "b.c": 1}, {"a": "x", "b": {"c": 1}}, True),
        ({"a": "x", "b": {"c": 1}}, {"a": "X", "b": {"c": 1}}, False),
        ({"a": "x", "b": {"c": 1}}, {"a": "x", "b": {"c": "1"}}, False),
        ({"a": "xy", "b": {"c": "z"}}, {"a": "x", "b": {"c": "yz"}}, False),
    ],
)
def test_a_key_is_the_exact_values_of_its_fields(left: Any, right: Any, equal: bool) -> None:
    identity = Identity(strategy="composite_key", key_fields=("a", "b.c"))
    one, other = Record(external_id="1", data=left), Record(external_id="2", data=right)
    assert identity.key_of(one) is not None
    assert (identity.key_of(one) == identity.key_of(other)) is equal


@pytest.mark.parametrize("data", [{}, {"email": None}, {"email": ""}])
def test_records_without_a_key_are_told_apart_by_their_ids(data: Any) -> None:
    page = [Record(external_id="1", data=data), Record(external_id="2", data=data)]
    found = dedupe(page, EMAIL)
    assert found == Deduped(page)


@pytest.mark.parametrize(
    ("page", "kept", "duplicates"),
    [
        ([record("1", 1, email="a"), record("2", 2, email="a")], [1], [(0, "superseded", "2")]),
        ([record("1", 2, email="a"), record("2", 1, email="a")], [0], [(1, "same_key", "1")]),
        ([record("1", email="a"), record("2", email="a")], [0], [(1, "same_key", "1")]),
        ([record("1", email="a", n=1), record("1", email="b", n=2)], [1], [(0, "superseded", "1")]),
        ([record("1", 1, email="a"), record("2", 1, email="b")], [0, 1], []),
        ([record("1", 1, deleted=True, email="a"), record("2", 1, email="a")], [0, 1], []),
    ],
)
def test_of_one_key_the_later_time_stands_else_the_first(
    page: list[Record], kept: list[int], duplicates: list[tuple[int, str, str]]
) -> None:
    assert outcome(dedupe(page, EMAIL), page) == (kept, duplicates)


@pytest.mark.parametrize(
    ("claim_at", "claim_run", "page", "kept"),
    [
        (None, "this", [record("2", email="a")], []),
        (None, "before", [record("2", email="a")], [0]),
        (5.0, "before", [record("2", 4, email="a")], []),
        (5.0, "this", [record("2", 6, email="a")], [0]),
        (5.0, "this", [record("1", 4, email="a")], [0]),
        (5.0, "this", [record("2", 7, email="a"), record("1", 6, email="a")], [0]),
        (None, "this", [record("2", email="a"), record("1", email="b")], [0, 1]),
        (None, "this", [record("2", email="a"), record("1", deleted=True)], [0, 1]),
    ],
)
def test_a_key_claimed_earlier_goes_to_a_later_time_or_to_the_first_of_another_run(
    claim_at: float | None, claim_run: str, page: list[Record], kept: list[int]
) -> None:
    key = EMAIL.key_of(record("1", email="a"))
    assert key is not None
    found = dedupe(page, EMAIL, run="this", claims={key: Claim(external_id="1", updated_at=claim_at, run=claim_run)})
    assert outcome(found, page)[0] == kept


def test_the_document_of_a_key_is_no_alias_and_another_for_each_connection() -> None:
    assert key_id("c1", "k").startswith("k~")
    assert key_id("c1", "k") != key_id("c2", "k")


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ({"dedupe": "fuzzy"}, "dedupe"),
        ({"dedupe": ["external_id"]}, "dedupe"),
        ({"dedupe": "composite_key"}, "keyFields"),
        ({"dedupe": "composite_key", "keyFields": []}, "keyFields"),
        ({"keyFields": "email"}, "keyFields"),
        ({"ignoreFields": [1]}, "ignoreFields"),
    ],
)
def test_an_identity_that_is_none_is_refused_with_its_path(rules: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Identity.of_connection(rules)
    assert list(refused.value.errors) == [path]


def test_an_identity_is_read_from_a_connection() -> None:
    assert Identity.of_connection({}) == Identity()
    assert Identity.of_connection(
        {"dedupe": "composite_key", "keyFields": ["email"], "ignoreFields": ["etag"]}
    ) == Identity(strategy="composite_key", key_fields=("email",), ignored=frozenset({"etag"}))


IDS = st.sampled_from("123")
PAGES = st.lists(
    st.builds(
        lambda one, at, deleted, data: Record(external_id=one, data=data, updated_at=at, deleted=deleted),
        IDS,
        st.none() | st.sampled_from([1.0, 2.0, 3.0]),
        st.booleans(),
        st.dictionaries(st.sampled_from(["email", "n"]), st.sampled_from(["a", "b", "", None])),
    ),
    max_size=8,
)
IDENTITIES = st.sampled_from([Identity(strategy=one, key_fields=("email",)) for one in STRATEGIES])


@given(page=PAGES, identity=IDENTITIES, known=st.sets(IDS), said=st.dictionaries(IDS, st.just(2.0)), data=st.data())
def test_every_record_is_kept_or_a_duplicate_and_no_id_and_no_key_is_kept_twice(
    page: list[Record], identity: Identity, known: set[str], said: dict[str, float], data: st.DataObject
) -> None:
    keys = sorted({key for one in page if (key := identity.key_of(one)) is not None})
    claimed = data.draw(st.sets(st.sampled_from(keys))) if keys else set()
    claims = {key: Claim(external_id=data.draw(IDS), updated_at=None, run="before") for key in sorted(claimed)}
    found = dedupe(page, identity, run="this", claims=claims, known=known, said=said)
    kept, duplicates = outcome(found, page)
    # Equal records are one object to hypothesis now and then: positions of what is kept are told by the duplicates.
    assert len(kept) + len(duplicates) == len(page)
    assert len({one.external_id for one in found.kept}) == len(found.kept)
    assert len({position for position, *_ in duplicates}) == len(duplicates)
    assert found.keys.keys() <= {one.external_id for one in found.kept}
    assert len(set(found.keys.values())) == len(found.keys)
    again = dedupe(list(found.kept), identity, run="this", claims=claims, known=known, said=said)
    assert (again.kept, again.duplicates) == (found.kept, ())
    if identity.strategy == "composite_key":
        standing = [key for one in found.kept if (key := identity.key_of(one)) is not None]
        assert len(set(standing)) == len(standing)


@given(
    times=st.lists(st.tuples(IDS, st.none() | st.integers(1, 5)), max_size=10),
    cuts=st.sets(st.integers(0, 10)),
    timed=st.booleans(),
)
def test_a_key_ends_with_the_same_holder_however_the_run_is_cut_into_pages(
    times: list[tuple[str, int | None]], cuts: set[int], timed: bool
) -> None:
    """With times the latest ends as the holder (at one time the first), without any the first."""
    seen: set[str] = set()
    records = []
    for one, at in times:
        if one not in seen:  # an object is in a run once
            seen.add(one)
            records.append(record(one, float(at or 1) if timed else None, email="a"))
    claims: dict[str, Claim] = {}
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(records)], strict=True):
        page = records[start:end]
        found = dedupe(page, EMAIL, run="this", claims=claims)
        by_id = {one.external_id: one for one in found.kept}
        claims |= {
            key: Claim(external_id=one, updated_at=by_id[one].updated_at, run="this") for one, key in found.keys.items()
        }
    if records:
        expected = max(records, key=lambda one: one.updated_at or 0) if timed else records[0]
        assert [one.external_id for one in claims.values()] == [expected.external_id]


@given(page=PAGES.filter(lambda page: all(one.updated_at is not None for one in page)), shuffled=st.randoms())
def test_with_different_times_the_order_of_arrival_says_nothing(page: list[Record], shuffled: Any) -> None:
    page = [
        Record(external_id=one.external_id, data=one.data, updated_at=float(at), deleted=one.deleted)
        for at, one in enumerate(page)
    ]
    expected = {one.external_id: one for one in page}
    shuffled.shuffle(page)
    for strategy in ("external_id", "latest_wins"):
        assert {one.external_id: one for one in dedupe(page, Identity(strategy=strategy)).kept} == expected
