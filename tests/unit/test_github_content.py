from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.adapters.providers.github.content import (
    COMMENT,
    CONTENTS,
    ISSUE,
    PULL_REQUEST,
    REPOSITORY,
    content_of,
    identifier_of,
    key_in,
    marked,
)
from syncd.adapters.providers.github.records import GitHubRecords
from syncd.domain.errors import Invalid, NotUnderstood
from syncd.domain.jsontypes import Json, JsonObject
from tests.unit.test_github_events import DATA

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.skipif(DATA is None, reason="the real payloads (shared/data) are not here")
def test_real_objects_are_kept_without_what_changes_by_itself_and_without_noise() -> None:
    assert DATA is not None
    payloads = {one["event"]: one["payloads"][0] for one in json.loads(DATA.read_text())}
    assert content_of(ISSUE, payloads["issues"]["issue"]) == {
        "id": 444500041,
        "number": 1,
        "title": "Spelling error in the README file",
        "body": "It looks like you accidently spelled 'commit' with two 't's.",
        "state": "open",
        "state_reason": None,
        "labels": ["bug"],
        "assignees": ["Codertocat"],
        "milestone": 1,
        "locked": False,
        "user": "Codertocat",
        "html_url": "https://github.com/Codertocat/Hello-World/issues/1",
        "created_at": "2019-05-15T15:20:18.000Z",
        "closed_at": None,
    }
    comment = content_of(COMMENT, payloads["issue_comment"]["comment"])
    assert (comment["id"], comment["issue"], comment["user"]) == (492700400, 1, "Codertocat")
    pull = content_of(PULL_REQUEST, payloads["pull_request"]["pull_request"])
    assert (pull["base"], pull["head"], pull["head_sha"][:7], pull["draft"]) == ("master", "changes", "ec26c3e", False)
    home = content_of(REPOSITORY, payloads["repository"]["repository"])
    assert (home["full_name"], home["owner"], home["license"]) == ("Codertocat/Hello-World", "Codertocat", None)
    assert "stargazers_count" not in home


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_shape_is_the_same_whatever_is_missing(kind: str) -> None:
    assert content_of(kind, {}).keys() == CONTENTS[kind].keys()


def test_the_order_of_people_and_labels_says_nothing() -> None:
    labels: list[Json] = [{"name": "b"}, {"name": "a"}, "c", {"name": "a"}, {"name": None}]
    people = [{"login": "zoe"}, None, {"login": "ada"}]
    found = content_of(ISSUE, {"labels": labels, "assignees": people})
    assert (found["labels"], found["assignees"]) == (["a", "b", "c"], ["ada", "zoe"])


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (ISSUE, {"title": 1}),
        (ISSUE, {"body": []}),
        (ISSUE, {"labels": {"name": "a"}}),
        (ISSUE, {"labels": [1]}),
        (ISSUE, {"user": 5}),
        (ISSUE, {"user": {"login": 5}}),
        (ISSUE, {"locked": "no"}),
        (ISSUE, {"number": "1"}),
        (ISSUE, {"number": True}),
        (ISSUE, {"milestone": 1}),
        (ISSUE, {"created_at": "yesterday"}),
        (PULL_REQUEST, {"base": "main"}),
        (COMMENT, {"issue_url": 7}),
    ],
)
def test_a_field_of_another_type_is_not_understood(kind: str, found: JsonObject) -> None:
    with pytest.raises(NotUnderstood, match=r"must be|is not a time"):
        content_of(kind, found)


@pytest.mark.parametrize(
    ("kind", "found", "expected"),
    [
        (ISSUE, {"id": 9, "number": 4}, "7#4"),
        (PULL_REQUEST, {"id": 9, "number": 4}, "7#4"),
        (COMMENT, {"id": 9}, "9"),
        (REPOSITORY, {"id": 9}, "9"),
        (ISSUE, {"id": 9}, None),
        (ISSUE, {"number": 0}, None),
        (ISSUE, {"number": "4"}, None),
        (COMMENT, {"id": True}, None),
    ],
)
def test_objects_are_known_by_repository_and_number_or_by_id(
    kind: str, found: JsonObject, expected: str | None
) -> None:
    if expected is None:
        with pytest.raises(NotUnderstood, match="has no"):
            identifier_of(kind, found, "7")
    else:
        assert identifier_of(kind, found, "7") == expected


@given(body=st.none() | st.text())
def test_the_marker_of_a_create_is_found_again_and_never_read_as_content(body: str | None) -> None:
    sent = marked(body, KEY)
    assert key_in(sent) == KEY
    assert content_of(ISSUE, {"body": sent})["body"] == (body or None)


def test_a_marker_that_people_wrote_around_is_still_one() -> None:
    body = f"before\r\n\r\n<!-- syncd:{KEY} -->\r\nafter"
    assert (key_in(body), content_of(COMMENT, {"body": body})["body"]) == (KEY, "before\r\nafter")
    assert key_in("<!-- syncd:short -->") is None
    assert key_in(None) is None


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"owner": "o", "repo": "r"}, set()),
        ({"owner": "octo-org", "repo": ".github", "baseUrl": "https://ghe.example/api/v3/"}, set()),
        ({}, {"owner", "repo"}),
        ({"owner": "o/p", "repo": "a/b"}, {"owner", "repo"}),
        ({"owner": "..", "repo": ".."}, {"owner", "repo"}),
        ({"owner": 5, "repo": None}, {"owner", "repo"}),
        ({"owner": "o", "repo": "r", "baseUrl": "ftp://x"}, {"baseUrl"}),
        ({"owner": "o", "repo": "r", "baseUrl": "https://u:p@x"}, {"baseUrl"}),
        ({"owner": "o", "repo": "r", "baseUrl": "https://x/?a=1"}, {"baseUrl"}),
        ({"owner": "o", "repo": "r", "baseUrl": "https://[x"}, {"baseUrl"}),
        ({"owner": "o", "repo": "r", "baseUrl": None}, {"baseUrl"}),
    ],
)
def test_settings_are_judged_by_field(settings: JsonObject, wrong: set[str]) -> None:
    assert set(GitHubRecords().check(settings)) == wrong
    if "baseUrl" in wrong:
        with pytest.raises(Invalid):
            GitHubRecords().base_url(settings)
    else:
        assert not GitHubRecords().base_url(settings).endswith("/")
