"""Which backend the daemons of a test run on: `--backend azure` runs the whole suite there, `both` marks what always runs on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.services import on


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--backend")
    marked = {marker.name for marker in metafunc.definition.iter_markers()}
    backends = [chosen] if chosen else ["embedded", "azure"] if "both" in marked else ["embedded"]
    only = [name for name in ("embedded", "azure") if name in marked]
    metafunc.parametrize("backend", only or backends, indirect=True)


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with on(request.param):
        yield request.param
