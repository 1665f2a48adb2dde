"""Bring a configuration along: from an env file, a Functions local.settings.json or a host.json to a file of syncd."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Literal

from syncd.domain.jsontypes import Json
from syncd.settings import catalogue, names
from syncd.settings.catalogue import Key, Path
from syncd.settings.envfile import EnvFile, Variable, parse_env_file
from syncd.settings.errors import ConfigurationError, Problem
from syncd.settings.hostfile import host_rows, is_host_file
from syncd.settings.loading import load
from syncd.settings.tomlfile import read_text
from syncd.settings.tomltext import header, toml_key, toml_value

Verdict = Literal["mapped", "obsolete", "unknown", "wrong"]

#: Where one of the first is set, the others are needed for the same work.
_BELONG_TOGETHER: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("FINOPS_SYNC_ENABLED", "DJANGO_WEBHOOK_URL", "SECRET_SYNC_TOKEN"),) * 2,
    (("COSMOS_ENDPOINT", "COSMOS_DB_ENDPOINT"), ("COSMOS_DATABASE|COSMOS_DB_DATABASE",)),
    (
        ("ACI_IMAGE", "ACI_NAME_PREFIX", "SB_CONNECTION_STR", "SB_TOPIC_NAME"),
        (
            "AZURE_SUBSCRIPTION_ID",
            "AZURE_RESOURCE_GROUP",
            "ACI_IMAGE",
            "ACI_NAME_PREFIX",
            "ACI_LOCATION",
            "SB_CONNECTION_STR",
            "SB_TOPIC_NAME",
        ),
    ),
    (("ACR_SERVER", "ACR_USERNAME", "ACR_PASSWORD"),) * 2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one name of the old configuration."""

    name: str
    verdict: Verdict
    detail: str
    key: str = ""


@dataclass(slots=True)
class Migration:
    rows: list[Row] = field(default_factory=list)
    values: dict[Path, Json] = field(default_factory=dict)
    reasons: dict[Path, str] = field(default_factory=dict)
    """Keys that are written commented out, and why."""
    missing: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    """Names that the produced file refers to."""
    toml: str = ""


def migrate(paths: Sequence[FilePath]) -> Migration:
    """Raises ConfigurationError where a file cannot be read at all."""
    migration = Migration()
    given: dict[str, Variable] = {}
    for path in paths:
        text = read_text(path, kind="env-file")
        if is_host_file(text):
            _take_host(migration, text)
            continue
        env_file = parse_env_file(str(path), text)
        if env_file.problems:
            raise ConfigurationError(env_file.problems)
        given |= env_file.variables
        _take_variables(migration, env_file)
    _prune(migration, given)
    migration.missing += list(_missing(migration, given))
    migration.toml = _toml(migration, paths)
    return migration


def _take_host(migration: Migration, text: str) -> None:
    for name, key, value, detail in host_rows(json.loads(text)):
        if key is None:
            migration.rows.append(Row(name=name, verdict="obsolete", detail=detail))
            continue
        migration.values[tuple(key.split("."))] = value
        migration.rows.append(Row(name=name, verdict="mapped", key=key, detail=detail))


def _take_variables(migration: Migration, env_file: EnvFile) -> None:
    for variable in env_file.variables.values():
        migration.rows.append(_row_of(migration, variable))


def _row_of(migration: Migration, variable: Variable) -> Row:
    name, value = variable.name, variable.value
    path, convert = _target(name)
    if path is not None:
        return _mapped(migration, variable, path, convert)
    if (job := names.job_of_switch(name)) is not None:
        off = value.strip().lower() in {"1", "true"}
        migration.values["jobs", job, "enabled"] = not off
        detail = "switched off there, so switched off here" if off else "switched on"
        return Row(name=name, verdict="mapped", key=f"jobs.{job}.enabled", detail=detail)
    if name in names.IGNORED:
        return Row(name=name, verdict="obsolete", detail=names.IGNORED[name])
    if (why := names.not_needed(name, value)) is not None:
        return Row(name=name, verdict="obsolete", detail=why)
    if names.STANDARD.fullmatch(name):
        return Row(name=name, verdict="mapped", detail="read under this name by the library itself: keep it set")
    return Row(name=name, verdict="unknown", detail="no name that syncd reads; left alone")


def _target(name: str) -> tuple[Path | None, names.Honoured | None]:
    if name in names.BY_NAME:
        return names.BY_NAME[name].path, names.BY_NAME[name]
    if name.startswith("SYNCD_"):
        path = catalogue.path_of_environment_name(name)
        return (path, None) if path is not None and isinstance(catalogue.find(path), Key) else (None, None)
    return names.instance_variable(name), None


def _mapped(migration: Migration, variable: Variable, path: Path, honoured: names.Honoured | None) -> Row:
    dotted, key = ".".join(path), catalogue.find(path)
    assert isinstance(key, Key)
    if not variable.value and not (honoured and honoured.empty_counts):
        return Row(name=variable.name, verdict="obsolete", key=dotted, detail="empty: as if it were not set")
    try:
        value: Json = honoured.convert(variable.value) if honoured and honoured.convert else variable.value
    except ValueError as error:
        detail = f"{error}; allowed: {honoured.allowed if honoured else key.allowed}"
        return Row(name=variable.name, verdict="wrong", key=dotted, detail=detail)
    if key.secret:
        migration.secrets.append(variable.name)
        value, detail = f"env:{variable.name}", "secret: the file refers to the environment"
    else:
        detail = toml_value(_typed(key, value))
    wrong = None if key.secret else _rejection(path, value)
    if wrong is not None:
        return Row(name=variable.name, verdict="wrong", key=dotted, detail=f"{wrong.text}; {wrong.fix}")
    migration.values[path] = _typed(key, value)
    remark = " (not used in this release)" if key.later else ""
    return Row(name=variable.name, verdict="mapped", key=dotted, detail=detail + remark)


def _rejection(path: Path, value: Json) -> Problem | None:
    """What the loader says about this value of this key, None where it is right."""
    dotted = ".".join(path)
    try:
        load(None, flags={dotted: value})
    except ConfigurationError as error:
        return next((p for p in error.problems if p.key.startswith(dotted)), None)
    return None


def _typed(key: Key, value: Json) -> Json:
    """Numbers as numbers and switches as switches, as somebody would write them by hand."""
    if not isinstance(value, str) or key.secret:
        return value
    if isinstance(key.default, bool):
        return value.strip().lower() in {"true", "1", "yes", "on"}
    if isinstance(key.default, int | float):
        try:
            return int(value) if value.strip().lstrip("-").isdigit() else float(value)
        except ValueError:
            return value
    if isinstance(key.default, tuple):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _prune(migration: Migration, given: Mapping[str, Variable]) -> None:
    """Values that each are right and together are not (`load` says which) are written commented out, with the reason."""
    for _ in range(len(migration.values) + 1):
        problems = _problems(migration, given)
        blamed = [(tuple(problem.key.split(".")), problem) for problem in problems]
        found = [(path, p) for path, p in blamed if path in migration.values and path not in migration.reasons]
        for path, problem in found:
            migration.reasons[path] = f"{problem.text}; {problem.fix}"
            migration.rows.append(
                Row(name=problem.key, verdict="wrong", key=problem.key, detail=migration.reasons[path])
            )
        if not found:
            break
    for problem in _problems(migration, given):
        if problem.source is None:
            migration.missing.append(str(problem))
            _switch_off(migration, problem)


def _switch_off(migration: Migration, problem: Problem) -> None:
    """What is enabled without what it needs is written commented out, so that the file loads."""
    if problem.key.startswith("finops.") and ("finops", "enabled") in migration.values:
        migration.reasons["finops", "enabled"] = f"{problem.key} is missing: set it, then take the '#' away"


def _problems(migration: Migration, given: Mapping[str, Variable]) -> Sequence[Problem]:
    """What `load` says of the values that are written live, with the secrets that they refer to."""
    live = {".".join(path): value for path, value in migration.values.items() if path not in migration.reasons}
    for dotted, value in live.items():
        name = value.removeprefix("env:") if isinstance(value, str) else ""
        if name in migration.secrets and name in given:
            live[dotted] = given[name].value
    try:
        load(None, flags=live)
    except ConfigurationError as error:
        return error.problems
    return ()


def _missing(migration: Migration, given: Mapping[str, Variable]) -> Iterable[str]:
    for some, needed in _BELONG_TOGETHER:
        present = [name for name in some if name in given and given[name].value]
        for name in needed:
            if present and not any(given[other].value for other in name.split("|") if other in given):
                yield f"{name.replace('|', ' or ')} is not set; it belongs to {', '.join(present)}"


def _toml(migration: Migration, paths: Sequence[FilePath]) -> str:
    lines = [f"# Made by `syncd migrate` from {', '.join(path.name for path in paths)}."]
    lines.append("# Secrets are references: keep their names set in the environment or an env file.")
    if migration.secrets:
        lines.append(f"# Needed there: {', '.join(migration.secrets)}.")
    tables: dict[Path, list[Path]] = {}
    for path in migration.values:
        tables.setdefault(path[:-1], []).append(path)
    for table, members in tables.items():
        live = any(path not in migration.reasons for path in members)
        lines += ["", header(table) if live else f"# {header(table)}"]
        for path in members:
            line = f"{toml_key(path[-1])} = {toml_value(migration.values[path])}"
            reason = migration.reasons.get(path)
            lines += [f"# {reason}", f"# {line}"] if reason else [line]
    return "\n".join(lines) + "\n"
