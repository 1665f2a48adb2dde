"""The command line: exit codes, what it prints, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from syncd.cli.main import main
from syncd.settings import Loaded

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


Syncd = Callable[..., Result]


@pytest.fixture
def syncd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Syncd:
    """The command line in this process, in a directory and environment of its own: quick, and measured for coverage."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, environ: dict[str, str] | None = None) -> Result:
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in (base | (environ or {})).items():
                patch.setenv(name, value)
            code = main(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def test_as_a_process_it_answers_version_usage_and_bad_configuration_with_0_2_and_78(tmp_path: Path) -> None:
    (tmp_path / "syncd.toml").write_text("oops\n")
    environ = {"PATH": os.environ["PATH"]}
    for arguments, code, text in (
        (["--version"], 0, "syncd 0.1.0"),
        (["runn"], 2, "Did you mean 'run'?"),
        (["run"], 78, "syncd.toml:1: is not TOML"),
    ):
        command = [sys.executable, "-m", "syncd", *arguments]
        result = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)
        assert text in result.stdout + result.stderr


def test_version_and_help_answer_zero_and_list_only_what_exists(syncd: Syncd) -> None:
    version = syncd("--version")
    assert (version.returncode, version.stdout) == (0, "syncd 0.1.0\n")
    listed = syncd("--help")
    assert listed.returncode == 0
    for name in ("run", "check", "config", "migrate"):
        assert f"\n  {name} " in listed.stdout
    assert "scaler" not in listed.stdout or (ROOT / "src/syncd/cli/scaler.py").exists()


def test_a_wrong_command_or_option_is_usage_and_says_what_was_meant(syncd: Syncd) -> None:
    wrong = syncd("chekc")
    assert wrong.returncode == 2
    assert "Did you mean 'check'?" in wrong.stderr
    role = syncd("run", "--role", "webhooks,inbond")
    assert role.returncode == 2
    assert "did you mean inbound?" in role.stderr


@pytest.mark.parametrize("command", [["run"], ["config", "show"]])
def test_a_bad_configuration_ends_with_78_and_every_problem_on_stderr(
    tmp_path: Path, syncd: Syncd, command: list[str]
) -> None:
    (tmp_path / "syncd.toml").write_text('[http]\nprot = 1\n[sync]\nbatch_size = "x"\n')
    result = syncd(*command)
    assert result.returncode == 78
    assert "2 problems in the configuration" in result.stderr
    assert "syncd.toml:2: http.prot" in result.stderr
    assert "syncd.toml:4: sync.batch_size" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_offline_gives_a_table_with_the_fix_beside_each_failure(tmp_path: Path, syncd: Syncd) -> None:
    good = syncd("check", "--offline")
    assert good.returncode == 0, good.stderr
    assert "127.0.0.1 port 8080" in good.stdout
    (tmp_path / "x.env").write_text("SYNC_BATCH_SIZE=lots\n")
    bad = syncd("check", "--offline", "--env-file", "x.env", "--output", "json")
    assert bad.returncode == 78
    (row,) = json.loads(bad.stdout)
    assert (row["name"], row["status"]) == ("sync.batch_size", "failed")
    assert "a whole number" in row["fix"]


def test_check_tells_jobs_that_run_from_those_of_later_releases(syncd: Syncd) -> None:
    rows = json.loads(syncd("check", "--offline", "--output", "json").stdout)
    jobs = {row["status"]: row["detail"] for row in rows if row["name"] == "jobs"}
    assert jobs == {
        "ok": "sync-scheduler (0 0 * * * * UTC), finops-daily-sync (0 0 3 * * * UTC), maintenance (every 1m UTC)",
        "note": "not in this release yet, and not run: aci-scaler, advisor-refresh, token-refresher",
    }


def test_check_says_that_the_data_directory_cannot_be_used(tmp_path: Path, syncd: Syncd) -> None:
    (tmp_path / "file").touch()
    environ = {"SYNCD_DAEMON__DATA_DIR": "file"}
    result = syncd("check", "--offline", environ=environ)
    assert result.returncode == 1
    assert "is not a directory" in result.stdout


def test_config_show_says_where_each_value_came_from_and_no_secret(tmp_path: Path, syncd: Syncd) -> None:
    (tmp_path / "syncd.toml").write_text("[http]\nport = 9\n")
    (tmp_path / "x.env").write_text("SECRET_SYNC_TOKEN=CANARY\n")
    arguments = ("config", "show", "--sources", "--env-file", "x.env")
    shown = json.loads(syncd(*arguments, "--output", "json").stdout)
    assert shown["http.port"] == {"value": 9, "source": "syncd.toml:2"}
    assert shown["finops.sync_token"] == {"value": "***", "source": "x.env:1 SECRET_SYNC_TOKEN"}
    assert shown["sync.batch_size"] == {"value": 100, "source": "default"}
    table = syncd(*arguments, "--changed").stdout
    assert "CANARY" not in table
    assert "syncd.toml:2" in table
    assert "batch_size" not in table
    narrowed = syncd("config", "show", "htp")
    assert narrowed.returncode == 2
    assert "Did you mean" in narrowed.stderr


def test_config_env_lists_honoured_names_and_every_key(syncd: Syncd) -> None:
    rows = json.loads(syncd("config", "env", "--output", "json").stdout)
    names = {row["name"] for row in rows}
    assert {"DJANGO_WEBHOOK_URL", "COSMOS_ENDPOINT", "INSTANCE_*", "SYNCD_HTTP__PORT"} <= names
    assert {"SYNCD_QUEUES__SYNC_INBOUND__MAX_RECEIVERS", "SYNCD_CONFIG", "COSMOS_CONTAINER"} <= names


def test_migrate_writes_a_file_that_check_accepts_and_never_replaces_one_unasked(tmp_path: Path, syncd: Syncd) -> None:
    values = {"DJANGO_WEBHOOK_URL": "https://e.com/", "SECRET_SYNC_TOKEN": "CANARY", "FINOPS_SYNC_ENABLED": "true"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    arguments = ("migrate", "--from", "local.settings.json", "--output", "new.toml")
    first = syncd(*arguments)
    assert first.returncode == 0, first.stderr
    assert "CANARY" not in first.stdout + (tmp_path / "new.toml").read_text()
    check = syncd("check", "--offline", "--config", "new.toml", "--env-file", "local.settings.json")
    assert check.returncode == 0, check.stdout
    assert "POST https://e.com/" in check.stdout
    again = syncd(*arguments)
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


def test_the_daemon_gets_the_settings_with_flags_on_top(syncd: Syncd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `run` hands to the composition root; the daemon itself is tried by the acceptance tests."""
    handed: list[Loaded] = []

    def start(loaded: Loaded) -> int:
        handed.append(loaded)
        return 1

    bootstrap = ModuleType("syncd.bootstrap")
    bootstrap.run = start
    monkeypatch.setitem(sys.modules, "syncd.bootstrap", bootstrap)
    result = syncd("run", "--role", "webhooks,outbound", "--role", "webhooks", "--data-dir", "d")
    assert result.returncode == 1
    (loaded,) = handed
    assert loaded.settings.daemon.roles == ("webhooks", "outbound")
    assert loaded.settings.daemon.data_dir == Path("d").absolute()
    assert str(loaded.sources["daemon.data_dir"]) == "flag --data-dir"


def test_check_adds_what_the_live_part_found_and_fails_with_it(syncd: Syncd, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = ModuleType("syncd.bootstrap")

    async def check(loaded: Loaded, *, create: bool) -> list[tuple[str, str, str, str]]:
        return [("store", "failed", "it is locked by process 7", "stop it")]

    bootstrap.check = check
    monkeypatch.setitem(sys.modules, "syncd.bootstrap", bootstrap)
    result = syncd("check")
    assert result.returncode == 1
    assert "it is locked by process 7" in result.stdout
    assert "stop it" in result.stdout


def test_migrate_prints_what_maps_what_is_obsolete_and_what_is_missing(tmp_path: Path, syncd: Syncd) -> None:
    (tmp_path / ".env").write_text(
        "FINOPS_SYNC_ENABLED=true\nCELERY_BROKER_URL=x\nREDIS_URL=redis://h\nFOO=1\nSYNC_BATCH_SIZE=x\n"
    )
    printed = syncd("migrate", "--from", ".env").stdout
    for heading in (
        "Maps",
        "Maps, but the value is wrong",
        "Obsolete",
        "Not known",
        "Missing",
    ):
        assert f"\n{heading}\n" in f"\n{printed}", heading
    assert "# enabled = true" in printed
    document = json.loads(syncd("migrate", "--from", ".env", "--output", "json").stdout)
    assert {"names", "missing", "config"} == set(document)
    unwritable = syncd("migrate", "--from", ".env", "--output", "no/such/dir.toml")
    assert unwritable.returncode == 1
    assert "cannot be written (No such file or directory)" in unwritable.stderr
