"""What changes while the process runs: the overlay, the files, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable

from syncd.settings import Loaded, diff, load, shadowed_changes
from tests.unit.settings.conftest import Write

Refused = Callable[..., list[str]]
FromToml = Callable[..., Loaded]


def test_a_secret_in_clear_and_an_early_key_are_refused(refused: Refused) -> None:
    problems = refused(None, overlay={"http": {"admin_token": "CANARY"}, "daemon.data_dir": "/x"}, overlay_version=4)
    assert any("overlay version 4: http.admin_token: is a secret" in problem for problem in problems)
    assert any("overlay version 4: daemon.data_dir: cannot be set by the overlay" in problem for problem in problems)
    assert "CANARY" not in "".join(problems)


def test_again_takes_up_a_new_overlay_and_a_new_file(write: Write) -> None:
    first = load(write("syncd.toml", "[sync]\nbatch_size = 1\n"))
    write("syncd.toml", "[sync]\nbatch_size = 2\n")
    assert first.again().settings.sync.batch_size == 2
    assert first.again(overlay={"sync.batch_size": 3}).settings.sync.batch_size == 3
    assert first.again(overlay={"sync": {"batch_size": 3}}).again(overlay={}).settings.sync.batch_size == 2


def test_changes_are_redacted_and_say_what_needs_a_restart() -> None:
    old = load(None, environ={"SYNCD_HTTP__ADMIN_TOKEN": "CANARY1"}).settings
    new = load(
        None,
        environ={"SYNCD_HTTP__ADMIN_TOKEN": "CANARY2", "SYNCD_HTTP__PORT": "9", "SYNCD_LIMITS__TENANTS__T1": "5"},
    ).settings
    changes = {change.key: change for change in diff(old, new)}
    assert set(changes) == {"http.admin_token", "http.port", "limits.tenants.t1"}
    assert (changes["http.port"].old, changes["http.port"].new) == (8080, 9)
    assert changes["http.port"].needs_restart
    assert not changes["limits.tenants.t1"].needs_restart
    assert "CANARY" not in repr(changes)
    assert diff(old, old) == []


def test_an_edit_that_the_environment_hides_is_named(write: Write) -> None:
    environ = {"SYNC_BATCH_SIZE": "9"}
    old = load(write("syncd.toml", "[sync]\nbatch_size = 1\n"), environ=environ)
    assert [item.key for item in old.shadowed] == ["sync.batch_size"]
    write("syncd.toml", "[sync]\nbatch_size = 2\n")
    new = old.again()
    assert diff(old.settings, new.settings) == []
    (hidden,) = shadowed_changes(old, new)
    assert "sync.batch_size: syncd.toml:2 does not count: environment SYNC_BATCH_SIZE wins" in str(hidden)
    assert shadowed_changes(new, new.again()) == []


def test_a_file_that_refers_to_the_name_itself_is_not_hidden_by_it(from_toml: FromToml) -> None:
    text = '[finops]\nsync_token = "env:SECRET_SYNC_TOKEN"\n'
    assert from_toml(text, environ={"SECRET_SYNC_TOKEN": "t"}).shadowed == ()
