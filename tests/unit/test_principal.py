"""Principals: roles and tenants."""

from __future__ import annotations

import pytest

from syncd.domain.errors import Forbidden, NotFound
from syncd.domain.principal import LOCAL, Principal

READER = Principal(name="reader")
ONE = Principal(name="one", role="operate", tenants=frozenset({"t1"}))


def test_a_reader_may_not_operate_and_is_told_so_by_name() -> None:
    with pytest.raises(Forbidden, match="'reader' may only read"):
        READER.may_operate()


def test_a_token_of_one_tenant_sees_that_tenant_only() -> None:
    assert ONE.sees("t1")
    assert not ONE.sees("t2")
    assert not ONE.sees(None)


def test_a_token_of_all_tenants_sees_what_belongs_to_nobody_too() -> None:
    assert READER.sees("anything")
    assert READER.sees(None)


def test_creating_for_another_tenant_is_forbidden() -> None:
    ONE.may_operate_in("t1")
    with pytest.raises(Forbidden, match="may not act for the tenant 't2'"):
        ONE.may_operate_in("t2")


def test_another_tenants_things_do_not_exist() -> None:
    ONE.must_see("t1", "task 'x'")
    with pytest.raises(NotFound, match="there is no task 'x'"):
        ONE.must_see("t2", "task 'x'")


def test_what_belongs_to_the_whole_deployment_is_not_for_a_token_of_tenants() -> None:
    LOCAL.must_be_everywhere("jobs")
    with pytest.raises(Forbidden, match="jobs belong to the whole deployment"):
        ONE.must_be_everywhere("jobs")


def test_a_token_of_no_tenant_sees_nothing() -> None:
    nobody = Principal(name="nobody", tenants=frozenset())
    assert not nobody.sees("t1")
    assert not nobody.everywhere
