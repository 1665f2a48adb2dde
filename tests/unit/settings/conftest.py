from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.settings import ConfigurationError, Loaded, load

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put a file into the working directory and answer its relative path, as an operator names it."""
    monkeypatch.chdir(tmp_path)

    def put(name: str, text: str) -> Path:
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return put


@pytest.fixture
def refused() -> Callable[..., list[str]]:
    """The problems of a configuration that must be refused, as the lines that people read."""

    def attempt(*arguments: object, **keywords: object) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load(*arguments, **keywords)
        return [str(problem) for problem in caught.value.problems]

    return attempt


@pytest.fixture
def from_toml(write: Write) -> Callable[..., Loaded]:
    def attempt(text: str, **keywords: object) -> Loaded:
        return load(write("syncd.toml", text), **keywords)

    return attempt
