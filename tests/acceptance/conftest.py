"""Which backend the daemons of a test run on: `--backend azure` runs the whole suite there, `both` marks what always runs on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.services import on


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--backend")
    marked = {marker.name for marker in metafunc.definition.iter_markers()}
    backends = [chosen] if chosen else ["embedded", "azure"] if "both" in marked else ["embedded"]
    metafunc.parametrize("backend", ["embedded"] if "embedded" in marked else backends, indirect=True)


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with on(request.param):
        yield request.param
