"""Whom a command speaks to, with which token, and what it says where that is not possible."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from syncd.cli import access
from syncd.runtime.lock import DataDirectory
from tests.integration.cli.kit import Syncd
from tests.integration.http.world import ADMIN, READER, TENANT_1, World


async def test_it_speaks_to_the_daemon_that_holds_the_lock_and_says_so_on_stderr(world: World, syncd: Syncd) -> None:
    result = await syncd("jobs", "list", "--output", "json")
    assert result.code == 0
    assert result.err == f"speaking to the daemon at {world.address} (process {os.getpid()})\n"
    assert [job["name"] for job in result.json] == ["finops-daily-sync"]


async def test_the_token_is_named_by_where_it_came_from_when_it_is_refused(
    world: World, syncd: Syncd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCD_TOKEN", "a-wrong-one")
    refused = await syncd("jobs", "list")
    assert refused.code == 1
    assert "this token is not known here (the token is the one of SYNCD_TOKEN)" in refused.err
    assert "a-wrong-one" not in refused.err + refused.out
    monkeypatch.delenv("SYNCD_TOKEN")
    monkeypatch.delenv("SYNCD_HTTP__ADMIN_TOKEN")
    none = await syncd("jobs", "list")
    assert none.code == 1
    assert f"no token is known: set SYNCD_TOKEN or http.admin_token, and there is no {tmp_path}/admin-token" in none.err
    (tmp_path / "admin-token").write_text(f"{ADMIN}\n")
    assert (await syncd("jobs", "list")).code == 0


async def test_a_token_of_the_configuration_with_every_tenant_is_used(
    world: World, syncd: Syncd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYNCD_HTTP__ADMIN_TOKEN")
    (tmp_path / "syncd.toml").write_text(
        f'[[http.tokens]]\nname = "one"\nrole = "operate"\ntenants = ["tenant-1"]\nvalue = "{TENANT_1}"\n'
        f'[[http.tokens]]\nname = "pipeline"\nrole = "operate"\nvalue = "{ADMIN}"\n'
    )
    assert (await syncd("jobs", "list")).code == 0


async def test_a_daemon_may_be_named_by_its_address_and_needs_no_data_directory(
    world: World, syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCD_DAEMON__DATA_DIR", "nowhere")
    monkeypatch.setenv("SYNCD_URL", world.address.removeprefix("http://"))
    assert (await syncd("jobs", "list")).code == 0
    for wrong in ("ftp://x", "http://[bad", "http://u:p@h"):
        assert (await syncd("jobs", "list", "--url", wrong)).code == 2
    nobody = await syncd("jobs", "list", "--url", "http://127.0.0.1:1")
    assert nobody.code == 1
    assert "nothing answers at http://127.0.0.1:1 (Connection refused): does the daemon run there?" in nobody.err


async def test_the_token_file_of_this_machine_is_not_sent_to_another(
    syncd: Syncd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYNCD_HTTP__ADMIN_TOKEN")
    (tmp_path / "admin-token").write_text("ours")
    result = await syncd("jobs", "list", "--url", "https://syncd.example")
    assert result.code == 1
    assert result.err == "syncd: no token is known: set SYNCD_TOKEN or http.admin_token\n"


async def test_another_server_on_that_port_is_recognised(syncd: Syncd) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<p/>"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await syncd("jobs", "list", "--url", f"127.0.0.1:{port}")
    assert result.code == 1
    assert f"http://127.0.0.1:{port} does not answer as syncd does: 200 text/html" in result.err


async def test_a_holder_without_an_address_is_waited_for_and_then_named(
    syncd: Syncd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "PATIENCE", 0.0)
    directory = DataDirectory(tmp_path, boot="test", now=lambda: 1_700_000_000.0)
    await asyncio.to_thread(directory.acquire)
    result = await syncd("jobs", "list")
    await asyncio.to_thread(directory.release)
    assert result.code == 1
    assert f"is in use by process {os.getpid()} since 2023-11-14T22:13:20.000Z" in result.err
    assert "its HTTP interface is not up" in result.err


async def test_a_missing_data_directory_is_not_made(
    syncd: Syncd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCD_DAEMON__DATA_DIR", "elsewhere")
    result = await syncd("jobs", "list")
    assert result.code == 1
    assert f"there is no data directory {tmp_path}/elsewhere: start the daemon once" in result.err
    assert not (tmp_path / "elsewhere").exists()


async def test_status_opens_no_store(syncd: Syncd, tmp_path: Path) -> None:
    result = await syncd("status")
    assert (result.code, result.out, result.err) == (1, "", f"syncd: no daemon runs on {tmp_path}\n")
    assert not (tmp_path / "syncd.db").exists()


async def test_a_reader_is_told_that_it_may_not_change_anything(
    world: World, syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCD_TOKEN", READER)
    assert (await syncd("queues", "list")).code == 0
    refused = await syncd("jobs", "pause", "finops-daily-sync")
    assert (refused.code, refused.out) == (1, "")
    assert "operate" in refused.err
