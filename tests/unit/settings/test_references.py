from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.domain.secrets import Secret
from syncd.settings import ConfigurationError, Loaded, load
from tests.unit.settings.conftest import Write

Refused = Callable[..., list[str]]
FromToml = Callable[..., Loaded]


def test_env_and_file_are_followed_and_one_trailing_newline_is_stripped(tmp_path: Path, from_toml: FromToml) -> None:
    secret = tmp_path / "token"
    secret.write_text("a+/=\n")
    loaded = from_toml(
        f'[finops]\nsync_token = "file:{secret}"\n[http]\nadmin_token = "env:ADMIN"\nport = "env:P"\n',
        environ={"ADMIN": "env:INNER", "INNER": "s3cret", "P": "9"},
    )
    assert loaded.settings.finops.sync_token == Secret("a+/=")
    assert loaded.settings.http.admin_token == Secret("s3cret")
    assert loaded.settings.http.port == 9
    assert str(loaded.sources["http.admin_token"]) == "syncd.toml:4 -> env:ADMIN -> env:INNER"


def test_a_reference_sees_env_files(write: Write) -> None:
    env = write("x.env", "TOKEN=abc\n")
    loaded = load(write("syncd.toml", '[http]\nadmin_token = "env:TOKEN"\n'), [env])
    assert loaded.settings.http.admin_token == Secret("abc")


def test_a_circle_is_refused_with_the_chain(write: Write, refused: Refused) -> None:
    file = write("syncd.toml", '[http]\nadmin_token = "env:A"\n')
    (problem,) = refused(file, environ={"A": "env:B", "B": "env:A"})
    assert "syncd.toml:2: http.admin_token: the references go in a circle: env:A -> env:B -> env:A" in problem


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:NOPE", "env:NOPE is not set; set NOPE in the environment or an env file"),
        ("env:", "names no environment variable"),
        ("file:/nope", "file:/nope cannot be read (No such file or directory)"),
        ("file:rel", "is a relative path"),
        ("file:/", "is not a file"),
        ("file:/dev/zero", "is not a file"),
        ("vault:a b", "names no secret of the vault"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(reference: str, expected: str, write: Write, refused: Refused) -> None:
    (problem,) = refused(write("syncd.toml", f'[http]\nadmin_token = "{reference}"\n'))
    assert expected in problem


def test_a_file_that_is_too_long_or_not_text_is_refused(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 70_000)
    assert "more than 65536 bytes" in refused(None, flags={"http.admin_token": f"file:{path}"})[0]
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused(None, flags={"http.admin_token": f"file:{path}"})[0]


def test_what_a_file_holds_is_final(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("env:HOME")
    loaded = load(None, environ={"HOME": "x", "SYNCD_HTTP__ADMIN_TOKEN": f"file:{path}"})
    assert loaded.settings.http.admin_token == Secret("env:HOME")


def test_a_vault_reference_waits_and_is_resolved_later(write: Write) -> None:
    file = write(
        "syncd.toml", '[finops]\nenabled = true\nwebhook_url = "https://h/"\nsync_token = "vault:cost-token"\n'
    )
    loaded = load(file)
    assert loaded.pending == {"finops.sync_token": "cost-token"}
    assert loaded.settings.finops.sync_token is None
    ready = loaded.resolved({"cost-token": Secret("t")})
    assert ready.settings.finops.sync_token == Secret("t")
    assert ready.pending == {}
    assert ready.again().settings == ready.settings
    with pytest.raises(ConfigurationError, match="the vault has no secret 'cost-token'"):
        loaded.resolved({})
