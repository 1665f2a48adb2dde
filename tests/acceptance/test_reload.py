"""SIGHUP under load: a good file is in force at once, a bad one changes nothing, and no request fails either way (G15)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.load import Load
from tests.acceptance.process import Daemon, Registration, eventually
from tests.acceptance.reading import component, events, logged, metric, readiness
from tests.acceptance.services import patience

HUPS = 100
#: GitHub's scheme has the larger of two limits; this leaves room below it. The directory outlives the process: what a busy broker
#: does not take in time goes to the spool.
ROOM = {"SYNCD_WEBHOOKS__MAX_BODY_BYTES": "1024", "SYNCD_DAEMON__DATA_DIR_DURABLE": "true"}
#: Bodies that do not load, each with what the refusal must say. The mistake is in line 3 of each.
BAD = [
    ("[webhooks]\n\nlarge_body_bytes = \n", ["is not TOML", ":3"]),
    ("[webhooks]\n\nlarge_body_byte = 8192\n", ["webhooks.large_body_byte", "large_body_bytes", ":3"]),
    ("[webhooks]\n\nlarge_body_bytes = 'much'\n", ["webhooks.large_body_bytes", "much", ":3"]),
    ("[webhooks]\n\nlarge_body_bytes = 12\n", ["webhooks.large_body_bytes", "12", ":3"]),
    ("[telemetry]\n\nlog_level = 'loud'\n", ["telemetry.log_level", "loud", ":3"]),
    ("[jobs.maintenance]\n\nschedule = 'every now and then'\n", ["jobs.maintenance.schedule", ":3"]),
]


def good(limit: int) -> str:
    return f"[webhooks]\nlarge_body_bytes = {limit}\n"


@dataclass(slots=True)
class Asking:
    """An administrator's script that keeps looking."""

    daemon: Daemon
    answers: int = 0
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()

        async def look() -> None:
            paths = ("/webhooks/reg-github", "/jobs", "/queues", "/connections/conn-github", "/settings")
            while not stopping.is_set():
                path = paths[self.answers % len(paths)]
                answer = await self.daemon.api("GET", path)
                self.answers += 1
                # A broker may be too busy to be counted: no reload is to blame for that.
                if answer.status != 200 and not (path == "/queues" and answer.status == 503 and patience() > 1):
                    self.failed.append(f"{path}: {answer}")

        tasks = [asyncio.create_task(look()) for _ in range(2)]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*tasks)


async def reloads(daemon: Daemon) -> tuple[float, float]:
    return await metric(daemon, "config_reloads"), await metric(daemon, "config_reload_failures")


async def hup(daemon: Daemon, config: Path, text: str) -> None:
    """Put a file in place, say so, and wait until it was judged."""
    before = sum(await reloads(daemon))
    new = config.with_suffix(".new")
    new.write_text(text)
    new.replace(config)
    daemon.hup()

    async def judged() -> bool:
        return sum(await reloads(daemon)) == before + 1

    await eventually(judged, within=60, what="the verdict on the file")


async def largest(daemon: Daemon, registration: Registration, size: int) -> int:
    """The status that a body of so many bytes gets; what is not JSON is accepted and parked all the same."""
    return (await daemon.post_webhook(registration, b" " * size, event="ping")).status


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_reloads_half_of_them_bad_fail_no_request(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text(good(128 * 1024))
    async with Daemon(tmp_path / "data", args=["--config", str(config)], environment=ROOM) as daemon:
        load = Load(daemon, await daemon.register_github(), random.Random(1))
        asking = Asking(daemon)
        async with load.sending(4), asking.going_on():
            limit = 0
            for number in range(HUPS // 2):
                limit = 128 * 1024 + number
                await hup(daemon, config, good(limit))
                assert (await readiness(daemon))["generation"] == number + 2
                assert (await readiness(daemon))["lastReloadError"] is None
                text, words = BAD[number % len(BAD)]
                await hup(daemon, config, text)
                shown = await readiness(daemon)
                assert shown["generation"] == number + 2, "a bad file changes nothing"
                assert shown["status"] == "ready"
                for word in (str(config), *words):
                    assert word in shown["lastReloadError"], shown["lastReloadError"]
            assert await reloads(daemon) == (HUPS / 2, HUPS / 2)
            assert await metric(daemon, "config_generation") == HUPS / 2 + 1
            assert await largest(daemon, load.registration, limit) == 200
            assert await largest(daemon, load.registration, limit + 1) == 413
            assert len(load.acknowledged) > HUPS / 4, "there was load all the while"
            assert asking.answers > HUPS / 4
        assert (load.refused, load.unanswered, asking.failed) == ([], 0, [])
        await daemon.drained("sync-outbound", within=90 * patience())
        rows = {row["eventId"]: row["status"] for row in await events(daemon)}
        assert {rows[one.event_id] for one in load.acknowledged} == {"processed"}
        failures = logged(daemon, "reload_failed")
        assert len(failures) == HUPS / 2
        for number, line in enumerate(failures):
            assert line["level"] == "error"
            for word in (str(config), *BAD[number % len(BAD)][1]):
                assert word in line["error"]
        # The SDKs of services have their own way to tell of a request that failed and is repeated.
        assert not [line for line in daemon.log.splitlines() if "Traceback" in line and '"logger": "azure' not in line]


async def test_a_reload_names_what_changed_what_needs_a_restart_and_what_the_environment_hides(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text("[webhooks]\nrate = 100\n")
    hidden = {**ROOM, "SYNCD_WEBHOOKS__RATE": "5000"}
    async with Daemon(tmp_path / "data", args=["--config", str(config)], environment=hidden) as daemon:
        registration = await daemon.register_github()
        await hup(
            daemon,
            config,
            '[webhooks]\nrate = 1\nlarge_body_bytes = "2KiB"\n[http]\nkeepalive_timeout = 60\n[telemetry]\nlog_level = "debug"\n',
        )
        [line] = logged(daemon, "reload_ok")
        assert {change["key"] for change in line["changed"]} == {"webhooks.large_body_bytes", "telemetry.log_level"}
        assert line["needsRestart"] == ["http.keepalive_timeout"]
        [shadowed] = line["shadowed"]
        assert "webhooks.rate" in shadowed
        assert "SYNCD_WEBHOOKS__RATE" in shadowed
        assert await largest(daemon, registration, 2048) == 200
        assert await largest(daemon, registration, 2049) == 413


async def test_an_env_file_is_read_again_and_one_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    env_file = tmp_path / "syncd.env"
    env_file.write_text("SYNCD_WEBHOOKS__LARGE_BODY_BYTES=4096\n")
    async with Daemon(tmp_path / "data", args=["--env-file", str(env_file)], environment=ROOM) as daemon:
        registration = await daemon.register_github()
        assert await largest(daemon, registration, 4097) == 413
        await hup(daemon, env_file, "SYNCD_WEBHOOKS__LARGE_BODY_BYTES=8192\n")
        assert await largest(daemon, registration, 8192) == 200
        assert await largest(daemon, registration, 8193) == 413
        env_file.unlink()
        daemon.hup()

        async def refused() -> bool:
            return (await reloads(daemon))[1] == 1

        await eventually(refused, what="the refusal")
        assert str(env_file) in (await readiness(daemon))["lastReloadError"]
        assert await largest(daemon, registration, 8193) == 413
        assert (await component(daemon, "configuration") or {})["status"] == "degraded"
        await hup(daemon, env_file, "SYNCD_WEBHOOKS__LARGE_BODY_BYTES=8193\n")
        assert await largest(daemon, registration, 8193) == 200
        assert await component(daemon, "configuration") is None


async def test_many_signals_at_once_end_with_the_last_file(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text(good(2048))
    async with Daemon(tmp_path / "data", args=["--config", str(config)], environment=ROOM) as daemon:
        registration = await daemon.register_github()
        fresh = tmp_path / "fresh.toml"
        for number in range(50):
            fresh.write_text(good(4096 + number))
            fresh.rename(config)  # in one step, as every deployment tool does: a reload never reads half a file
            daemon.hup()

        async def in_force() -> bool:
            larger = await largest(daemon, registration, 4096 + 50)
            return larger == 413 and await largest(daemon, registration, 4096 + 49) == 200

        await eventually(in_force)
        assert await largest(daemon, registration, 4096 + 50) == 413


async def test_a_reload_that_is_asked_for_during_the_start_is_done_after_it(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text(good(2048))
    daemon = Daemon(tmp_path / "data", args=["--config", str(config)], environment=ROOM)
    try:
        await daemon.launch()

        async def begun() -> bool:
            return (daemon.data_dir / "syncd.lock").exists()

        await eventually(begun, what="the lock")
        fresh = tmp_path / "fresh.toml"
        fresh.write_text(good(4096))
        fresh.rename(config)
        daemon.hup()
        await daemon.ready()

        async def reloaded() -> bool:
            return await reloads(daemon) == (1, 0)

        await eventually(reloaded, what="the reload")
        assert await largest(daemon, await daemon.register_github(), 4096) == 200
    finally:
        await daemon.close()
