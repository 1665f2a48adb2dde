"""The closing table: every figure read back, and where from."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.demo.acts import Acts
from syncd.demo.books import Balance, Ledgers, balance
from syncd.demo.cast import Cast
from syncd.demo.connections import CONTACT, CRM, CRM_HOOK, GITHUB, GITHUB_HOOK, ISSUE, MAIL, TENANT
from syncd.demo.desk import Desk
from syncd.demo.narration import Narrator
from syncd.demo.readback import Api
from syncd.demo.story import Seen as Glimpsed
from syncd.demo.story import Story
from syncd.demo.verdict import Seen, Verdict, judge
from syncd.domain.jsontypes import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    webhooks: Verdict
    """Of the events that GitHub sent."""
    contacts: Balance
    pulled: JsonObject
    pushed: JsonObject
    """Results of the tasks: {status, counts}."""
    glimpsed: Glimpsed
    acts: Acts
    shared: bool
    """On services, which cannot count everything."""

    @property
    def lost(self) -> int:
        return self.contacts.lost + self.webhooks.lost

    @property
    def doubled(self) -> int:
        return self.contacts.doubled + self.webhooks.twice

    @property
    def problems(self) -> tuple[str, ...]:
        found = [*self.webhooks.problems, *self.contacts.problems]
        for name, result in ((CRM, self.pulled), (MAIL, self.pushed)):
            if result["status"] != "succeeded":
                found.append(f"the task of the {name} is {result['status']}")
        if self.pushed["counts"].get("updated"):
            found.append(f"{self.pushed['counts']['updated']:,} contacts were still owed to the mail list at the end")
        if (self.contacts.by_rule, self.contacts.open) != (1, 1):
            found.append(
                f"{self.contacts.by_rule} conflicts were resolved by rule and {self.contacts.open} wait for a person; it should be one each"
            )
        return tuple(found)

    @property
    def sentence(self) -> str:
        return f"lost {self.lost:,}, doubled {self.doubled:,}"


async def read_back(cast: Cast, story: Story, *, api: Api, crm: Desk, mail: Desk, events: int) -> Report:
    queues = await api.queues()
    seen = Seen(
        rows=await api.all(f"/webhooks/{GITHUB_HOOK}/events"),
        entities=await api.all(f"/entities/{ISSUE}", tenantId=TENANT),
        queues=queues,
        connection_id=GITHUB,
    )
    ledgers = Ledgers(
        crm=await crm.records(),
        mail=await mail.records(),
        entities=await api.all(f"/entities/{CONTACT}", tenantId=TENANT),
        crm_requests=cast.requests(CRM),
        mail_requests=cast.requests(MAIL),
        hooks=cast.hooks(),
        rows=await api.all(f"/webhooks/{CRM_HOOK}/events"),
        conflicts=await api.all("/conflicts", tenantId=TENANT),
    )
    return Report(
        webhooks=judge(cast.sent(), seen, planned=events),
        contacts=balance(ledgers, returns=story.acts.returns),
        pulled=await _result(api, story.pulled),
        pushed=await _result(api, story.pushed),
        glimpsed=story.seen,
        acts=story.acts,
        shared=cast.shared,
    )


async def _result(api: Api, task_id: str) -> JsonObject:
    if not task_id:
        return {"status": "not made", "counts": {}}
    task = await api.ask("GET", f"/tasks/{task_id}")
    found = await api.ask("GET", f"/results/{task['resultId']}") if task.get("resultId") else {"counts": {}}
    return {"status": task["status"], "counts": found["counts"]}


def show(report: Report, narrator: Narrator) -> None:
    github, contacts, glimpsed = report.webhooks, report.contacts, report.glimpsed
    narrator.table(
        "The books",
        [
            ("webhooks of GitHub", github.sentence, "API, webhook events"),
            (
                "  tries, without an answer, repeated",
                f"{github.tries:,}, {github.unanswered:,}, {github.duplicates:,}",
                "its log",
            ),
            (
                "webhooks of the CRM",
                f"{contacts.told:,} sent, {contacts.applied:,} applied",
                "API, webhook events",
            ),
            ("pulled from the CRM", f"{report.pulled['counts'].get('fetched', 0):,}", "API, results"),
            (
                "pushed to the mail list",
                f"{contacts.added:,} added, {contacts.changed:,} changed, {contacts.removed:,} removed",
                "its request log",
            ),
            (
                "  left for a push task at the end",
                f"{report.pushed['counts'].get('updated', 0):,}",
                "API, results",
            ),
            ("  looked for after a lost answer", f"{contacts.sought:,}", "its request log"),
            ("pushed back to the CRM", f"{contacts.returned:,}", "its request log"),
            ("in the CRM", f"{contacts.contacts:,}", "its records"),
            ("stored", f"{contacts.stored:,}", "API, entities"),
            ("on the mail list", f"{contacts.members:,}", "its records"),
            ("429 from CRM, mail list", f"{contacts.refused[CRM]:,}, {contacts.refused[MAIL]:,}", "their request logs"),
            (
                "  most pushes waiting for it at once",
                f"{glimpsed.pushes_waiting:,}, {glimpsed.attempts:,} attempts burned",
                "API, queues",
            ),
            ("conflicts", f"{contacts.by_rule:,} by rule, {contacts.open:,} for a person", "API, conflicts"),
            ("parked, repaired, replayed", f"{report.acts.repaired:,}", "API, parked messages"),
            (
                "waiting, parked",
                f"{github.waiting:,}, {github.parked:,}",
                "API, queues",
            ),
        ],
    )
    if report.shared:
        narrator.result(
            "Of a webhook that comes again Service Bus cannot always say so: there were at least so many repeats."
        )
        narrator.result("It has no count of what waits: the oldest messages of each queue are looked at.")
    if github.uncounted:
        narrator.result(f"Not counted, because the backend cannot: {', '.join(github.uncounted)}.")
    narrator.result(report.sentence, "bold red" if report.problems else "bold green")
    for problem in report.problems:
        narrator.result(f"Wrong: {problem}.", "red")
