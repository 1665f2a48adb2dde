"""Which backend the daemons of a test run on: `--backend azure` runs the whole suite there, `both` marks what always runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.services import LONGER_ON_SERVICES, ending, on


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--backend")
    marked = {marker.name for marker in metafunc.definition.iter_markers()}
    backends = [chosen] if chosen else ["embedded", "azure"] if "both" in marked else ["embedded"]
    only = [name for name in ("embedded", "azure") if name in marked]
    metafunc.parametrize("backend", only or backends, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        chosen = getattr(item, "callspec", None)
        here = item.path.is_relative_to(Path(__file__).parent)
        if here and chosen is not None and chosen.params.get("backend") == "azure":
            marker = item.get_closest_marker("timeout")
            seconds = float(marker.args[0] if marker else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(seconds * LONGER_ON_SERVICES), append=False)


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
