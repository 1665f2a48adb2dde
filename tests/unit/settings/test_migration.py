from __future__ import annotations

import json
from pathlib import Path

import pytest

from syncd.settings import ConfigurationError, load
from syncd.settings.migration import Migration, migrate
from tests.unit.settings.conftest import Write

LOCAL = {
    "IsEncrypted": False,
    "Values": {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "DJANGO_WEBHOOK_URL": "https://example.com/finops/api/sync/",
        "SECRET_SYNC_TOKEN": "CANARY+/=",
        "FINOPS_SYNC_ENABLED": "True",
        "AzureWebJobs.SyncSchedulerTimer.Disabled": "1",
        "FOO": "bar",
    },
}
HOST = {
    "version": "2.0",
    "functionTimeout": "00:10:00",
    "logging": {
        "logLevel": {"default": "Warning"},
        "applicationInsights": {"samplingSettings": {"isEnabled": False, "excludedTypes": "Request"}},
    },
    "extensionBundle": {"id": "x", "version": "[4.*, 5.0.0)"},
    "extensions": {
        "serviceBus": {"prefetchCount": 100, "messageHandlerOptions": {"autoComplete": True, "maxConcurrentCalls": 32}},
        "http": {"routePrefix": "api", "maxConcurrentRequests": 50},
    },
    "retry": {"strategy": "fixedDelay", "maxRetryCount": 5},
    "watchDirectories": ["Shared"],
}


def verdicts(migration: Migration) -> dict[str, str]:
    return {row.name: row.verdict for row in migration.rows}


def test_local_settings_json_of_the_cost_trigger_becomes_a_file_that_loads(write: Write) -> None:
    migration = migrate([write("local.settings.json", json.dumps(LOCAL))])
    assert verdicts(migration) == {
        "AzureWebJobsStorage": "obsolete",
        "FUNCTIONS_WORKER_RUNTIME": "obsolete",
        "DJANGO_WEBHOOK_URL": "mapped",
        "SECRET_SYNC_TOKEN": "mapped",
        "FINOPS_SYNC_ENABLED": "mapped",
        "AzureWebJobs.SyncSchedulerTimer.Disabled": "mapped",
        "FOO": "unknown",
    }
    assert migration.missing == []
    assert "CANARY" not in migration.toml + repr(migration.rows)
    settings = load(write("m.toml", migration.toml), environ={"SECRET_SYNC_TOKEN": "CANARY+/="}).settings
    assert settings.finops.enabled
    assert settings.finops.webhook_url == "https://example.com/finops/api/sync/"
    assert settings.finops.sync_token is not None
    assert settings.finops.sync_token.reveal() == "CANARY+/="
    assert settings.jobs["sync-scheduler"].enabled is False


def test_the_file_and_the_env_file_it_came_from_work_together(write: Write) -> None:
    local = write("local.settings.json", json.dumps(LOCAL))
    loaded = load(write("m.toml", migrate([local]).toml), [local])
    assert loaded.settings.finops.enabled


def test_names_of_services_map_and_what_they_lack_beside_them_is_told(write: Write) -> None:
    env = write(
        ".env",
        "COSMOS_ENDPOINT=https://x.documents.azure.com:443/\nCOSMOS_KEY=CANARY==\nSERVICE_BUS_QUEUE=inb\n"
        "REDIS_URL=redis://:CANARY@h\nKEY_VAULT_URL=https://v.vault.azure.net/\nSYNC_BATCH_SIZE=200\nINSTANCE_A=CANARY\n"
        "SKIP_SUBSCRIPTIONS=a, b\nACI_DEFAULT_CPU=2.5\nCOSMOS_CONTAINER=sync-tasks\nCELERY_BROKER_URL=x\n",
    )
    migration = migrate([env])
    assert '\nendpoint = "https://x.documents.azure.com:443/"' in migration.toml
    assert "COSMOS_DATABASE or COSMOS_DB_DATABASE is not set; it belongs to COSMOS_ENDPOINT" in migration.missing
    missing = [text.split(":")[0] for text in migration.missing]
    assert {"backend.queue", "backend.blobs"} <= set(missing)
    assert "CANARY" not in migration.toml + repr(migration)
    rest = {
        "COSMOS_KEY": "k",
        "REDIS_URL": "redis://h",
        "INSTANCE_A": "x",
        "SERVICE_BUS_CONNECTION_STRING": "Endpoint=sb://x/",
        "AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true",
    }
    settings = load(write("m.toml", migration.toml), environ=rest).settings
    assert settings.sync.batch_size == 200
    assert settings.scaler.skip_subscriptions == ("a", "b")
    assert settings.aci.cpu == 2.5
    assert settings.backend.documents == "cosmos"


def test_wrong_values_are_told_and_left_out(write: Write) -> None:
    env = write(
        ".env",
        "SYNC_BATCH_SIZE=lots\nFINOPS_SYNC_ENABLED=yes\nDJANGO_WEBHOOK_URL=http://example.com/\nSYNC_MAX_RETRIES=2\n",
    )
    migration = migrate([env])
    assert verdicts(migration)["SYNC_BATCH_SIZE"] == "wrong"
    assert verdicts(migration)["FINOPS_SYNC_ENABLED"] == "wrong"
    assert verdicts(migration)["DJANGO_WEBHOOK_URL"] == "wrong"
    assert load(write("m.toml", migration.toml)).settings.sync.max_retries == 2


def test_a_trigger_without_its_address_is_written_switched_off(write: Write) -> None:
    migration = migrate([write(".env", "FINOPS_SYNC_ENABLED=true\nSECRET_SYNC_TOKEN=CANARY\n")])
    assert any("DJANGO_WEBHOOK_URL" in text for text in migration.missing)
    assert "# enabled = true" in migration.toml
    assert load(write("m.toml", migration.toml), environ={"SECRET_SYNC_TOKEN": "x"}).settings.finops.enabled is False


def test_host_json_maps_what_has_a_key_and_says_why_the_rest_has_none(write: Write) -> None:
    migration = migrate([write("host.json", json.dumps(HOST))])
    assert all(row.detail for row in migration.rows)
    mapped = {row.name: row.key for row in migration.rows if row.verdict == "mapped"}
    assert set(mapped) == {
        "functionTimeout",
        "logging.logLevel.default",
        "logging.applicationInsights.samplingSettings.isEnabled",
        "extensions.serviceBus.messageHandlerOptions.maxConcurrentCalls",
        "extensions.http.maxConcurrentRequests",
        "retry.maxRetryCount",
    }
    settings = load(write("m.toml", migration.toml)).settings
    assert settings.finops.timeout == 600
    assert settings.queues["sync-inbound"].max_receivers == settings.queues["sync-outbound"].max_receivers == 32
    assert (settings.telemetry.log_level, settings.telemetry.sample) == ("warning", 1)
    assert (settings.http.max_connections, settings.sync.max_retries) == (50, 5)


@pytest.mark.parametrize(
    ("span", "seconds"), [("00:05:00", 300), ("01:00:00", 3600), ("-1", None), ("1.00:00:00", None), ("later", None)]
)
def test_a_function_timeout_is_taken_where_it_can_be(span: str, seconds: int | None, write: Write) -> None:
    migration = migrate([write("host.json", json.dumps({"version": "2.0", "functionTimeout": span}))])
    settings = load(write("m.toml", migration.toml), environ={}).settings
    assert settings.finops.timeout == (seconds or 600)
    assert settings.jobs["finops-daily-sync"].timeout >= settings.finops.timeout + settings.finops.settle_timeout


def test_a_file_that_cannot_be_read_is_refused(write: Write) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        migrate([Path("/nope/.env")])
    with pytest.raises(ConfigurationError, match=r"x\.env:1"):
        migrate([write("x.env", "oops\n")])
