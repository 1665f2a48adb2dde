"""Real answers of GitHub, as @octokit/fixtures recorded them, pulled by the running daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon
from tests.acceptance.reading import pages
from tests.acceptance.syncing import TENANT, assert_sums_up, begin, config, ended, told
from tests.doubles.octokit import ISSUES, OWNER, REPO, Replay, Unavailable, recording


@pytest.fixture(scope="module")
def exchanges(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    assert request.config.cache is not None
    try:
        return recording(request.config.cache.mkdir("octokit-fixtures"))
    except Unavailable as error:
        pytest.skip(f"the recorded answers of GitHub are not here: {error}")


@pytest.fixture
async def github(exchanges: list[dict[str, Any]]) -> AsyncIterator[Replay]:
    replay = Replay(exchanges)
    async with replay.serving():
        yield replay


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
        yield daemon


async def pull(daemon: Daemon, **more: Any) -> JsonObject:
    result = await ended(daemon, await begin(daemon, "octokit", integrationId="github", **more))
    assert result["status"] == "succeeded", result
    assert_sums_up(result)
    return told(result)


def asked_since(github: Replay) -> list[str | None]:
    """Of each request for issues: the time that it named."""
    return [parse_qs(urlsplit(one).query).get("since", [None])[0] for one in github.log if "/issues" in one]


async def test_every_recorded_issue_is_stored_once_and_a_second_pull_stores_nothing_new(
    daemon: Daemon, github: Replay
) -> None:
    connection = {
        "id": "octokit",
        "tenantId": TENANT,
        "integrationId": "github",
        "settings": {"baseUrl": github.url, "owner": OWNER, "repo": REPO},
        "entities": {"issue": {"direction": "pull"}},
    }
    (await daemon.api("POST", "/connections", connection)).ok()
    assert await pull(daemon) == {"fetched": ISSUES, "created": ISSUES}
    assert asked_since(github) == [None] * 5
    stored = await pages(daemon, f"/entities/issue?tenantId={TENANT}")
    assert sorted(one["externalIds"]["octokit"] for one in stored) == sorted(
        f"1000#{number}" for number in range(1, ISSUES + 1)
    )
    assert {one["data"]["title"] for one in stored} == {f"Test issue {number}" for number in range(1, ISSUES + 1)}

    github.log.clear()
    await daemon.kill9()
    await daemon.start()
    again = await pull(daemon)
    assert again.get("fetched", 0) == again.get("unchanged", 0)
    since = asked_since(github)[0]  # the recorded links do not name it
    assert since is not None, "the cursor outlived the kill: only what is new was asked for"
    assert since.startswith("2017-"), "and it is by GitHub's own clock"
    assert await pages(daemon, f"/entities/issue?tenantId={TENANT}") == stored

    github.log.clear()
    assert await pull(daemon, full=True) == {"fetched": ISSUES, "unchanged": ISSUES}
    assert asked_since(github) == [None] * 5
    assert await pages(daemon, f"/entities/issue?tenantId={TENANT}") == stored
