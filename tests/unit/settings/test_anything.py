"""Whatever is written, the answer is settings or a list of problems, never another exception."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.settings import ConfigurationError, catalogue, load
from syncd.settings.envfile import parse_env_file
from syncd.settings.layers import file_layer
from syncd.settings.names import HONOURED
from syncd.settings.tomlfile import parse_toml

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "env:A",
            "file:/nope",
            "vault:x",
            "env:",
            "every 1s",
            "0",
            "-1",
            "10m",
            "1MiB",
            "~nobody9/x",
            "[1",
            "{",
            "\x00",
        ]
    ),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
dotted = st.sampled_from(
    [*(key.dotted for key in catalogue.keys().values()), "providers.github.client_id", "aci.environment.A"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(dotted, values, max_size=5), st.booleans())
def test_any_value_of_any_key_is_settings_or_problems(chosen: dict[str, Any], as_overlay: bool) -> None:
    with contextlib.suppress(ConfigurationError):
        load(None, environ={"A": "env:A"}, **({"overlay": chosen} if as_overlay else {"flags": chosen}))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(key.environment_name for key in catalogue.keys().values()) + [h.name for h in HONOURED])
        | st.from_regex(r"SYNCD_[A-Z_]{0,20}", fullmatch=True),
        st.text(max_size=20) | st.sampled_from(["env:A", "[1", '{"a": 1}', "[{}]", "true", "1"]),
        max_size=5,
    )
)
def test_any_environment_is_settings_or_problems(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        load(None, environ=environ)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_toml_file_or_a_problem_and_any_env_file_is_read(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        file_layer(parse_toml("f", text))
    parse_env_file("f", text)
    parse_env_file("f", "{" + text)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="longer than"):
        load(Path("/dev/zero"))
