"""`syncd demo` as a newcomer runs it: real processes, and a verdict that can fail."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import aiohttp
import pytest

from syncd.demo.verdict import Seen, judge
from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import eventually

#: Its services are its own, whichever the daemons of other tests have.
pytestmark = pytest.mark.embedded

#: What would steer a daemon, and must not steer the demo's: a busy port, a backend that is not there, somebody's real endpoint.
HOSTILE = {
    "SYNCD_HTTP__PORT": "1",
    "SYNCD_DAEMON__ROLES": "finops",
    "COSMOS_ENDPOINT": "https://production.example",
    "FINOPS_SYNC_ENABLED": "true",
    "DJANGO_WEBHOOK_URL": "https://production.example/finops/api/sync/",
}


#: Where the size does not matter.
SMALL = ("--contacts", "200", "--events", "200")


async def demo(directory: Path, *options: str, **environment: str) -> asyncio.subprocess.Process:
    """Its throw-away directory, and with it the working directory of its children, is made below `directory`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "syncd",
        "demo",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "200", **environment},
    )


def children(directory: Path) -> list[str]:
    """The command lines of all processes that work below `directory`, removed or not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(f"{directory}/"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
    return found


async def until(stream: asyncio.StreamReader | None, words: str) -> str:
    """What the stream said, up to the line with `words`."""
    assert stream is not None
    said = ""
    async for line in stream:
        said += line.decode()
        if words in said:
            return said
    pytest.fail(f"it ended without {words!r}:\n{said}")


def figure(out: str, what: str) -> str:
    """What the closing table says about it."""
    found = re.search(rf"^ *{what} {{2,}}(.+?) {{2,}}", out, re.MULTILINE)
    assert found, f"{what}:\n{out}"
    return found[1]


@pytest.mark.timeout(400)
async def test_two_systems_and_a_thousand_webhooks_survive_a_kill_and_every_book_says_so(tmp_path: Path) -> None:
    process = await demo(tmp_path, DEMO_EXIT="1", **HOSTILE)
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, out + err
    assert out.splitlines()[-1].strip() == "lost 0, doubled 0"
    assert re.search(r"kill -9, at [\d,]+ of 1,000 webhooks, \d+ of 1,000 contacts pulled", err)
    assert re.search(r"Back after \d+\.\d s", err)
    assert figure(out, "webhooks of GitHub") == "1,000 sent, 1,000 processed, 0 twice"
    assert re.fullmatch(r"(\d+) sent, \1 applied", figure(out, "webhooks of the CRM"))
    assert figure(out, "in the CRM") == figure(out, "stored") == figure(out, "on the mail list") == "1,000"
    assert figure(out, "pushed back to the CRM") == "4"
    assert figure(out, "left for a push task at the end") == "0"
    assert figure(out, "conflicts") == "1 by rule, 1 for a person"
    assert figure(out, "parked, repaired, replayed") == "1"
    assert figure(out, "waiting, parked") == "0, 0"
    # How many wait, and whether the mail list's limit is met at all, is decided by how fast the machine is.
    _, attempts = re.findall(r"\d+", figure(out, "most pushes waiting for it at once").replace(",", ""))
    assert int(attempts) == 0
    assert not figure(out, "429 from CRM, mail list").startswith("0,"), "the CRM refuses one request in nine"
    assert children(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_it_goes_on_running_with_its_dashboard_until_it_is_interrupted(tmp_path: Path) -> None:
    process = await demo(tmp_path, *SMALL)
    said = await until(process.stdout, "Ctrl-C")
    address = re.search(r"http://127\.0\.0\.1:\d+/", said)
    token = re.search(r"token is in (\S+)", said)
    assert address
    assert token
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{address[0]}api/v1/queues", headers={"Authorization": f"Bearer {Path(token[1]).read_text().strip()}"}
        ) as answer,
    ):
        assert answer.status == 200
    conflicts = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "syncd", "conflicts", "list", "--tenant", "acme", "--status", "open"),
        env={**os.environ, "SYNCD_URL": address[0], "SYNCD_TOKEN": Path(token[1]).read_text().strip()},
        stdout=asyncio.subprocess.PIPE,
    )
    listed, _ = await conflicts.communicate()
    assert conflicts.returncode == 0
    assert b"note" in listed
    assert len(children(tmp_path)) == 3
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0
    assert children(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["1. The daemon runs", "4. kill -9"])
async def test_interrupted_at_any_point_it_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    process = await demo(tmp_path, *SMALL)
    await until(process.stderr, moment)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "Nothing is left running" in err.decode()
    assert children(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_demo_that_is_itself_killed_takes_its_children_with_it(tmp_path: Path) -> None:
    process = await demo(tmp_path, *SMALL)
    await until(process.stderr, "3. All at once")

    async def sending() -> bool:
        return any("sender" in child for child in children(tmp_path))

    await eventually(sending, what="a sender")
    process.kill()
    await process.communicate()

    async def gone() -> bool:
        return not children(tmp_path)

    await eventually(gone, what="the end of its children")


# -- the verdict --

ISSUES, EVENTS = 4, 3
PLANNED = ISSUES * EVENTS


class Books:
    """A sender's log and an API's answers that agree, to be spoilt."""

    def __init__(self) -> None:
        self.log: list[JsonObject] = []
        self.rows: list[JsonObject] = []
        self.entities: list[JsonObject] = []
        self.queues: list[JsonObject] = [{"name": "q", "ready": 0, "leased": 0, "scheduled": 0, "dead": 0}]
        for issue in range(ISSUES):
            for event in range(EVENTS):
                delivery = {
                    "delivery": f"{issue}-{event}",
                    "issue": f"1#{issue}",
                    "updatedAt": f"2026-01-0{event + 1}T00:00:00Z",
                }
                self.log += [
                    {"what": "sending", **delivery},
                    {"what": "failed", "lost": True, **delivery},
                    {"what": "sending", **delivery},
                    {"what": "answered", "answer": "accepted", **delivery},
                ]
                self.rows.append(
                    {
                        "status": "processed",
                        "entityId": f"1#{issue}",
                        "effect": "updated" if event else "created",
                        "headers": {"x-github-delivery": delivery["delivery"]},
                    }
                )
            self.entities.append(
                {
                    "externalIds": {"c": f"1#{issue}"},
                    "version": EVENTS,
                    "changedAt": f"2026-01-0{EVENTS}T00:00:00.000Z",
                }
            )

    def seen(self) -> Seen:
        return Seen(rows=self.rows, entities=self.entities, queues=self.queues, connection_id="c")


def test_books_that_balance_are_good() -> None:
    books = Books()
    verdict = judge(books.log, books.seen(), planned=PLANNED)
    assert verdict.good
    assert verdict.sentence == "12 sent, 12 processed, 0 twice"
    assert (verdict.tries, verdict.unanswered, verdict.duplicates) == (24, 12, 0)


def test_an_event_that_came_after_a_newer_one_rightly_leaves_no_version() -> None:
    books = Books()
    books.rows[1]["effect"] = "outdated"
    books.entities[0]["version"] -= 1
    assert judge(books.log, books.seen(), planned=PLANNED).good


def lose_a_row(books: Books) -> None:
    del books.rows[5]


def leave_a_row_open(books: Books) -> None:
    books.rows[5]["status"] = "accepted"


def apply_an_event_twice(books: Books) -> None:
    books.entities[2]["version"] += 1


def store_an_issue_twice(books: Books) -> None:
    books.entities.append(deepcopy(books.entities[0]))


def write_two_rows_for_a_delivery(books: Books) -> None:
    books.rows.append(deepcopy(books.rows[0]))


def lose_an_effect(books: Books) -> None:
    books.entities[1]["version"] -= 1


def lose_an_issue(books: Books) -> None:
    del books.entities[3]


def keep_old_content(books: Books) -> None:
    books.entities[1]["changedAt"] = "2026-01-01T00:00:00.000Z"


def never_answer_a_delivery(books: Books) -> None:
    books.log = [line for line in books.log if not (line["what"] == "answered" and line["delivery"] == "0-0")]


def make_up_a_row(books: Books) -> None:
    books.rows.append({**books.rows[0], "headers": {"x-github-delivery": "made-up"}})


def make_up_an_entity(books: Books) -> None:
    books.entities.append({"externalIds": {"c": "1#999"}, "version": 1, "data": {}})


def leave_a_message(books: Books) -> None:
    books.queues[0]["scheduled"] = 1


def park_a_message(books: Books) -> None:
    books.queues[0]["dead"] = 1


@pytest.mark.parametrize(
    ("spoil", "sentence", "said"),
    [
        (lose_a_row, "12 sent, 11 processed, 0 twice", "have no processed row, for example 1-2"),
        (leave_a_row_open, "12 sent, 11 processed, 0 twice", "1 rows are not processed"),
        (apply_an_event_twice, "12 sent, 12 processed, 1 twice", "issue 1#2 has version 4 after 3 events"),
        (store_an_issue_twice, "12 sent, 12 processed, 3 twice", "issue 1#0 has version 6 after 3 events"),
        (write_two_rows_for_a_delivery, "12 sent, 12 processed, 1 twice", "more than one row"),
        (lose_an_effect, "12 sent, 12 processed, 0 twice", "1 effects are missing"),
        (lose_an_issue, "12 sent, 12 processed, 0 twice", "3 effects are missing"),
        (keep_old_content, "12 sent, 12 processed, 0 twice", "do not have the content of their newest event"),
        (never_answer_a_delivery, "11 sent, 11 processed, 0 twice", "1 of 12 deliveries never got a 2xx"),
        (make_up_a_row, "12 sent, 12 processed, 0 twice", "never sent"),
        (make_up_an_entity, "12 sent, 12 processed, 0 twice", "belong to no issue"),
        (leave_a_message, "12 sent, 12 processed, 0 twice", "1 messages still wait"),
        (park_a_message, "12 sent, 12 processed, 0 twice", "1 messages are parked"),
    ],
)
def test_the_verdict_finds_what_is_lost_doubled_or_left(
    spoil: Callable[[Books], None], sentence: str, said: str
) -> None:
    books = Books()
    spoil(books)
    verdict = judge(books.log, books.seen(), planned=PLANNED)
    assert not verdict.good
    assert verdict.sentence == sentence
    assert any(said in problem for problem in verdict.problems), verdict.problems


def test_an_empty_log_is_no_success() -> None:
    seen = Seen(rows=[], entities=[], queues=[], connection_id="c")
    assert not judge([], seen, planned=PLANNED).good
