"""The units, the image and the compose file say what the guarantees need. Where a tool can judge them, it does."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from syncd.settings import load
from syncd.settings.partners import PORTS
from syncd.settings.sections.queues import QUEUES

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
NAMES = ["syncd.service", "syncd-compat.service"]


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # the documented way to keep the case of names
    parser.read(UNITS / name)
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    text = (UNITS / name).read_text()
    (tmp_path / "syncd.service").write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "syncd.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "syncd.service" in line]
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    if name == "syncd.service" and int(version.split()[1]) < 253:
        assert len(complaints) == 1
        assert "notify-reload" in complaints[0]
    else:
        assert complaints == []
        assert done.returncode == 0, done.stderr


def test_the_two_units_differ_in_how_a_reload_is_told() -> None:
    new, old = (unit(name) for name in NAMES)
    assert new["Service"].pop("Type") == "notify-reload"
    assert old["Service"].pop("Type") == "notify"
    assert old["Service"].pop("ExecReload") == "kill -HUP $MAINPID"
    assert {name: dict(new[name]) for name in new} == {name: dict(old[name]) for name in old}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_configuration_is_not_restarted_and_a_drain_has_time(name: str) -> None:
    service = unit(name)["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "78"
    assert int(service["TimeoutStopSec"]) >= 30
    assert int(service["WatchdogSec"]) > 0
    assert service["EnvironmentFile"] == "-/etc/syncd/env"


def test_the_container_is_not_root_reads_only_and_has_time_to_drain() -> None:
    image = (ROOT / "Dockerfile").read_text()
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert re.search(r"^USER 10001:10001$", image, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", image, re.MULTILINE)
    assert "/healthz" in image
    assert "curl" not in image
    for line in (
        "read_only: true",
        'user: "10001:10001"',
        "stop_grace_period: 30s",
        "- data:/var/lib/syncd",
        "/healthz",
    ):
        assert line in compose


@pytest.mark.parametrize(
    "name", ["Makefile", "Dockerfile", "constraints.lock", ".ci/run", ".ci/environment", ".ci/prerequisites"]
)
def test_no_package_host_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://(?!127\.0\.0\.1)|index-url|find-links|trusted-host", text)


def test_every_locked_version_is_exact() -> None:
    lines = [line for line in (ROOT / "constraints.lock").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_the_build_runs_what_contributors_run_and_nothing_else() -> None:
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set", "cd"))
    ]
    assert commands == ["make check", "make test"]


def test_the_file_for_azure_loads_with_the_names_that_its_template_prints() -> None:
    template = (ROOT / "deploy" / "azure" / "main.bicep").read_text()
    outputs = re.findall(r"^output (\w+) string", template, flags=re.MULTILINE)
    environ = {name: "https://x.example/" for name in outputs if name != "REDIS_HOST"}
    assert len(environ) == len(outputs) - 1 == 7
    environ |= {"REDIS_URL": "rediss://:key@host:6380/0", "ADMIN_TOKEN": "a long random text"}
    file = ROOT / "config" / "azure.toml"
    assert all(name in file.read_text() for name in environ)
    settings = load(file, environ=environ).settings
    assert {getattr(settings.backend, port) for port in PORTS} == {"cosmos", "servicebus", "keyvault", "redis", "blob"}
    assert settings.backend.identity == "managed"
    assert not settings.daemon.data_dir_durable


def test_the_template_makes_every_queue_in_three_lanes_and_lets_nothing_expire_unseen() -> None:
    template = (ROOT / "deploy" / "azure" / "main.bicep").read_text()
    for queue in QUEUES:
        assert f"'{queue}'" in template
    for line in ("deadLetteringOnMessageExpiration: true", "requiresDuplicateDetection: true", "lockDuration: 'PT1M'"):
        assert line in template
    assert "listKeys" not in template, "no secret leaves a deployment"


def test_the_emulator_of_the_broker_has_every_queue_and_keeps_what_expires() -> None:
    said = json.loads((ROOT / "deploy" / "emulators" / "servicebus.json").read_text())
    [namespace] = said["UserConfig"]["Namespaces"]
    assert {queue["Name"] for queue in namespace["Queues"]} == set(QUEUES)
    assert all(queue["Properties"]["DeadLetteringOnMessageExpiration"] for queue in namespace["Queues"])
