"""The command line as a real process: exit codes, what it prints, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def syncd(directory: Path, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "syncd", *arguments],
        cwd=directory,
        env=base | (environ or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_and_help_answer_zero_and_list_only_what_exists(tmp_path: Path) -> None:
    version = syncd(tmp_path, "--version")
    assert (version.returncode, version.stdout) == (0, "syncd 0.1.0\n")
    listed = syncd(tmp_path, "--help")
    assert listed.returncode == 0
    for name in ("run", "check", "config", "migrate"):
        assert f"\n  {name} " in listed.stdout
    assert "scaler" not in listed.stdout or (ROOT / "src/syncd/cli/scaler.py").exists()


def test_a_wrong_command_or_option_is_usage_and_says_what_was_meant(tmp_path: Path) -> None:
    wrong = syncd(tmp_path, "chekc")
    assert wrong.returncode == 2
    assert "Did you mean 'check'?" in wrong.stderr
    role = syncd(tmp_path, "run", "--role", "webhooks,inbond")
    assert role.returncode == 2
    assert "did you mean inbound?" in role.stderr


@pytest.mark.parametrize("command", [["run"], ["config", "show"]])
def test_a_bad_configuration_ends_with_78_and_every_problem_on_stderr(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "syncd.toml").write_text('[http]\nprot = 1\n[sync]\nbatch_size = "x"\n')
    result = syncd(tmp_path, *command)
    assert result.returncode == 78
    assert "2 problems in the configuration" in result.stderr
    assert "syncd.toml:2: http.prot" in result.stderr
    assert "syncd.toml:4: sync.batch_size" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_offline_gives_a_table_with_the_fix_beside_each_failure(tmp_path: Path) -> None:
    good = syncd(tmp_path, "check", "--offline")
    assert good.returncode == 0, good.stderr
    assert "127.0.0.1 port 8080" in good.stdout
    (tmp_path / "x.env").write_text("REDIS_URL=redis://h\n")
    bad = syncd(tmp_path, "check", "--offline", "--env-file", "x.env", "--output", "json")
    assert bad.returncode == 78
    (row,) = json.loads(bad.stdout)
    assert (row["name"], row["status"]) == ("redis.url", "failed")
    assert "unset REDIS_URL" in row["fix"]


def test_check_says_that_the_data_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {"SYNCD_DAEMON__DATA_DIR": "file"}
    result = syncd(tmp_path, "check", "--offline", environ=environ)
    assert result.returncode == 1
    assert "is not a directory" in result.stdout


def test_config_show_says_where_each_value_came_from_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text("[http]\nport = 9\n")
    (tmp_path / "x.env").write_text("SECRET_SYNC_TOKEN=CANARY\n")
    arguments = ("config", "show", "--sources", "--env-file", "x.env")
    shown = json.loads(syncd(tmp_path, *arguments, "--output", "json").stdout)
    assert shown["http.port"] == {"value": 9, "source": "syncd.toml:2"}
    assert shown["finops.sync_token"] == {"value": "***", "source": "x.env:1 SECRET_SYNC_TOKEN"}
    assert shown["sync.batch_size"] == {"value": 100, "source": "default"}
    table = syncd(tmp_path, *arguments, "--changed").stdout
    assert "CANARY" not in table
    assert "syncd.toml:2" in table
    assert "batch_size" not in table
    narrowed = syncd(tmp_path, "config", "show", "htp")
    assert narrowed.returncode == 2
    assert "Did you mean" in narrowed.stderr


def test_config_env_lists_honoured_names_and_every_key(tmp_path: Path) -> None:
    rows = json.loads(syncd(tmp_path, "config", "env", "--output", "json").stdout)
    names = {row["name"] for row in rows}
    assert {"DJANGO_WEBHOOK_URL", "COSMOS_ENDPOINT", "INSTANCE_*", "SYNCD_HTTP__PORT"} <= names
    assert {"SYNCD_QUEUES__SYNC_INBOUND__MAX_RECEIVERS", "SYNCD_CONFIG", "COSMOS_CONTAINER"} <= names


def test_migrate_writes_a_file_that_check_accepts_and_never_replaces_one_unasked(tmp_path: Path) -> None:
    values = {"DJANGO_WEBHOOK_URL": "https://e.com/", "SECRET_SYNC_TOKEN": "CANARY", "FINOPS_SYNC_ENABLED": "true"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    arguments = ("migrate", "--from", "local.settings.json", "--output", "new.toml")
    first = syncd(tmp_path, *arguments)
    assert first.returncode == 0, first.stderr
    assert "CANARY" not in first.stdout + (tmp_path / "new.toml").read_text()
    check = syncd(tmp_path, "check", "--offline", "--config", "new.toml", "--env-file", "local.settings.json")
    assert check.returncode == 0, check.stdout
    assert "POST https://e.com/" in check.stdout
    again = syncd(tmp_path, *arguments)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_the_reader_may_go_away(tmp_path: Path) -> None:
    command = f"{sys.executable} -m syncd config file | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_starting_the_daemon_imports_neither_rich_nor_other_command_groups(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from syncd.cli.main import cli\n"
        "import click\n"
        "command = cli.get_command(click.Context(cli), 'run')\n"
        "assert command is not None\n"
        "print([n for n in sys.modules if n.split('.')[0] in {'rich', 'aiohttp', 'jinja2'} or n == 'syncd.cli.config'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[]"
