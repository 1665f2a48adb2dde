"""The line scanner, held against the standard library's parser."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.settings import ConfigurationError
from syncd.settings.tomlfile import parse_toml
from syncd.settings.tomltext import toml_key, toml_value

DOCUMENT = '''\
# comment = 1
title = "a # b"

[a]
"quoted.key" = 1  # trailing
dotted.inner = [
  1,  # [not] = a table
  { x = """
multi = 1
""", y = 'lit' },
]
[[list.of]]
name = "one"
[[list.of]]
name = \'\'\'two
lines\'\'\'
after = 2
[list.of.sub]
z = 1979-05-27T07:32:00Z
'''


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return {path} | {leaf for name, item in value.items() for leaf in leaves(item, (*path, name))}
    if isinstance(value, list):
        return {path} | {leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))}
    return {path}


def test_every_key_has_the_line_where_it_is_written() -> None:
    lines = parse_toml("f", DOCUMENT).lines
    expected = {
        ("title",): 2,
        ("a",): 4,
        ("a", "quoted.key"): 5,
        ("a", "dotted", "inner"): 6,
        ("a", "dotted", "inner", 0): 7,
        ("a", "dotted", "inner", 1, "x"): 8,
        ("a", "dotted", "inner", 1, "y"): 10,
        ("list", "of", 0, "name"): 13,
        ("list", "of", 1, "name"): 15,
        ("list", "of", 1, "after"): 17,
        ("list", "of", 1, "sub", "z"): 19,
    }
    assert {path: lines[path] for path in expected} == expected


def test_the_scanner_finds_exactly_the_keys_that_the_parser_finds() -> None:
    assert set(parse_toml("f", DOCUMENT).lines) == leaves(tomllib.loads(DOCUMENT)) - {()}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
scalars = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(texts, st.dictionaries(texts, values, max_size=4), max_size=4))
def test_what_is_written_is_read_back_and_every_key_has_its_line(document: dict[str, dict[str, Any]]) -> None:
    lines = []
    expected = {}
    for section, table in document.items():
        lines.append(f"[{toml_key(section)}]")
        for name, value in table.items():
            lines.append(f"{toml_key(name)} = {toml_value(value)}")
            expected[section, name] = len(lines)
    read = parse_toml("f", "\n".join(lines))
    assert read.values == document
    assert {path: read.lines[path] for path in expected} == expected
    assert set(read.lines) == leaves(document) - {()}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = oops\n", 2),
        ("a = 1\na = 2\n", 2),
        ('x = 1\ny = "open\n', 2),
        ("[a\n", 1),
        ('a = """\n\n', 1),
        ("a = [1,\n", 1),
    ],
)
def test_a_syntax_error_names_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_toml("conf.toml", text)
    (problem,) = caught.value.problems
    assert problem.source is not None
    assert problem.source.line == pytest.approx(line, abs=1)
    assert str(problem).startswith("conf.toml:")


def test_a_deeply_nested_file_is_refused_not_a_crash() -> None:
    with pytest.raises(ConfigurationError, match=r"nested too deeply|not TOML"):
        parse_toml("f", "a = " + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize("text", ["[a]\n[a]\n", "a = 1\na = 2\n"])
def test_what_stands_twice_is_called_that(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"f:2: is not TOML: the table or key is there already"):
        parse_toml("f", text)
