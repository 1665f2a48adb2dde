from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.settings.envfile import EnvFile, parse_env_file


def values(file: EnvFile) -> dict[str, str]:
    assert file.problems == ()
    return {name: variable.value for name, variable in file.variables.items()}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A=b", "b"),
        ("A = b ", "b"),
        ("A=", ""),
        ("A='b c'", "b c"),
        ('A="b # c"', "b # c"),
        ('A="b" # comment', "b"),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=x+/y==", "x+/y=="),
        ('A="x+/y=="', "x+/y=="),
        ("A=a%20b", "a%20b"),
        ("A=$HOME\\n", "$HOME\\n"),
        ('A="a\\"b"', 'a\\"b'),
        ("A=Endpoint=sb://x/;Key=abc=", "Endpoint=sb://x/;Key=abc="),
        ("A=it's", "it's"),
    ],
)
def test_a_line_is_kept_as_written_but_for_matching_quotes(line: str, value: str) -> None:
    assert values(parse_env_file(".env", f"# c\n\n{line}\r\n".replace("\r\n", "\n"))) == {"A": value}


token = st.text(st.sampled_from("ABCabc019+/=-_.~%$\\!&|;"), min_size=1, max_size=60)


@given(token)
def test_a_token_survives_bare_and_quoted(value: str) -> None:
    assert values(parse_env_file("f", f"T={value}\nQ='{value}'\n")) == {"T": value, "Q": value}


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True), st.text(max_size=20)))
def test_local_settings_json_gives_its_values(document: dict[str, str]) -> None:
    text = json.dumps({"IsEncrypted": False, "Values": document}, indent=2)
    assert values(parse_env_file("local.settings.json", text)) == document


def test_every_line_that_cannot_be_read_is_named_and_the_others_are_kept() -> None:
    file = parse_env_file("x.env", 'A=1\nCANARY-token-without-a-name\nB="open\n1C=2\nD=3\n')
    assert [(problem.source.line if problem.source else 0) for problem in file.problems] == [2, 3, 4]
    assert list(file.variables) == ["A", "D"]
    assert "CANARY" not in "".join(map(str, file.problems))


def test_json_problems_name_the_line() -> None:
    (problem,) = parse_env_file("l.json", '{\n"Values": {\n"A": oops}}').problems
    assert str(problem).startswith("l.json:3: is not JSON")
    (encrypted,) = parse_env_file("l.json", '{"IsEncrypted": true, "Values": {}}').problems
    assert "func settings decrypt" in str(encrypted)
    (no_values,) = parse_env_file("l.json", "{}").problems
    assert "Values" in str(no_values)
    (nested,) = parse_env_file("l.json", '{"Values": {"A": {"b": 1}}}').problems
    assert "A" in str(nested)


def test_comments_and_plain_types_in_local_settings_json_are_read() -> None:
    text = '{\n  // note\n  "Values": {"A": true, "B": 5, "C": null}\n}'
    file = parse_env_file("l.json", text)
    assert values(file) == {"A": "true", "B": "5"}
    assert file.variables["A"].source.line == 3


def test_exported_application_settings_are_read() -> None:
    text = '[{"name": "A", "value": "x", "slotSetting": false}, {"name": "B", "value": "y"}]'
    assert values(parse_env_file("settings.json", text)) == {"A": "x", "B": "y"}


def test_a_name_set_twice_is_noted_and_the_later_counts() -> None:
    file = parse_env_file("x.env", "A=1\nA=2\n")
    assert values(file) == {"A": "2"}
    assert "line 1" in file.notes[0]
