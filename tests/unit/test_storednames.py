"""What is a name, one table for each kind; every backend is held to it in tests/conformance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.errors import Invalid
from syncd.domain.ids import digest
from syncd.domain.storednames import blob_name, secret_name


@pytest.mark.parametrize("name", ["a", "a/b", "...", "..a", "a..", "~", "-", "x" * 1024, "/".join("ab" * 200)])
def test_names_of_blobs(name: str) -> None:
    assert blob_name(name) == name


@pytest.mark.parametrize("name", ["", "/", "/a", "a/", "a//b", ".", "a/..", "a b", "a\\b", "a\n", "é", "x" * 1025])
def test_what_is_no_name_of_a_blob(name: str) -> None:
    with pytest.raises(Invalid, match="no blob name"):
        blob_name(name)


@given(st.text())
def test_a_name_of_a_secret_is_what_key_vault_takes(text: str) -> None:
    taken = 1 <= len(text) <= 127 and all(one.isascii() and (one.isalnum() or one == "-") for one in text)
    try:
        assert secret_name(text) == text
    except Invalid:
        assert not taken
    else:
        assert taken


def test_derived_names_fit_both() -> None:
    derived = digest("tenant", "credential", "id")
    assert secret_name(blob_name(derived)) == derived
