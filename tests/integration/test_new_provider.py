"""A made-up provider, begun as CONTRIBUTING says: copied, checked, loaded, listed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import syncd
from syncd.adapters.providers import load_providers
from syncd.cli.main import main
from syncd.domain.errors import Invalid
from syncd.ports.provider import schemes_of

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    assert main(["providers", "new", "acme-crm", "--dir", str(tmp_path)]) == 0
    assert "tests/doubles/acme_crm.py" in capsys.readouterr().out
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "acme_crm.py"
    sys.modules.pop("acme_crm", None)


def point(value: str = "acme_crm:PROVIDER", name: str = "acme-crm") -> EntryPoint:
    return EntryPoint(name=name, value=value, group="syncd.providers")


def run(*command: str, at: Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=at, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_provider_is_formatted_and_without_a_complaint_of_the_linter(made: Path) -> None:
    for command in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        run("ruff", *command, "--config", str(REPOSITORY / "pyproject.toml"), str(made), at=REPOSITORY)


def test_a_new_provider_passes_the_type_checker(made: Path, tmp_path: Path) -> None:
    source = Path(syncd.__file__).parents[1]
    options = (
        "--strict",
        "--python-version",
        "3.11",
        "--follow-imports",
        "silent",
        "--cache-dir",
        str(tmp_path / "cache"),
    )
    configuration = tmp_path / "mypy.ini"
    configuration.write_text(f"[mypy]\nmypy_path = {source}\n")
    run("mypy", "--config-file", str(configuration), *options, str(made), at=tmp_path)


def test_a_new_provider_loads_beside_the_others_under_its_own_names(made: Path) -> None:
    found = load_providers(others=[point()])
    provider = found["acme-crm"]
    assert (provider.title, list(found)) == ("Acme Crm", sorted(found))
    assert "acme-crm" in schemes_of(found)
    assert provider.webhooks is not None
    assert provider.webhooks.scheme.header == "x-acme-crm-signature"


def test_an_installed_package_adds_its_provider_to_the_command_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = tmp_path / "acme_crm-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-crm\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[syncd.providers]\nacme-crm = acme_crm:PROVIDER\n")
    importlib.invalidate_caches()
    assert main(["providers", "list"]) == 0
    table = capsys.readouterr().out
    assert "Acme Crm" in table
    assert "contact (read create update delete)" in table
    assert "as the connection's settings say" in table
    (about / "entry_points.txt").write_text("[syncd.providers]\nacme-crm = acme_crm:NOTHING\n")
    importlib.invalidate_caches()
    with pytest.raises(Invalid, match=r"acme-crm \(syncd.providers: acme-crm = acme_crm:NOTHING\) cannot be imported"):
        load_providers()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (point("acme_crm:NOTHING"), "cannot be imported: AttributeError"),
        (point("not_there:PROVIDER"), "cannot be imported: ModuleNotFoundError"),
        (point("acme_crm:_CONTACT"), "leads to no Provider of the name 'acme-crm'"),
        (point(name="other"), "leads to no Provider of the name 'other'"),
        (point("syncd.adapters.providers.github:PROVIDER", "github"), "there is one already"),
    ],
)
def test_an_installed_package_that_brings_no_usable_provider_is_named(
    made: Path, given: EntryPoint, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        load_providers(others=[given])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("github", "there is a provider 'github' already (GitHub)"),
        ("hmac-sha256", "a signature scheme is called 'hmac-sha256' already"),
        ("Acme", "small letters"),
        ("a", "2 to 63"),
        ("1crm", "beginning with a letter"),
        ("acme--crm", "single '-'"),
        ("import", "small letters"),
        ("../acme", "small letters"),
        ("x" * 64, "2 to 63"),
    ],
)
def test_a_bad_or_taken_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert main(["providers", "new", name, "--dir", str(tmp_path)]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_never_replaced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_text("mine")
    assert main(["providers", "new", "acme-crm", "--dir", str(made.parent)]) == 2
    assert "exists" in capsys.readouterr().err
    assert made.read_text() == "mine"
