"""Which backend the daemons of a test run on: `--backend azure` runs the whole suite there, `both` marks what always runs on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.services import ending, on


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--backend")
    marked = {marker.name for marker in metafunc.definition.iter_markers()}
    backends = [chosen] if chosen else ["embedded", "azure"] if "both" in marked else ["embedded"]
    only = [name for name in ("embedded", "azure") if name in marked]
    metafunc.parametrize("backend", only or backends, indirect=True)


@pytest.fixture(scope="module", autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of the module, so that a daemon that all tests of one share runs there too: its fixture asks for this one."""
    with on(request.param), ending():
        yield request.param


@pytest.fixture(autouse=True)
def services_end(backend: str) -> Iterator[None]:
    """Those of the test's own daemons, with the test."""
    with ending():
        yield
