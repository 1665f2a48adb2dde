from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.domain.secrets import Secret
from syncd.settings import ConfigurationError, Loaded, Settings, find_config, load
from syncd.settings.effective import effective
from syncd.settings.names import HONOURED
from syncd.settings.partners import PORTS
from tests.unit.settings.conftest import Write

Refused = Callable[..., list[str]]
FromToml = Callable[..., Loaded]


def test_without_anything_the_defaults_of_the_interface_hold() -> None:
    settings = load(None).settings
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert (settings.sync.batch_size, settings.sync.max_retries, settings.tokens.expiry_threshold) == (100, 3, 3600)
    assert {name: (q.min_receivers, q.max_receivers) for name, q in settings.queues.items()} == {
        "sync-inbound": (1, 10),
        "sync-outbound": (1, 50),
        "azure_api": (1, 10),
        "reports": (1, 4),
    }
    assert settings.queues["sync-outbound"].effective_group_cap == 25
    assert {name: (job.schedule, job.missed, job.enabled) for name, job in settings.jobs.items()} == {
        "sync-scheduler": ("0 0 * * * *", "once", True),
        "token-refresher": ("0 0 */6 * * *", "once", True),
        "finops-daily-sync": ("0 0 3 * * *", "once", True),
        "aci-scaler": ("every 30s", "skip", True),
        "advisor-refresh": ("0 0 4 * * *", "skip", False),
        "maintenance": ("every 1m", "skip", True),
    }
    assert settings.jobs["finops-daily-sync"].missed_window == 12 * 3600
    assert settings.finops.enabled is False
    assert settings.daemon.data_dir == Path("var").absolute()
    assert load(None).settings == Settings()


def test_precedence_is_file_then_env_file_then_environment_then_overlay_then_flag(write: Write) -> None:
    file = write("syncd.toml", "[sync]\nbatch_size = 1\n")
    env = write("a.env", "SYNC_BATCH_SIZE=2\n")
    later_env = write("b.env", "SYNC_BATCH_SIZE=3\n")
    steps = [
        (load(file), 1, "syncd.toml:2"),
        (load(file, [env]), 2, "a.env:1 SYNC_BATCH_SIZE"),
        (load(file, [env, later_env]), 3, "b.env:1 SYNC_BATCH_SIZE"),
        (load(file, [env], {"SYNC_BATCH_SIZE": "4"}), 4, "environment SYNC_BATCH_SIZE"),
        (
            load(file, [env], {"SYNC_BATCH_SIZE": "4"}, {"sync": {"batch_size": 5}}, overlay_version=9),
            5,
            "overlay version 9",
        ),
        (load(file, [env], {}, {"sync.batch_size": 5}, {"sync.batch_size": 6}), 6, "flag sync.batch_size"),
    ]
    for loaded, value, source in steps:
        assert (loaded.settings.sync.batch_size, str(loaded.sources["sync.batch_size"])) == (value, source)


def test_all_problems_are_reported_at_once_with_file_line_key_value_and_what_is_allowed(
    write: Write, refused: Refused
) -> None:
    file = write(
        "syncd.toml",
        '[http]\nprot = 80\nport = 99999\n[queues.sync-inbund]\n[telemetry]\nlog_level = "trace"\n[sync]\nslice = "soon"\n',
    )
    env = write("x.env", "nonsense\nSYNC_BATCH_SIZE=lots\n")
    assert refused(file, [env], {"SYNCD_HTTP_PORT": "1"}) == [
        "x.env:1: has no '='; write NAME=value; a name has letters, digits and '_'; a comment begins with '#'",
        "x.env:2 SYNC_BATCH_SIZE: sync.batch_size: 'lots': it is not a whole number; allowed: a whole number, from 1 to 1000",
        "environment SYNCD_HTTP_PORT: there is no such setting; did you mean SYNCD_HTTP__PORT?",
        "syncd.toml:2: http.prot: there is no such key; did you mean http.port?",
        "syncd.toml:3: http.port: 99999: it is too large; allowed: a whole number, from 0 to 65535",
        "syncd.toml:4: queues.sync-inbund: there is no such name; did you mean queues.sync-inbound?",
        "syncd.toml:6: telemetry.log_level: 'trace': there is no such choice; allowed: one of: debug, info, warning, error",
        (
            "syncd.toml:8: sync.slice: 'soon': it is not a duration; "
            'allowed: a duration such as 30 (seconds), "1.5s", "10m", "7d", from 1 to 3600 s'
        ),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 1\n", "syncd.toml:1: port: there is no such key or section; did you mean http.port?"),
        ("http = 1\n", "syncd.toml:1: http: is a table, not a value; write [http] and below it host, port"),
        ("[sync]\nbatch_size = true\n", "syncd.toml:2: sync.batch_size: True: it is not a whole number"),
        ("[sync.batch_size]\nx = 1\n", "syncd.toml:1: sync.batch_size: {'x': 1}: it is not a whole number"),
        ("[queues.reports]\nmin_receivers = 9\n", "min_receivers = 9 is above max_receivers = 4"),
        ('[daemon]\nroles = ["inbond"]\n', "daemon.roles.0: 'inbond': there is no such choice (did you mean inbound?)"),
        ("[daemon]\nroles = []\n", "daemon.roles: is empty; name at least one role"),
        ('[jobs.maintenance]\nschedule = "61 * * * *"\n', "syncd.toml:2: jobs.maintenance.schedule: '61 * * * *'"),
        ('[jobs.maintenance]\ntimezone = "Mars/Base"\n', "it is not a time zone"),
        ('[http]\noutgoing_allow = ["169.254.0.0/16"]\n', "never allowed"),
        ('[http]\noutgoing_allow = ["10.0.0.0/8", "10.0.0.300"]\n', "http.outgoing_allow.1"),
        ('[finops]\nwebhook_url = "http://example.com/s/"\n', "over a network in clear; use https://"),
        (
            "[finops]\nsettle_timeout = 10000\nenabled = true\nwebhook_url='https://h/'\nsync_token='t'\n",
            "at least 10600",
        ),
    ],
)
def test_one_wrong_value_gets_a_clear_answer(text: str, expected: str, write: Write, refused: Refused) -> None:
    problems = refused(write("syncd.toml", text))
    assert any(expected in problem for problem in problems), problems


def test_a_file_that_cannot_be_read_is_named_and_hides_no_other_problem(refused: Refused, write: Write) -> None:
    write("bytes", "")
    Path("bytes").write_bytes(b"a = 1\n\xff")
    problems = refused(Path("nope.toml"), [Path("bytes")], {"SYNCD_X": "1"})
    assert "nope.toml: cannot be read (No such file or directory); check the path and its permissions" in problems
    assert "bytes:2: is not UTF-8 text; save it as UTF-8" in problems
    assert len(problems) == 3


@pytest.mark.parametrize("word", ["true", "TRUE", "True"])
def test_finops_sync_enabled_is_on_for_the_word_true_in_any_case(word: str) -> None:
    environ = {"FINOPS_SYNC_ENABLED": word, "DJANGO_WEBHOOK_URL": "https://h/", "SECRET_SYNC_TOKEN": "a+/="}
    settings = load(None, environ=environ).settings
    assert settings.finops.enabled
    assert settings.finops.sync_token == Secret("a+/=")
    assert settings.finops.effective_status_url == "https://h/status/"


@pytest.mark.parametrize("word", ["", "0", "false", "False"])
def test_finops_sync_enabled_is_off_for_what_means_off_even_against_the_file(word: str, from_toml: FromToml) -> None:
    text = '[finops]\nenabled = true\nwebhook_url = "https://h/"\nsync_token = "t"\n'
    assert from_toml(text, environ={"FINOPS_SYNC_ENABLED": word}).settings.finops.enabled is False


@pytest.mark.parametrize("word", ["1", "yes", "on", " true", "tru"])
def test_anything_else_in_finops_sync_enabled_is_an_error(word: str, refused: Refused) -> None:
    (problem,) = refused(None, environ={"FINOPS_SYNC_ENABLED": word})
    assert problem.startswith(
        f"environment FINOPS_SYNC_ENABLED: finops.enabled: {word!r}: it is neither true nor false"
    )


def test_an_enabled_trigger_names_what_it_lacks_and_what_was_probably_meant(refused: Refused) -> None:
    environ = {"FINOPS_SYNC_ENABLED": "true", "DJANGO_WEBHOK_URL": "https://h/"}
    problems = refused(None, environ=environ)
    assert len(problems) == 2
    assert "set DJANGO_WEBHOOK_URL" in problems[0]
    assert "DJANGO_WEBHOK_URL is set: was it meant?" in problems[0]
    assert "set SECRET_SYNC_TOKEN" in problems[1]


def test_a_process_without_the_role_needs_nothing_of_the_trigger() -> None:
    flags = {"daemon.roles": ["webhooks"]}
    assert load(None, environ={"FINOPS_SYNC_ENABLED": "true"}, flags=flags).settings.daemon.roles == ("webhooks",)


SERVICES = (
    "COSMOS_ENDPOINT",
    "SERVICE_BUS_CONNECTION_STRING",
    "KEY_VAULT_URL",
    "REDIS_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
)
#: One machine whose directory outlives the process: there parts of the backend may be embedded beside services.
ALONE = {"SYNCD_LIMITS__MAX_REPLICAS": "1", "SYNCD_DAEMON__DATA_DIR_DURABLE": "true"}


@pytest.mark.parametrize(
    ("name", "port", "adapter"),
    [
        ("COSMOS_ENDPOINT", "documents", "cosmos"),
        ("SERVICE_BUS_CONNECTION_STRING", "queue", "servicebus"),
        ("KEY_VAULT_URL", "vault", "keyvault"),
        ("REDIS_URL", "limiter", "redis"),
        ("AZURE_STORAGE_CONNECTION_STRING", "blobs", "blob"),
    ],
)
def test_an_existing_name_selects_its_adapter_and_nothing_else(name: str, port: str, adapter: str) -> None:
    backend = load(None, environ={name: "https://x.example/", **ALONE}).settings.backend
    chosen = {one: getattr(backend, one) for one in PORTS if getattr(backend, one) != "embedded"}
    assert chosen == {port: adapter}


def test_services_by_name_take_the_data_directory_for_passing_as_their_preset_does() -> None:
    services = dict.fromkeys(SERVICES, "https://x.example/")
    daemon = load(None, environ=services).settings.daemon
    assert (daemon.data_dir_durable, daemon.lame_duck) == (False, 10.0)


@pytest.mark.parametrize(
    ("left_out", "port", "reason"),
    [
        ("COSMOS_ENDPOINT", "documents", "decide on documents of their own"),
        ("SERVICE_BUS_CONNECTION_STRING", "queue", "messages that no other sees"),
        ("KEY_VAULT_URL", "vault", "secrets lie on another machine"),
        ("REDIS_URL", "limiter", "each replica would allow the whole limit"),
        ("AZURE_STORAGE_CONNECTION_STRING", "blobs", "bodies lie on another machine"),
    ],
)
def test_a_combination_that_cannot_keep_a_guarantee_is_refused_with_the_reason(
    left_out: str, port: str, reason: str, refused: Refused
) -> None:
    environ = {name: "https://x.example/" for name in SERVICES if name != left_out}
    (problem,) = refused(None, environ=environ)
    assert problem.startswith(f"backend.{port}: 'embedded' beside ")
    assert reason in problem
    assert "limits.max_replicas = 1" in problem
    alone = environ | {"SYNCD_LIMITS__MAX_REPLICAS": "1"}
    if port != "limiter":
        (problem,) = refused(None, environ=alone)
        assert "lost with the data directory" in problem
    assert load(None, environ=environ | ALONE)


def test_a_selecting_name_against_a_file_that_says_embedded_names_both(write: Write, refused: Refused) -> None:
    file = write("syncd.toml", '[backend]\npreset = "embedded"\n')
    (problem,) = refused(file, environ={"COSMOS_ENDPOINT": "https://x.example/"})
    assert "COSMOS_ENDPOINT" in problem
    assert "backend.preset (syncd.toml:2) says embedded" in problem


def test_a_chosen_service_without_its_address_is_refused(write: Write, refused: Refused) -> None:
    problems = refused(write("syncd.toml", '[backend]\npreset = "azure"\n'))
    assert [problem.split(": ")[0] for problem in problems] == [
        "cosmos.endpoint",
        "servicebus.connection_string",
        "keyvault.url",
        "redis.url",
        "blob.connection_string",
    ]
    assert "set servicebus.connection_string or servicebus.namespace" in problems[1]
    assert "backend.queue (preset azure) is 'servicebus'" in problems[1]


def test_a_missing_extra_is_one_line_that_names_it(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.settings.partners.find_spec", lambda _module: None)
    (problem,) = refused(None, environ=dict.fromkeys(SERVICES, "https://x.example/"))
    assert "pip install 'syncd[azure]'" in problem
    assert "cosmos, servicebus, keyvault, redis, blob" in problem


def test_an_empty_name_counts_as_not_set_and_hides_the_env_file(write: Write) -> None:
    env = write("x.env", "COSMOS_ENDPOINT=https://x.example/\n")
    assert load(None, [env], {"COSMOS_ENDPOINT": ""}).settings.cosmos.endpoint is None


def test_every_honoured_name_sets_its_key() -> None:
    texts = {"number": "2", "url": "https://h.example/x", "bool": "true", "milliseconds": "90000"}
    for honoured in HONOURED:
        for text in texts.values():
            try:
                loaded = load(None, environ=ALONE | {honoured.name: text})
            except ConfigurationError as error:
                if any("is missing" in problem.text for problem in error.problems):
                    break
                continue
            assert honoured.name in str(loaded.sources[".".join(honoured.path)])
            break
        else:
            pytest.fail(f"{honoured.name} is never accepted")


def test_names_with_units_are_converted() -> None:
    assert load(None, environ={"TOKEN_EXPIRY_THRESHOLD_MINUTES": "30"}).settings.tokens.expiry_threshold == 1800
    environ = {"TOKEN_REFRESH_EXPIRATION_THRESHOLD_MS": "90000"}
    assert load(None, environ=environ).settings.tokens.expiry_threshold == 90


def test_any_key_comes_from_the_environment_with_dashes_written_as_underscores() -> None:
    loaded = load(
        None,
        environ={
            "SYNCD_QUEUES__SYNC_INBOUND__MAX_RECEIVERS": "7",
            "SYNCD_JOBS__FINOPS_DAILY_SYNC__SCHEDULE": "0 4 * * *",
            "SYNCD_PROVIDERS__GITHUB__CLIENT_ID": "abc",
            "SYNCD_LIMITS__INTEGRATIONS__GITHUB": "9",
            "SYNCD_LIMITS__TENANTS": '{"t-1": 5}',
            "SYNCD_DAEMON__ROLES": "webhooks, outbound",
            "SYNCD_HTTP__TOKENS": '[{"name": "ci", "value": "CANARY", "tenants": "a,b"}]',
            "INSTANCE_FOO": "bar",
        },
    )
    settings = loaded.settings
    assert settings.queues["sync-inbound"].max_receivers == 7
    assert settings.jobs["finops-daily-sync"].schedule == "0 4 * * *"
    assert settings.jobs["finops-daily-sync"].missed == "once"
    assert settings.providers["github"].client_id == "abc"
    assert settings.limits.integrations["github"] == 9
    assert settings.limits.integrations["notion"] == 180
    assert settings.limits.tenants == {"t-1": 5}
    assert settings.daemon.roles == ("webhooks", "outbound")
    assert settings.http.tokens[0].tenants == ("a", "b")
    assert settings.aci.environment["FOO"].reveal() == "bar"
    assert "CANARY" not in repr(loaded)


def test_two_names_of_one_key_are_told_and_ours_wins() -> None:
    loaded = load(None, environ={"SYNC_BATCH_SIZE": "5", "SYNCD_SYNC__BATCH_SIZE": "6"})
    assert loaded.settings.sync.batch_size == 6
    assert "SYNCD_SYNC__BATCH_SIZE counts, not environment SYNC_BATCH_SIZE" in loaded.notes[0]


def test_names_of_the_replaced_systems_are_seen_and_not_needed() -> None:
    environ = {"FUNCTIONS_WORKER_RUNTIME": "python", "CELERY_BROKER_URL": "x", "AzureWebJobsStorage": "x"}
    links = {"SYNCD_SERVICE_HOST": "10.0.0.1", "SYNCD_PORT": "tcp://10.0.0.1:80", "SYNCD_PORT_80_TCP_ADDR": "10.0.0.1"}
    assert set(load(None, environ=environ | links).seen_not_needed) == set(environ) | set(links)


def test_cosmos_container_is_ignored_with_a_warning() -> None:
    assert "COSMOS_CONTAINER" in load(None, environ={"COSMOS_CONTAINER": "sync-tasks"}).notes[0]


def test_a_function_that_was_switched_off_is_not_switched_on_silently() -> None:
    loaded = load(None, environ={"AzureWebJobs.SyncSchedulerTimer.Disabled": "true"})
    assert "jobs.sync-scheduler.enabled = false" in loaded.notes[0]


def test_a_near_miss_in_an_env_file_is_told(write: Write) -> None:
    loaded = load(None, [write("x.env", "DJANGO_WEBHOOK_URI=https://h/\nUNRELATED=1\n")])
    assert [note for note in loaded.notes if "did you mean DJANGO_WEBHOOK_URL?" in note] == list(loaded.notes)


def test_what_nothing_uses_yet_is_told() -> None:
    assert "nothing in this release uses it" in load(None, environ={"ACI_IMAGE": "a/b:1"}).notes[0]


def test_listening_beyond_loopback_needs_a_token(write: Write, refused: Refused) -> None:
    file = write("syncd.toml", '[http]\nhost = "0.0.0.0"\n')
    (problem,) = refused(file)
    assert "syncd.toml:2: http.host: '0.0.0.0' is reachable from other machines" in problem
    assert load(file, environ={"SYNCD_HTTP__ADMIN_TOKEN": "t"}).settings.http.host == "0.0.0.0"


def test_tokens_need_a_name_and_a_value_of_their_own(write: Write, refused: Refused) -> None:
    one = '[[http.tokens]]\nname = "a"\nvalue = "CANARY1"\n'
    same = "\n".join(refused(write("syncd.toml", '[http]\nadmin_token = "CANARY1"\n' + one + one)))
    assert "http.tokens.0: has the same value as http.admin_token" in same
    assert "http.tokens.1: the name 'a' is taken by http.tokens.0" in same
    empty = "\n".join(refused(write("syncd.toml", one + "[[http.tokens]]\n" + '[[http.tokens]]\nvalue = "CANARY3"\n')))
    assert "syncd.toml:4: http.tokens.1.name: it is missing" in empty
    assert "syncd.toml:4: http.tokens.1.value: it is missing" in empty
    assert "syncd.toml:5: http.tokens.2.name: it is missing" in empty
    text = '[[http.tokens]]\nname = "a"\nrole = "god"\nvalue = "CANARY2"\nrol = "CANARY4"\n'
    wrong = "\n".join(refused(write("syncd.toml", text)))
    assert "syncd.toml:3: http.tokens.0.role: 'god'" in wrong
    assert "syncd.toml:5: http.tokens.0.rol: " in wrong
    assert "CANARY" not in same + empty + wrong


def test_no_secret_is_in_what_is_shown_or_printed() -> None:
    environ = {
        "SECRET_SYNC_TOKEN": "CANARY1",
        "SECRET_KEY": "CANARY2",
        "SYNCD_HTTP__ADMIN_TOKEN": "CANARY3",
        "INSTANCE_PASSWORD": "CANARY4",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "CANARY5",
        "SYNCD_PROVIDERS__GITHUB__CLIENT_SECRET": "CANARY6",
    }
    loaded = load(None, environ=environ)
    assert "CANARY" not in repr(effective(loaded)) + repr(loaded) + str(loaded.settings) + repr(loaded.sources)
    with pytest.raises(ConfigurationError) as caught:
        load(None, environ=environ | {"SYNCD_HTTP__PORT": "x"})
    assert "CANARY" not in str(caught.value) + repr(caught.value.errors) + repr(caught.value.__context__)


def test_settings_cannot_be_changed() -> None:
    settings = load(None).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]  # the very thing that must fail
    with pytest.raises(TypeError):
        settings.queues["x"] = settings.queues["reports"]  # type: ignore[index]  # the very thing that must fail


def test_the_file_is_found_where_it_is_usually_kept(tmp_path: Path) -> None:
    assert find_config(None, {}, tmp_path) is None
    (tmp_path / "syncd.toml").touch()
    assert find_config(None, {}, tmp_path) == tmp_path / "syncd.toml"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/syncd.toml").touch()
    assert find_config(None, {}, tmp_path) == tmp_path / "config/syncd.toml"
    assert find_config(None, {"SYNCD_CONFIG": "/a.toml"}, tmp_path) == Path("/a.toml")
    assert find_config(Path("b.toml"), {"SYNCD_CONFIG": "/a.toml"}, tmp_path) == Path("b.toml")
