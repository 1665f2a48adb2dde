from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import Invalid
from syncd.domain.ids import check_user_id, digest, digests, located, partition_of, ulid, ulids


def test_a_ulid_is_the_published_encoding() -> None:
    # The example of https://github.com/ulid/spec: time 1469918176385 is 01ARYZ6S41.
    assert ulid(1469918176.385, bytes(10)) == "01ARYZ6S41" + "0" * 16
    assert ulid(1469918176.385, b"\xff" * 10) == "01ARYZ6S41" + "Z" * 16


@given(st.integers(0, 2**48 - 2), st.integers(1, 1000))
def test_ulids_sort_by_their_time(milliseconds: int, later: int) -> None:
    assert ulid(milliseconds / 1000, b"\xff" * 10) < ulid((milliseconds + later) / 1000, bytes(10))


def test_ulids_of_one_moment_differ() -> None:
    assert len({ulid(1.0) for _ in range(5000)}) == 5000


@given(st.integers(0, 2**48 - 2), st.integers(0, 200))
def test_ulids_of_one_page_are_in_its_order_and_of_its_moment(milliseconds: int, count: int) -> None:
    found = ulids(milliseconds / 1000, count)
    assert len(set(found)) == count
    assert found == sorted(found)
    assert all(len(one) == 26 and one[:10] == ulid(milliseconds / 1000)[:10] for one in found)


@given(st.lists(st.text("ab:é", max_size=3), max_size=2), st.lists(st.text("ab:é", max_size=3), max_size=3))
def test_digests_of_a_page_are_those_of_each(before: list[str], last: list[str]) -> None:
    assert digests(tuple(before), last) == [digest(*before, one) for one in last]


@given(st.lists(st.text()), st.lists(st.text()))
def test_digests_of_different_parts_differ_however_they_are_cut(left: list[str], right: list[str]) -> None:
    clean_left = [part.encode("utf-8", "ignore").decode() for part in left]
    clean_right = [part.encode("utf-8", "ignore").decode() for part in right]
    assert (digest(*clean_left) == digest(*clean_right)) == (clean_left == clean_right)


def test_a_located_id_gives_its_partition_back() -> None:
    assert partition_of(located("tenant.1:issue", "01ARYZ6S41")) == "tenant.1:issue"
    for bad in ("", "no-dot", ".rest", "partition."):
        with pytest.raises(Invalid):
            partition_of(bad)


@pytest.mark.parametrize("good", ["a", "conn-gh", "A.b_c-9", "x" * 63])
def test_ids_that_users_may_choose(good: str) -> None:
    assert check_user_id("id", good) == good


@pytest.mark.parametrize("bad", ["", "-a", ".a", "a/b", "a b", "x" * 64, "é", "a\n", None, 7])
def test_ids_that_users_may_not_choose_are_named_with_the_rule(bad: object) -> None:
    with pytest.raises(Invalid, match="1 to 63 characters") as refused:
        check_user_id("tenantId", bad)
    assert "tenantId" in refused.value.errors
