from __future__ import annotations

import re
from pathlib import Path

from syncd.settings import Settings, catalogue, load
from syncd.settings.tomltext import annotated
from tests.unit.settings.conftest import Write

SHIPPED = Path(__file__).parents[3] / "config" / "syncd.toml"


def test_the_shipped_file_is_the_one_that_the_models_describe() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == annotated(), "run: syncd config file > config/syncd.toml"


def test_the_shipped_file_changes_nothing() -> None:
    assert load(SHIPPED).settings == Settings()


def test_every_key_is_in_the_file_and_the_defaults_in_it_are_true(write: Write) -> None:
    text = "\n".join(
        line[2:] if re.match(r"# [\w-]+ = .", line) and "not set" not in line and '= "ci"' not in line else line
        for line in annotated().split("\n# [[http.tokens]]")[0].split("\n")
        + annotated().split("CI_TOKEN")[1].split("\n")[1:]
        if "= ..." not in line
    )
    text = re.sub(r"(?m)^# (\[limits\.\w+\])$", r"\1", text)
    loaded = load(write("all.toml", text.split("\n# One table per provider.")[0]))
    assert loaded.settings == Settings()
    for path, key in catalogue.keys().items():
        if "<name>" in path or key.mapping or key.default is None or path == ("http", "tokens"):
            continue
        assert loaded.sources[key.dotted].kind == "file", key.dotted


def test_every_key_has_a_meaning_what_is_allowed_and_a_unit_where_it_is_a_time_or_size() -> None:
    for key in catalogue.keys().values():
        assert len(key.meaning) > 15, key.dotted
        assert key.meaning.endswith("."), key.dotted
        assert key.allowed, key.dotted
        assert "another type" not in key.allowed, key.dotted
        if "duration" in key.allowed or "a size" in key.allowed:
            assert key.unit, key.dotted


def test_every_key_is_reached_by_its_environment_name() -> None:
    for path, key in catalogue.keys().items():
        if "<name>" not in path:
            assert catalogue.path_of_environment_name(key.environment_name) == path
