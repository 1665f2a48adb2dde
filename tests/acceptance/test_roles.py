"""Roles: each replica does its own part, and what one takes in another works off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.process import Daemon
from tests.acceptance.reading import events, readiness

ISSUE = b'{"action":"opened","issue":{"id":%d,"number":%d,"title":"t"},"repository":{"id":7}}'


@pytest.mark.both
async def test_one_takes_webhooks_in_and_another_works_them_off(tmp_path: Path, backend: str) -> None:
    async with Daemon(tmp_path / "data", args=["--role", "webhooks"]) as daemon:
        registration = await daemon.register_github()
        for number in range(20):
            answer = await daemon.post_webhook(registration, ISSUE % (number, number), delivery=f"d-{number}")
            assert answer.ok()["status"] == "accepted"
        await daemon.restart()
        assert (await readiness(daemon))["roles"] == ["webhooks"]
        again = await daemon.post_webhook(registration, ISSUE % (0, 0), delivery="d-0")
        # A broker absorbs it and does not say so; the row that would is not there before the event is processed.
        assert again.ok()["status"] == ("duplicate" if backend == "embedded" else "accepted")
        waiting = await daemon.queue("sync-outbound")
        assert (waiting["ready"], waiting["leased"]) == (20, 0), "it works nothing off"
        assert await events(daemon) == []

        await daemon.terminate()
        daemon.args = ["--role", "outbound"]
        await daemon.start()
        await daemon.drained("sync-outbound")
        assert [row["status"] for row in await events(daemon)] == ["processed"] * 20
        refused = await daemon.post_webhook(registration, ISSUE % (1, 1))
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "another one of the deployment does" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("role", "jobs"),
    [("finops", ["finops-daily-sync", "maintenance"]), ("outbound", ["maintenance"])],
)
async def test_a_role_has_its_own_jobs_and_every_replica_keeps_house(
    tmp_path: Path, role: str, jobs: list[str]
) -> None:
    async with Daemon(tmp_path / "data", args=["--role", role]) as daemon:
        assert [job["name"] for job in (await daemon.api("GET", "/jobs")).ok()["items"]] == jobs
        absent = await daemon.api("POST", "/jobs/aci-scaler/run")
        assert absent.status == 404
        assert "there are: " + ", ".join(jobs) in absent.json()["detail"]


async def test_several_roles_may_be_named_at_once(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "data", args=["--role", "webhooks,outbound"]) as daemon:
        assert (await readiness(daemon))["roles"] == ["webhooks", "outbound"]
        registration = await daemon.register_github()
        await daemon.post_webhook(registration, ISSUE % (1, 1))
        await daemon.drained("sync-outbound")
        assert [row["status"] for row in await events(daemon)] == ["processed"]
