"""Secrets of every origin, told to the log at debug level by code with a fault: none is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from syncd.bootstrap.process import TOKEN_FILE
from syncd.domain.secrets import Secret
from syncd.telemetry.log import Logs
from tests.acceptance.process import Daemon, eventually
from tests.integration.talkative import JOB
from tests.integration.test_composition import built

CANARIES = {
    "the admin token": "canary-admin-token-1",
    "a token of the file": "canary-token-of-the-file-2",
    "SECRET_KEY": "canary-secret-key-of-the-vault-3",
    "SECRET_SYNC_TOKEN": "canary/sync+token=4",
    "a credential": "canary-credential-5",
    "a field of a credential": 'canary"refresh-token-6',
    "a webhook's secret": "canary-webhook-secret-7",
    "a webhook's next secret": "next-canary-webhook-secret-8",
}


async def tell(daemon: Daemon, told: Path, texts: list[str]) -> None:
    told.write_text("\n".join(texts))
    ran = (await daemon.api("POST", f"/jobs/{JOB}/run")).ok()["executionId"]

    async def ended() -> bool:
        return bool((await daemon.api("GET", f"/executions/{ran}")).ok()["status"] == "failed")

    await eventually(ended, what="the job that tells everything")


async def test_no_secret_reaches_the_log_of_the_real_daemon_at_debug_level(tmp_path: Path) -> None:
    told = tmp_path / "told"
    config = tmp_path / "syncd.toml"
    config.write_text(f'[[http.tokens]]\nname = "other"\nrole = "read"\nvalue = "{CANARIES["a token of the file"]}"\n')
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SYNCD_CONFIG": str(config),
        "SYNCD_TELEMETRY__LOG_LEVEL": "debug",
        "SYNCD_TELEMETRY__LOG_FORMAT": "json",
        "SECRET_KEY": CANARIES["SECRET_KEY"],
        "SECRET_SYNC_TOKEN": CANARIES["SECRET_SYNC_TOKEN"],
    }
    async with Daemon(
        tmp_path / "data",
        command=(sys.executable, "-m", "tests.integration.talkative", str(told)),
        token=CANARIES["the admin token"],
        environment=environment,
    ) as daemon:
        connection = {"id": "c1", "tenantId": "t", "integrationId": "github", "settings": {"owner": "o", "repo": "r"}}
        tokens = {"accessToken": CANARIES["a credential"], "refreshToken": CANARIES["a field of a credential"]}
        credential = {"kind": "oauth2", "clientId": "an-open-client-id", **tokens}
        (await daemon.api("POST", "/connections", {**connection, "credential": credential})).ok()
        webhook = {"id": "r1", "tenantId": "t", "integrationId": "github", "connectionId": "c1", "scheme": "github"}
        (await daemon.api("POST", "/webhooks", {**webhook, "secret": CANARIES["a webhook's secret"]})).ok()
        given = [value for name, value in CANARIES.items() if "next" not in name]
        await tell(daemon, told, [*given, "an-open-client-id"])
        # A new process knows only what it reads again: settings from their files, secrets from the vault as they are used.
        await daemon.restart()
        rotated = {"secret": CANARIES["a webhook's next secret"]}
        (await daemon.api("POST", "/webhooks/r1/rotate", rotated)).ok()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=00"}
        assert (await daemon.request("POST", "/webhooks/r1/events", body=b"{}", headers=headers)).status == 401
        await tell(daemon, told, [value for name, value in CANARIES.items() if "credential" not in name])
        await daemon.terminate()
        log = daemon.log
    for word in ("sending", "deprecated", "refused"):
        assert log.count(word) >= 2, "it was told"
    assert "an-open-client-id" in log, "what is no secret is written"
    assert {name for name, value in CANARIES.items() if value in log or value[:16] in log} == set()


@pytest.mark.may_block  # composition before anything is served
async def test_a_token_made_by_the_daemon_and_fields_of_credentials_are_known_to_the_log(tmp_path: Path) -> None:
    logs = Logs()
    async with built(tmp_path, logs=logs) as daemon:
        own = (tmp_path / TOKEN_FILE).read_text().strip()
        assert logs.known_secrets.cleaned(f"as {own}.") == "as ***."
        vault = daemon.control.ports.vault
        version = await vault.append(
            "n", Secret('{"kind": "bearer", "token": "a-token-of-theirs", "username": "jane.doe"}')
        )
    later = Logs()
    async with built(tmp_path, logs=later) as daemon:
        assert later.known_secrets.cleaned("a-token-of-theirs") == "a-token-of-theirs"
        await daemon.control.ports.vault.get("n", version)
        assert later.known_secrets.cleaned("bearer a-token-of-theirs of jane.doe") == "bearer *** of jane.doe"
