"""Real answers of GitHub, as @octokit/fixtures recorded them, read through the provider's file and the product's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from syncd.adapters.providers.github import PROVIDER
from syncd.domain.times import parse
from syncd.ports.api import Api
from syncd.ports.provider import Fetch, Record
from tests.doubles.client import api_to
from tests.doubles.octokit import ISSUES, OWNER, REPO, Replay, Unavailable, recording

#: Each recorded issue was last changed at this moment.
CHANGED = parse("2017-10-10T16:00:00Z")


@dataclass(frozen=True)
class Recorded:
    replay: Replay
    api: Api

    async def pull(self, since: float | None = None) -> list[list[Record]]:
        assert PROVIDER.records is not None
        pages: list[list[Record]] = []
        cursor: str | None = None
        while len(pages) < 20:
            page = await PROVIDER.records.fetch(self.api, Fetch(kind="issue", since=since, cursor=cursor))
            assert page.unreadable == []
            pages.append(list(page.records))
            cursor = page.next
            if cursor is None:
                return pages
        raise AssertionError("the pages do not end")


@pytest.fixture(scope="module")
def exchanges(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    assert request.config.cache is not None
    try:
        return recording(request.config.cache.mkdir("octokit-fixtures"))
    except Unavailable as error:
        pytest.skip(f"the recorded answers of GitHub are not here: {error}")


@pytest.fixture
async def recorded(exchanges: list[dict[str, Any]]) -> AsyncIterator[Recorded]:
    replay = Replay(exchanges)
    async with replay.serving() as url:
        settings = {"baseUrl": url, "owner": OWNER, "repo": REPO}
        async with api_to(url, PROVIDER, settings) as api:
            yield Recorded(replay, api)


async def test_every_recorded_issue_is_read_once_over_all_pages(recorded: Recorded) -> None:
    pages = await recorded.pull()
    assert [len(page) for page in pages] == [3, 3, 3, 3, 1]
    found = [record.external_id for page in pages for record in page]
    assert found == [f"1000#{number}" for number in range(ISSUES, 0, -1)]
    assert len(recorded.replay.log) == 5, "the repository's id is read off the links; nothing else is asked for"


async def test_issues_that_share_node_id_and_time_are_told_apart_by_content_too(recorded: Recorded) -> None:
    records = [record for page in await recorded.pull() for record in page]
    assert {record.updated_at for record in records} == {CHANGED}
    assert [record.data["title"] for record in records] == [f"Test issue {number}" for number in range(13, 0, -1)]
    assert (records[0].data["number"], records[0].data["id"]) == (13, 1000)
    assert {record.data["user"] for record in records} == {"octokit-fixture-user-a"}


@pytest.mark.parametrize(("later", "count"), [(0.0, ISSUES), (0.9, ISSUES), (1.0, 0)])
async def test_since_shows_what_changed_in_its_second_or_later(recorded: Recorded, later: float, count: int) -> None:
    pages = await recorded.pull(since=CHANGED + later)
    assert sum(map(len, pages)) == count
    assert "since=2017-10-10T16:00:0" in recorded.replay.log[0]
