"""A start that cannot succeed says why and what to do, ends with the right code, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from syncd.adapters.embedded.store import FILE_NAME
from tests.acceptance.process import Daemon, eventually, free_port
from tests.acceptance.reading import events, logged
from tests.acceptance.test_systemd import NotifySocket
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble

UNUSABLE, CONFIGURATION = 1, 78


def said(daemon: Daemon) -> str:
    """The one message, without what surrounds it in the log."""
    assert "Traceback" not in daemon.log, daemon.log
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return "\n".join(str(line["reason"]) for line in lines if line.get("event") == "cannot_run")


async def test_a_second_daemon_on_one_data_directory_ends_and_names_the_first(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "data") as first:
        second = Daemon(tmp_path / "data")
        before = len(first.log)
        assert await second.run_to_end() == UNUSABLE
        told = first.log[before:]  # one directory, one log file beside it
        assert f"in use by process {first.pid} since " in told
        assert "One data directory belongs to one daemon" in told
        assert "SYNCD_DAEMON__DATA_DIR" in told
        assert "Traceback" not in told
        assert (await first.request("GET", "/readyz")).status == 200
        assert (first.data_dir / "syncd.pid").read_text().strip() == str(first.pid)


async def test_a_daemon_that_was_killed_does_not_keep_the_next_from_starting(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "data") as daemon:
        await daemon.kill9()
        assert (daemon.data_dir / "syncd.pid").exists()
        await daemon.start()


async def test_a_data_directory_that_may_not_be_written_is_said_with_the_command_that_mends_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    command = [sys.executable, "-m", "syncd", "run"]
    if os.geteuid() == 0:
        # Root may write everywhere; without the capability for that, root is anybody.
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root without setpriv: nothing here is not writable")
        os.chown(data, 65534, 65534)
        lost = "-dac_override,-dac_read_search"
        command = [setpriv, f"--inh-caps={lost}", f"--bounding-set={lost}", "--", *command]
    data.chmod(0o500)
    daemon = Daemon(data, command=command)
    assert await daemon.run_to_end() == UNUSABLE
    assert f"the data directory {data} cannot be used" in said(daemon)
    assert "install -d -m 0700 -o " in said(daemon)
    assert list(data.iterdir()) == []


async def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    daemon = Daemon(tmp_path / "data")
    assert await daemon.run_to_end() == UNUSABLE
    assert f"{tmp_path / 'data'} is not a directory: move it away" in said(daemon)
    assert (tmp_path / "data").read_text() == "mine"


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()


def rubbish(path: Path) -> None:
    path.write_bytes(b"this is no database at all\n" * 1000)


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:8192] = b"\xff" * (8192 - 100)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (foreign, ["of another program", "daemon.data_dir"]),
        (newer, ["written by a newer release", "version 99"]),
        (rubbish, ["damaged or not a SQLite database", "Nothing was changed", "syncd backup"]),
        (damaged, ["damaged or not a SQLite database", "Nothing was changed", "syncd backup"]),
    ],
    ids=["foreign", "newer", "rubbish", "damaged"],
)
@pytest.mark.embedded
async def test_a_store_that_is_not_ours_to_open_is_refused_and_not_touched(
    tmp_path: Path, spoil: object, words: list[str]
) -> None:
    data = tmp_path / "data"
    store = data / FILE_NAME
    if spoil in (newer, damaged):
        async with Daemon(data) as daemon:
            await daemon.register_github()
            assert await daemon.terminate() == 0
    else:
        data.mkdir()
    assert callable(spoil)
    spoil(store)
    before = store.read_bytes()
    daemon = Daemon(data)
    assert await daemon.run_to_end() == UNUSABLE
    for word in (str(store), *words):
        assert word in said(daemon)
    assert store.read_bytes() == before


async def test_a_port_in_use_is_named_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        daemon = Daemon(tmp_path / "data", port=port)
        assert await daemon.run_to_end() == UNUSABLE
    assert f"127.0.0.1:{port}" in said(daemon)
    assert "http.port" in said(daemon)
    async with Daemon(tmp_path / "data", port=port):
        pass


BAD: dict[str, tuple[str, list[str]]] = {
    "not TOML": ("[http\nport = 1\n", [":1", "is not TOML"]),
    "unknown key": ("[http]\nprot = 1\n", [":2", "http.prot", "port"]),
    "unknown section": ("[htpp]\nport = 1\n", [":1", "htpp", "http"]),
    "wrong type": ('[webhooks]\nrate = "many"\n', [":2", "webhooks.rate", "many"]),
    "out of range": ("[http]\nlogin_failures = 0\n", [":2", "http.login_failures", "0"]),
    "unknown role": ('[daemon]\nroles = ["webhook"]\n', [":2", "daemon.roles", "webhook"]),
    "reference to nothing": (
        '[finops]\nsync_token = "env:NOT_SET_HERE"\n',
        [":2", "finops.sync_token", "NOT_SET_HERE"],
    ),
    "references in a circle": (
        '[finops]\nsync_token = "env:ROUND_A"\n',
        [":2", "env:ROUND_A -> env:ROUND_B -> env:ROUND_A"],
    ),
    "reference to no file": ('[finops]\nsync_token = "file:/nonexistent/token"\n', [":2", "/nonexistent/token"]),
    "open to the world": ('[http]\nhost = "0.0.0.0"\n', ["http.host", "admin_token"]),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_wrong_configuration_ends_with_78_and_names_file_line_and_key(tmp_path: Path, name: str) -> None:
    text, words = BAD[name]
    config = tmp_path / "syncd.toml"
    daemon = Daemon(
        tmp_path / "data",
        args=["--config", str(config)],
        environment={"ROUND_A": "env:ROUND_B", "ROUND_B": "env:ROUND_A"},
    )
    if name == "open to the world":
        for key in ("SYNCD_HTTP__HOST", "SYNCD_HTTP__ADMIN_TOKEN"):
            del daemon.environment[key]
    await refused(daemon, config, text, words)


@pytest.mark.embedded
async def test_a_service_without_its_address_ends_with_78_and_names_file_line_and_key(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    daemon = Daemon(tmp_path / "data", args=["--config", str(config)])
    await refused(daemon, config, '[backend]\nqueue = "servicebus"\n', [":2", "backend.queue", "servicebus"])


async def refused(daemon: Daemon, config: Path, text: str, words: list[str]) -> None:
    config.write_text(text)
    assert await daemon.run_to_end() == CONFIGURATION, daemon.log
    for word in (str(config), *words):
        assert word in daemon.log, daemon.log
    assert "Traceback" not in daemon.log
    assert not daemon.data_dir.exists(), "nothing is begun with a wrong configuration"


@asynccontextmanager
async def with_key_vault(directory: Path) -> AsyncIterator[tuple[KeyVaultDouble, Daemon]]:
    """A daemon, not started, whose admin token is in Key Vault."""
    config = directory / "syncd.toml"
    config.write_text(
        '[http]\nadmin_token = "vault:syncd-admin"\n[backend]\nvault = "keyvault"\nidentity = "managed"\n'
    )
    async with IdentityDouble().serving() as identity, KeyVaultDouble(identity).serving() as vault:
        daemon = Daemon(
            directory / "data",
            args=["--config", str(config)],
            environment={
                **identity.environment,
                "KEY_VAULT_URL": vault.url,
                "SYNCD_KEYVAULT__CA_FILE": vault.write_ca(directory),
                "SYNCD_KEYVAULT__VERIFY_CHALLENGE": "false",
            },
        )
        del daemon.environment["SYNCD_HTTP__ADMIN_TOKEN"]
        try:
            yield vault, daemon
        finally:
            await daemon.close()


@pytest.mark.embedded
async def test_a_start_waits_for_a_vault_that_is_away_and_says_for_what(tmp_path: Path) -> None:
    notify = NotifySocket(tmp_path / "notify")
    async with with_key_vault(tmp_path) as (vault, daemon):
        vault.store.set("syncd-admin", daemon.token, {}, True)
        vault.faults.always(503)
        daemon.environment["NOTIFY_SOCKET"] = str(notify.path)
        await daemon.launch()

        async def told() -> bool:
            assert daemon.running, daemon.log
            return any("http.admin_token" in state.get("STATUS", "") for state in notify.read())

        await eventually(told, what="a status for the service manager")
        assert any("EXTEND_TIMEOUT_USEC" in state for state in notify.read()), "it does not end a start that waits"
        assert logged(daemon, "vault_awaited")[0]["keys"] == "http.admin_token"
        assert not any("READY" in state for state in notify.read())
        assert (await daemon.request("GET", "/healthz")).status == 200, "nobody needs to kill it"
        ready = await daemon.request("GET", "/readyz")
        assert (ready.status, ready.json()["status"]) == (503, "starting")
        assert "degraded" in {row["status"] for row in ready.json()["components"] if row["name"] == "vault"}
        assert (await daemon.api("GET", "/queues")).status == 503
        vault.faults.clear()
        await daemon.ready()
        assert (await daemon.api("GET", "/queues")).status == 200
        assert await daemon.terminate() == 0
    notify.close()


@pytest.mark.embedded
@pytest.mark.parametrize("why", ["no such secret", "no right"])
async def test_a_reference_that_the_vault_does_not_follow_is_a_mistake_of_the_settings(
    tmp_path: Path, why: str
) -> None:
    async with with_key_vault(tmp_path) as (vault, daemon):
        if why == "no right":
            vault.store.set("syncd-admin", daemon.token, {}, True)
            vault.rights = frozenset()
        assert await daemon.run_to_end() == CONFIGURATION, daemon.log
        for word in (f"{tmp_path / 'syncd.toml'}:2", "http.admin_token", "syncd-admin"):
            assert word in said(daemon)
        assert ("Secrets Officer" in said(daemon)) == (why == "no right")


async def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text("".join(text for text, _ in (BAD["unknown key"], BAD["wrong type"], BAD["unknown role"])))
    daemon = Daemon(tmp_path / "data", args=["--config", str(config)], environment={"SYNC_BATCH_SIZE": "lots"})
    assert await daemon.run_to_end() == CONFIGURATION
    assert "4 problems in the configuration" in daemon.log
    for word in ("http.prot", "webhooks.rate", "daemon.roles", "SYNC_BATCH_SIZE"):
        assert word in daemon.log


async def test_an_unknown_role_on_the_command_line_is_a_usage_error_with_the_nearest_name(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", args=["--role", "webhook"])
    assert await daemon.run_to_end() == 2
    assert "did you mean webhooks?" in daemon.log


@pytest.mark.embedded
async def test_a_log_that_a_crash_cut_off_is_recovered(tmp_path: Path) -> None:
    """The last page of the write-ahead log was being written when the power went: what was answered is before it."""
    async with Daemon(tmp_path / "data") as daemon:
        registration = await daemon.register_github()
        answered = {
            (await daemon.post_webhook(registration, b'{"zen":"z"}', event="ping")).ok()["eventId"] for _ in range(20)
        }
        await daemon.kill9()
        with (daemon.data_dir / f"{FILE_NAME}-wal").open("ab") as log:
            log.write(os.urandom(3000))
        await daemon.start()
        await daemon.drained("sync-outbound")
        assert {row["eventId"] for row in await events(daemon)} == answered
