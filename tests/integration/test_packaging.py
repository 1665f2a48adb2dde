"""What users install: the wheel, without extras, for a user who may write nothing but the data directory.

The Dockerfile does the same; this needs no container engine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from syncd import __version__
from tests.acceptance.process import Daemon

ROOT = Path(__file__).parents[2]
NOBODY = 65534
#: What only an extra brings.
EXTRAS = re.compile(r"^(azure|msal|msrest|redis|duckdb|typst|orjson|uvloop|celery|pytest)", re.IGNORECASE)
#: What pip says where there is no package index to ask.
NO_INDEX = re.compile(
    r"Max retries exceeded|NewConnectionError|Temporary failure in name resolution|Network is unreachable"
)

#: The build asks a package index, which takes its time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Installed:
    wheel: Path
    python: Path
    home: Path
    """A directory that the user may write."""

    @property
    def syncd(self) -> Path:
        return self.python.with_name("syncd")

    @property
    def environment(self) -> dict[str, str]:
        places = {"HOME": "/nonexistent", "SYNCD_DAEMON__DATA_DIR": str(self.home / "data")}
        return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **places}

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return as_user(command, env=self.environment, cwd="/")


def as_user(command: Sequence[str | Path], **more: object) -> subprocess.CompletedProcess[str]:
    """As nobody where we are root, else as ourselves."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **user, **more)  # type: ignore[call-overload, no-any-return]  # options of two kinds in one call


def pip(*args: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_RETRIES": "1"},
    )
    if done.returncode != 0 and NO_INDEX.search(done.stderr):
        pytest.skip("no package index within reach: the wheel cannot be built or installed")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def interpreter() -> str:
    """A Python of syncd's versions that the user may run; the one of the tests may live in somebody's closed home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in (
        os.path.realpath(sys.executable),
        f"/usr/bin/python{version}",
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ):
        try:
            if as_user([name, "-c", program], cwd="/").returncode == 0:
                return name
        except OSError:
            continue
    pytest.skip("no Python >= 3.11 that an unprivileged user may run")


def without_write_permission(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="syncd-packaging-", ignore_cleanup_errors=True) as made:
        place = Path(made)
        place.chmod(0o755)
        python = interpreter()
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", place / "dist", ROOT)
        (wheel,) = (place / "dist").iterdir()
        subprocess.run([python, "-m", "venv", "--without-pip", place / "tree"], check=True)
        venv = place / "tree" / "bin" / "python"
        pip("--python", venv, "install", "--quiet", "--constraint", ROOT / "constraints.lock", wheel)
        home = place / "home"
        home.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        without_write_permission(place / "tree")
        yield Installed(wheel, venv, home)
        for path in (place / "tree").rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(installed: Installed) -> None:
    package = ROOT / "src" / "syncd"
    ours = {
        f"syncd/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if name.startswith(f"syncd-{__version__}.dist-info/")}
    assert names - info == ours
    assert "syncd/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_a_base_install_brings_no_azure_sdk_and_no_other_extra(installed: Installed) -> None:
    names = pip("--python", installed.python, "list", "--format", "freeze").split()
    assert any(name.startswith("aiohttp==") for name in names)
    assert [name for name in names if EXTRAS.match(name)] == []
    found = installed.run(installed.python, "-c", "import importlib.util as u; print(u.find_spec('azure'))")
    assert found.stdout == "None\n", found.stderr


def test_every_module_that_belongs_to_no_extra_can_be_imported(installed: Installed) -> None:
    program = """
import importlib, pkgutil, syncd
for found in pkgutil.walk_packages(syncd.__path__, "syncd."):
    if not found.name.startswith(("syncd.adapters.azure", "syncd.adapters.redis", "syncd.adapters.render", "syncd.__main__")):
        importlib.import_module(found.name)
"""
    done = installed.run(installed.python, "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr


def test_the_user_can_write_nothing_of_the_install(installed: Installed) -> None:
    tree = installed.python.parents[1]
    done = installed.run("/usr/bin/find", tree, "-writable", "-not", "-type", "l")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_it_says_its_version(installed: Installed) -> None:
    done = installed.run(installed.syncd, "--version")
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


def test_it_checks_the_shipped_configuration_without_a_network(installed: Installed) -> None:
    shipped = installed.home.parent / "syncd.toml"
    shutil.copyfile(ROOT / "config" / "syncd.toml", shipped)
    shipped.chmod(0o644)
    done = installed.run(installed.syncd, "check", "--offline", "--config", shipped)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_it_runs_from_a_tree_that_it_cannot_write(installed: Installed) -> None:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("no setpriv (util-linux) to become another user with")
    daemon = Daemon(
        installed.home / "data",
        command=[*drop, str(installed.syncd), "run"],
        environment=installed.environment,
        cwd=Path("/"),
    )
    async with daemon:
        assert (await daemon.request("GET", "/healthz")).status == 200
        assert (await daemon.api("GET", "/jobs")).status == 200
        assert await daemon.terminate() == 0
