"""What GitHub does its own way, beyond what every provider is tried for (tests/conformance/test_providers.py)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from syncd.adapters.providers.github import PROVIDER
from syncd.adapters.providers.github.records import GitHubRecords
from syncd.domain.errors import Invalid, NotFound, Rejected, ServerFault, Throttled
from syncd.domain.times import DAY
from syncd.ports.api import Api
from syncd.ports.provider import Fetch, RecordPage
from tests.doubles.client import connected
from tests.doubles.contract import START, Fault
from tests.doubles.github import REPOSITORY_ID, GitHubDouble

KEY = "0123456789abcdef0123456789abcdef"
GITHUB = GitHubRecords()


@pytest.fixture
def double() -> GitHubDouble:
    return GitHubDouble(("issue", "pull_request", "issue_comment"))


@pytest.fixture
async def api(double: GitHubDouble) -> AsyncIterator[Api]:
    async with connected(PROVIDER, double) as api:
        yield api


def asked(double: GitHubDouble) -> list[str]:
    return [f"{line.method} {line.path.rpartition('hello.world')[2] or line.path}" for line in double.log]


async def first(api: Api, kind: str, since: float | None = None, validator: str | None = None) -> RecordPage:
    return await GITHUB.fetch(api, Fetch(kind=kind, since=since, validator=validator))


# -- reading --


async def test_pull_requests_in_the_list_of_issues_are_no_issues(api: Api, double: GitHubDouble) -> None:
    issue, pull = double.put("issue", 1), double.put("pull_request", 2)
    assert [record.external_id for record in (await first(api, "issue")).records] == [issue]
    assert [record.external_id for record in (await first(api, "pull_request")).records] == [pull]
    assert await GITHUB.read(api, "issue", pull) is None


async def test_closed_issues_are_read_and_the_documented_headers_are_sent(api: Api, double: GitHubDouble) -> None:
    made = double.put("issue", 1)
    double.edit("issue", made, {"state": "closed"})
    [record] = (await first(api, "issue")).records
    assert (record.data["state"], record.data["state_reason"]) == ("closed", "completed")
    sent = double.log[0].headers
    assert sent["accept"] == "application/vnd.github+json"
    assert sent["x-github-api-version"] == "2022-11-28"
    assert double.log[0].query["per_page"] == "100"


async def test_the_repositorys_id_is_asked_for_only_where_the_page_does_not_tell_it(
    api: Api, double: GitHubDouble
) -> None:
    await first(api, "issue")
    assert asked(double) == ["GET /issues"]
    double.put("issue", 1)
    double.put("issue", 2)
    await first(api, "issue")
    assert asked(double)[1:] == ["GET /issues", "GET /repos/Octo-Org/hello.world"]
    await GITHUB.fetch(api, Fetch(kind="issue", limit=1))
    assert asked(double)[3:] == ["GET /issues"], "its next link names the repository"


@pytest.mark.parametrize("since", [None, START])
async def test_what_changes_while_pages_are_read_hides_no_other_issue(
    api: Api, double: GitHubDouble, since: float | None
) -> None:
    made = [double.put("issue", number) for number in range(9)]
    seen: list[str] = []
    cursor: str | None = None
    for turn in range(20):
        page = await GITHUB.fetch(api, Fetch(kind="issue", since=since, cursor=cursor, limit=3))
        seen += [record.external_id for record in page.records]
        double.now += 1
        double.edit("issue", seen[-1], {"title": f"again {turn}"})
        cursor = page.next
        if cursor is None:
            break
    assert set(seen) == set(made)


async def test_pull_requests_are_read_back_to_since_and_no_further(api: Api, double: GitHubDouble) -> None:
    for number in range(6):
        double.now = START + number
        double.put("pull_request", number)
    found: list[float | None] = []
    cursor: str | None = None
    while True:
        page = await GITHUB.fetch(api, Fetch(kind="pull_request", since=START + 3.5, cursor=cursor, limit=2))
        found += [record.updated_at for record in page.records]
        cursor = page.next
        if cursor is None:
            break
    assert found == [START + 5, START + 4, START + 3]
    assert len(double.log) == 2


async def test_the_repository_itself_is_one_record(api: Api, double: GitHubDouble) -> None:
    page = await first(api, "repository")
    assert [(record.external_id, record.data["full_name"]) for record in page.records] == [
        (str(REPOSITORY_ID), "Octo-Org/hello.world")
    ]
    assert (await first(api, "repository", since=START + 1)).records == []
    assert await GITHUB.read(api, "repository", str(REPOSITORY_ID)) == page.records[0]


async def test_a_connection_is_told_which_repository_it_may_do_what_to(api: Api) -> None:
    assert await GITHUB.test(api) == {
        "repository": "Octo-Org/hello.world",
        "private": True,
        "permissions": ["pull", "push"],
    }


async def test_an_item_that_is_no_issue_is_kept_aside_and_the_rest_is_read(api: Api, double: GitHubDouble) -> None:
    good = {"number": 4, "title": "t", "repository": {"id": 7}}
    items = [{"title": "no number"}, good, "text", {**good, "labels": 5}, {**good, "updated_at": "soon"}]
    double.faults.append(Fault(status=200, body=json.dumps(items).encode()))
    page = await first(api, "issue", since=START)
    assert [record.external_id for record in page.records] == ["7#4"]
    assert [(one.position, one.raw) for one in page.unreadable] == [
        (0, items[0]),
        (2, items[2]),
        (3, items[3]),
        (4, items[4]),
    ]
    assert all(one.reason for one in page.unreadable)


async def test_a_page_that_names_itself_as_the_next_is_a_fault(api: Api, double: GitHubDouble) -> None:
    here = f"{double.url}/repositories/1/issues?page=2"
    double.faults.append(Fault(status=200, body=b"[]", headers={"Link": f'<{here}>; rel="next"'}))
    page = await first(api, "issue")
    assert page.next is not None
    double.faults.append(Fault(status=200, body=b"[]", headers={"Link": f'<{here}>; rel="next"'}))
    with pytest.raises(ServerFault, match="the page itself"):
        await GITHUB.fetch(api, Fetch(kind="issue", cursor=page.next))
    with pytest.raises(Invalid):
        await GITHUB.fetch(api, Fetch(kind="issue", cursor="[]"))


# -- conditional requests --


@pytest.mark.parametrize("kind", ["issue", "pull_request", "issue_comment"])
async def test_where_nothing_is_new_nothing_is_sent_and_nothing_is_counted(
    api: Api, double: GitHubDouble, kind: str
) -> None:
    double.put("issue", 1)
    double.put(kind, 1)
    before = await first(api, kind, since=START)
    assert before.validator
    for later in (0, 60, 120):
        page = await first(api, kind, since=START + later, validator=before.validator)
        assert (page.unchanged, page.records, page.next) == (True, (), None)
        assert page.validator == before.validator
        assert double.log[-1].status == 304


@pytest.mark.parametrize("kind", ["issue", "pull_request", "issue_comment"])
async def test_what_changed_since_is_shown_whatever_the_validator_says(
    api: Api, double: GitHubDouble, kind: str
) -> None:
    double.put("issue", 1)
    made = double.put(kind, 1)
    before = await first(api, kind, since=START)
    double.now = START + 300
    double.edit(kind, made, double.change(kind, 1))
    page = await first(api, kind, since=START + 200, validator=before.validator)
    assert not page.unchanged
    assert [record.external_id for record in page.records] == [made]
    again = await first(api, kind, since=START + 200, validator=page.validator)
    settled = again if again.unchanged else await first(api, kind, since=START + 200, validator=again.validator)
    assert settled.unchanged


async def test_a_validator_of_another_list_or_a_later_since_is_not_used(api: Api, double: GitHubDouble) -> None:
    double.put("issue", 1)
    validator = (await first(api, "issue", since=START)).validator
    for other in (
        Fetch(kind="issue", since=START - 1, validator=validator),
        Fetch(kind="pull_request", since=START, validator=validator),
        Fetch(kind="issue", validator=validator),
        Fetch(kind="issue", since=START, limit=7, validator=validator),
        Fetch(kind="issue", since=START, validator="of another version"),
        Fetch(kind="issue", since=START, validator="[]"),
    ):
        assert not (await GITHUB.fetch(api, other)).unchanged
        assert all("if-none-match" not in line.headers for line in double.log)
    assert (await first(api, "issue")).validator is None, "a full read is asked for to be read"


# -- what is gone, and what only seems so --


async def test_a_repository_that_is_hidden_says_so_instead_of_losing_its_issues(api: Api, double: GitHubDouble) -> None:
    made = double.put("issue", 1)
    double.visible = False
    for attempt in (
        GITHUB.read(api, "issue", made),
        GITHUB.update(api, "issue", made, {"title": "t"}, whole={}, version=None),
        GITHUB.delete(api, "issue_comment", "5", version=None),
        first(api, "issue"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_issues_that_are_switched_off_are_not_gone(api: Api, double: GitHubDouble) -> None:
    made = double.put("issue", 1)
    double.has_issues = False
    with pytest.raises(NotFound, match="switched off"):
        await GITHUB.read(api, "issue", made)


async def test_a_credential_that_may_only_read_is_told_so_and_nothing_counts_as_gone(
    api: Api, double: GitHubDouble
) -> None:
    made = double.put("issue", 1)
    double.may_write = False
    with pytest.raises(Rejected, match="may only read"):
        await GITHUB.update(api, "issue", made, {"title": "t"}, whole={}, version=None)


async def test_a_transferred_issue_is_gone_from_here(api: Api, double: GitHubDouble) -> None:
    made = double.put("issue", 1)
    double.transferred[1] = 77
    assert await GITHUB.read(api, "issue", made) is None
    assert await GITHUB.update(api, "issue", made, {"title": "t"}, whole={}, version=None) is None


# -- writing --


async def test_an_issue_that_is_closed_with_us_is_created_and_closed(api: Api, double: GitHubDouble) -> None:
    data = {**double.sample("issue", 1), "state": "closed", "state_reason": "not_planned"}
    made = await GITHUB.create(api, "issue", data, key=KEY)
    assert double.held("issue", made.external_id) == data
    assert data.items() <= made.data.items()


async def test_a_creation_is_told_even_where_closing_it_fails(api: Api, double: GitHubDouble) -> None:
    data = {**double.sample("issue", 1), "state": "closed", "state_reason": "nonsense"}
    made = await GITHUB.create(api, "issue", data, key=KEY)
    assert double.ids("issue") == [made.external_id]
    assert made.data["state"] == "open", "what is still to be done can be told from the record"


async def test_an_issue_whose_id_could_not_be_told_is_found_and_not_made_again(api: Api, double: GitHubDouble) -> None:
    data = double.sample("issue", 1)
    double.away = True
    with pytest.raises(ServerFault, match="was created"):
        await GITHUB.create(api, "issue", data, key=KEY)
    double.away = False
    found = await GITHUB.find(api, "issue", data, key=KEY)
    assert found is not None
    assert double.ids("issue") == [found.external_id]


async def test_an_issue_is_found_behind_others_and_not_after_a_month(api: Api, double: GitHubDouble) -> None:
    data = double.sample("issue", 1)
    made = await GITHUB.create(api, "issue", data, key=KEY)
    for number in range(120):
        double.put("issue", number)
    found = await GITHUB.find(api, "issue", data, key=KEY)
    assert found is not None
    assert found.external_id == made.external_id
    double.now += 31 * DAY
    for number in range(100):
        double.put("issue", number)
    double.log.clear()
    await GITHUB.find(api, "issue", data, key="f" * 32)
    assert len(double.log) == 2, "the second page ends before the last month"


async def test_the_next_write_of_a_body_takes_the_marker_away(api: Api, double: GitHubDouble) -> None:
    made = await GITHUB.create(api, "issue", {"title": "t"}, key=KEY)
    assert made.data["body"] is None
    [held] = double.objects["issue"].values()
    assert held["body"] == f"<!-- syncd:{KEY} -->"
    await GITHUB.update(api, "issue", made.external_id, {"body": "b"}, whole={"title": "t", "body": "b"}, version=None)
    assert held["body"] == "b"


async def test_a_reason_is_sent_with_its_state_and_lists_are_emptied(api: Api, double: GitHubDouble) -> None:
    made = double.put("issue", 1)
    double.edit("issue", made, {"state": "closed"})
    whole = {**double.sample("issue", 1), "state": "closed", "state_reason": "duplicate"}
    changes = {"state_reason": "duplicate", "labels": None, "assignees": None, "milestone": None}
    after = await GITHUB.update(api, "issue", made, changes, whole=whole, version=None)
    assert after is not None
    assert double.log[-1].body == {**changes, "labels": [], "assignees": [], "state": "closed"}
    assert (after.data["state_reason"], after.data["labels"]) == ("duplicate", [])


async def test_a_comment_says_which_issue_it_belongs_to_and_stays_there(api: Api, double: GitHubDouble) -> None:
    double.put("issue", 1)
    with pytest.raises(Invalid, match="number of its issue"):
        await GITHUB.create(api, "issue_comment", {"body": "b"}, key=KEY)
    made = await GITHUB.create(api, "issue_comment", {"body": "b", "issue": 1}, key=KEY)
    assert (made.data["issue"], made.data["body"]) == (1, "b")
    with pytest.raises(Rejected, match="moves no comment"):
        await GITHUB.update(api, "issue_comment", made.external_id, {"issue": 2}, whole={}, version=None)


async def test_what_cannot_be_done_is_refused_before_anything_is_sent(api: Api, double: GitHubDouble) -> None:
    with pytest.raises(Rejected, match="can be closed"):
        await GITHUB.delete(api, "issue", f"{REPOSITORY_ID}#1", version=None)
    with pytest.raises(Rejected, match="cannot be created"):
        await GITHUB.create(api, "pull_request", {"title": "t"}, key=KEY)
    for kind, identifier in (
        ("issue", "1"),
        ("issue", "1#0"),
        ("issue", "a#1"),
        ("issue_comment", "1#1"),
        ("label", "1"),
    ):
        with pytest.raises(Invalid):
            await GITHUB.read(api, kind, identifier)
    with pytest.raises(Invalid, match="has no 'label'"):
        await first(api, "label")
    assert double.log == []


# -- limits: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit --


@pytest.mark.parametrize(
    ("status", "headers", "message", "wait"),
    [
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(START) + 90)},
            "API rate limit exceeded",
            90.0,
        ),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(START) + 90)}, "", 90.0),
        (403, {"retry-after": "17", "x-ratelimit-remaining": "4000"}, "You have exceeded a secondary rate limit", 17.0),
        (403, {"x-ratelimit-remaining": "4000"}, "You have exceeded a secondary rate limit", 60.0),
        (429, {}, "You have exceeded a secondary rate limit", 60.0),
        (403, {"x-ratelimit-remaining": "4000"}, "Resource not accessible by integration", None),
    ],
)
async def test_each_way_of_refusing_for_now_says_when_to_come_back(
    api: Api, double: GitHubDouble, status: int, headers: dict[str, str], message: str, wait: float | None
) -> None:
    double.faults.append(Fault(status=status, headers=headers, body=json.dumps({"message": message}).encode()))
    if wait is None:
        with pytest.raises(Rejected, match="not accessible"):
            await first(api, "issue")
        return
    with pytest.raises(Throttled) as refused:
        await first(api, "issue")
    assert refused.value.retry_after == wait
