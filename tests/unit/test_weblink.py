from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.http.weblink import links, target_of


@pytest.mark.parametrize(
    ("header", "following"),
    [
        ('<https://h/i?page=2>; rel="next", <https://h/i?page=9>; rel="last"', "https://h/i?page=2"),
        ("<https://h/a>; rel=prev, <https://h/b>; rel=next", "https://h/b"),
        ('<https://h/i?a=1,2;x>; rel="next"', "https://h/i?a=1,2;x"),
        ('<?page=2>;rel="prev NEXT"', "?page=2"),
        ('</b>; title="a, <https://evil/>; rel=next"; rel="next"', "/b"),
        ('</a>; title="\\"; rel=next"; rel=prev', None),
        ("</a>; rel=prev; rel=next", None),
        ("</a>; REL=next", "/a"),
        ("</a>; rel = next", "/a"),
        ("</a>; nextish; rel=nextish", None),
        ("</a", None),
        ("rel=next", None),
        ("", None),
        ('</a>; rel="next', "/a"),
        ("<>; rel=next", ""),
    ],
)
def test_the_next_link_is_found_whatever_stands_around_it(header: str, following: str | None) -> None:
    assert target_of(header, "next") == following


@given(st.text(alphabet='<>;,="\\ relnxt/a', max_size=200))
def test_any_header_is_read_to_its_end(header: str) -> None:
    for target, relations in links(header):
        assert isinstance(target, str)
        assert isinstance(relations, frozenset)


_TARGETS = st.text(alphabet="abc/?&=,;%1 ", min_size=1, max_size=20).map(str.strip).filter(bool)
_RELATIONS = st.sampled_from(["next", "prev", "last", "first"])


@given(st.lists(st.tuples(_TARGETS, _RELATIONS), max_size=5))
def test_what_is_written_is_read_again(wanted: list[tuple[str, str]]) -> None:
    header = ", ".join(f'<{target}>; title="x, \\"y;"; rel="{relation}"' for target, relation in wanted)
    assert [(target, next(iter(found))) for target, found in links(header)] == wanted
