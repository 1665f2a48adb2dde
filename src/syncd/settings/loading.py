"""Load settings: collect the layers, let the last one win key by key, follow references, validate, and say everything at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from syncd.domain.jsontypes import Json
from syncd.domain.secrets import Secret
from syncd.settings import catalogue, layers, names
from syncd.settings.catalogue import Key, Path
from syncd.settings.checks import CHECKS
from syncd.settings.envfile import EnvFile, Variable, read_env_file
from syncd.settings.errors import DEFAULT, ConfigurationError, Problem, Source
from syncd.settings.layers import Entry, Layer
from syncd.settings.resolution import MISSING, Resolution
from syncd.settings.root import Settings
from syncd.settings.situation import Situation
from syncd.settings.tomlfile import TomlFile, read_toml
from syncd.settings.validation import validated

#: Where the file is looked for when nobody names one, from the working directory.
DEFAULT_FILES = (FilePath("config/syncd.toml"), FilePath("syncd.toml"))


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A value of a file or env file that does not count, because the process environment sets the same key otherwise."""

    key: str
    by: Source
    hidden: Source

    def __str__(self) -> str:
        return f"{self.key}: {self.hidden} does not count: {self.by} wins, and cannot change while the process runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What to read again on reload."""

    config: FilePath | None
    env_files: tuple[FilePath, ...]
    environ: Mapping[str, str] = field(repr=False)
    overlay: Mapping[str, Json] = field(repr=False)
    overlay_version: int
    flags: Mapping[str, Json]
    vault: Mapping[str, Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    settings: Settings
    sources: Mapping[str, Source]
    """Dotted key -> where its value came from, for every key."""
    notes: tuple[str, ...]
    """Worth telling, not wrong."""
    seen_not_needed: Mapping[str, str]
    """Recognised environment name -> why syncd has no use for it."""
    shadowed: tuple[Shadowed, ...]
    pending: Mapping[str, str]
    """Dotted key -> name of the secret in the vault. Until `resolved`, such a key has its default."""
    inputs: Inputs
    beneath: Mapping[str, Json] = field(repr=False)
    """Values of files that the process environment hides, by key; secrets as Secret."""

    @property
    def config(self) -> FilePath | None:
        return self.inputs.config

    def again(self, *, overlay: Mapping[str, Json] | None = None, overlay_version: int | None = None) -> Loaded:
        """Read the same file and env files anew, with another overlay where one is given. Raises ConfigurationError."""
        inputs = self.inputs
        if overlay is not None:
            inputs = replace(inputs, overlay=overlay, overlay_version=overlay_version or inputs.overlay_version + 1)
        return _load(inputs)

    def resolved(self, secrets: Mapping[str, Secret]) -> Loaded:
        """The same with the vault's secrets, by name, in the place of `pending`. Raises ConfigurationError for a missing one."""
        missing = [(key, name) for key, name in self.pending.items() if name not in secrets]
        if missing:
            fix = "store it with `syncd credentials set`, or name another"
            raise ConfigurationError(
                [
                    Problem(text=f"the vault has no secret {name!r}", fix=fix, key=key, source=self.sources.get(key))
                    for key, name in missing
                ]
            )
        return _load(replace(self.inputs, vault={**self.inputs.vault, **secrets}))


def find_config(
    given: FilePath | None, environ: Mapping[str, str], directory: FilePath | None = None
) -> FilePath | None:
    """`--config`, else SYNCD_CONFIG, else ./config/syncd.toml or ./syncd.toml where present, else none."""
    if given is not None:
        return given
    if environ.get("SYNCD_CONFIG"):
        return FilePath(environ["SYNCD_CONFIG"])
    for candidate in DEFAULT_FILES:
        if (directory / candidate if directory else candidate).is_file():
            return directory / candidate if directory else candidate
    return None


def load(
    config: FilePath | None,
    env_files: Sequence[FilePath] = (),
    environ: Mapping[str, str] | None = None,
    overlay: Mapping[str, Json] | None = None,
    flags: Mapping[str, Json] | None = None,
    *,
    overlay_version: int = 0,
) -> Loaded:
    """Everything that is configured, validated whole. Reads files, touches nothing else.

    `config`: the TOML file, None for none (see `find_config`). `overlay`: nested or dotted keys. `flags`: dotted keys.
    Raises ConfigurationError with every problem found.
    """
    return _load(
        Inputs(
            config=config,
            env_files=tuple(env_files),
            environ=dict(environ or {}),
            overlay=overlay or {},
            overlay_version=overlay_version,
            flags=flags or {},
            vault={},
        )
    )


@dataclass(slots=True)
class _Winner:
    """What counts for one key, and what it hides."""

    entry: Entry
    hidden: list[Entry] = field(default_factory=list)


def _load(inputs: Inputs) -> Loaded:
    problems: list[Problem] = []
    file = _read_config(inputs.config, problems)
    env_files = _read_env_files(inputs.env_files, problems)
    found = _layers(inputs, file, env_files)
    for layer in found:
        problems += layer.problems
    environ = _merged_environ(env_files, inputs.environ)
    winners = _winners(found)
    resolution = Resolution(environ=environ, vault=inputs.vault, problems=problems)
    preset = winners.get(("backend", "preset"))
    chosen = resolution.value(preset.entry) if preset else "embedded"
    base = layers.preset_layer(chosen if isinstance(chosen, str) else "embedded")
    base.entries += layers.selected_layer({path: winner.entry for path, winner in winners.items()}).entries
    winners = {**{entry.path: _Winner(entry) for entry in base.entries}, **winners}
    values = {
        path: value for path, winner in winners.items() if (value := resolution.value(winner.entry)) is not MISSING
    }
    sources = {".".join(path): winner.entry.source for path, winner in winners.items()}
    sources |= resolution.sources
    settings = validated(values, sources, file, problems)
    if inputs.config is None or file is not None:  # without the file's values, what they lack says nothing
        wrong = {problem.key for problem in problems}
        situation = Situation(settings=settings, sources=sources, environ=environ)
        problems += [problem for check in CHECKS for problem in check(situation) if problem.key not in wrong]
    if problems:
        raise ConfigurationError(_ordered(problems))
    shadowed, beneath = _shadows(winners)
    return Loaded(
        settings=settings,
        sources=_all_sources(settings, sources),
        notes=tuple(_notes(found, env_files, winners)),
        seen_not_needed={name: why for layer in found for name, why in sorted(layer.seen.items())},
        shadowed=shadowed,
        pending=resolution.pending,
        inputs=inputs,
        beneath=beneath,
    )


def _read_config(path: FilePath | None, problems: list[Problem]) -> TomlFile | None:
    try:
        return None if path is None else read_toml(path)
    except ConfigurationError as error:
        problems += error.problems
        return None


def _read_env_files(paths: Iterable[FilePath], problems: list[Problem]) -> list[EnvFile]:
    files = []
    for path in paths:
        try:
            env_file = read_env_file(path)
            problems += env_file.problems
            files.append(env_file)
        except ConfigurationError as error:
            problems += error.problems
    return files


def _layers(inputs: Inputs, file: TomlFile | None, env_files: Sequence[EnvFile]) -> list[Layer]:
    """Lowest precedence first. A name that the process environment sets, even to nothing, hides it in env files."""
    found = [layers.default_layer()]
    if file is not None:
        found.append(layers.file_layer(file))
    environment = [
        Variable(name, value, Source("environment", name)) for name, value in inputs.environ.items() if _is_ours(name)
    ]
    emptied = {variable.name for variable in environment if not variable.value}
    for env_file in env_files:
        kept = [variable for variable in env_file.variables.values() if variable.name not in emptied]
        found += [layers.variables_layer(kept)]
    found.append(layers.variables_layer(environment))
    if inputs.overlay:
        found.append(layers.overlay_layer(inputs.overlay, inputs.overlay_version))
    found.append(layers.flag_layer(inputs.flags))
    return found


def _is_ours(name: str) -> bool:
    return (
        name.startswith(("SYNCD_", names.INSTANCE_PREFIX))
        or name in names.BY_NAME
        or name in names.IGNORED
        or names.not_needed(name) is not None
    )


def _merged_environ(env_files: Sequence[EnvFile], environ: Mapping[str, str]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for env_file in env_files:
        merged |= {variable.name: variable.value for variable in env_file.variables.values()}
    return merged | dict(environ)


def _winners(found: Sequence[Layer]) -> dict[Path, _Winner]:
    winners: dict[Path, _Winner] = {}
    for layer in found:
        for entry in layer.entries:
            before = winners.get(entry.path)
            hidden = [] if before is None else [*before.hidden, before.entry]
            winners[entry.path] = _Winner(entry, hidden)
    return winners


def _ordered(problems: Sequence[Problem]) -> list[Problem]:
    """File by file and line by line, as somebody would mend them."""

    def place(problem: Problem) -> tuple[str, str, int]:
        source = problem.source or DEFAULT
        return (source.kind, source.name if source.line is not None else "", source.line or 0)

    return sorted(dict.fromkeys(problems), key=place)


def _shadows(winners: Mapping[Path, _Winner]) -> tuple[tuple[Shadowed, ...], dict[str, Json]]:
    shadowed: list[Shadowed] = []
    beneath: dict[str, Json] = {}
    for path, winner in winners.items():
        if winner.entry.source.kind != "environment":
            continue
        hidden = [entry for entry in winner.hidden if entry.source.kind in {"file", "env-file"}]
        if hidden and hidden[-1].value != f"env:{winner.entry.source.name}":
            dotted, last = ".".join(path), hidden[-1]
            beneath[dotted] = Secret(str(last.value)) if _is_secret(path) else last.value
            if last.value != winner.entry.value:
                shadowed.append(Shadowed(dotted, winner.entry.source, last.source))
    return tuple(shadowed), beneath


def _is_secret(path: Path) -> bool:
    known = catalogue.find(path)
    return not isinstance(known, Key) or known.secret


def _notes(found: Sequence[Layer], env_files: Sequence[EnvFile], winners: Mapping[Path, _Winner]) -> list[str]:
    notes = [note for env_file in env_files for note in env_file.notes]
    notes += [note for layer in found for note in layer.notes]
    notes += [note for env_file in env_files for note in _near_misses(env_file)]
    later: dict[str, list[str]] = {}
    for path, winner in winners.items():
        known = catalogue.find(path)
        source = winner.entry.source
        if isinstance(known, Key) and known.later and source.kind not in {"default", "preset"}:
            name = source.variable or (source.name if source.kind == "environment" else ".".join(path))
            later.setdefault(path[0], []).append(name)
    for section, given in later.items():
        notes.append(f"[{section}] {', '.join(given)}: recognised and checked, but nothing in this release uses it")
    return notes


def _near_misses(env_file: EnvFile) -> list[str]:
    """A name in an env file that is nearly one of ours was probably meant to be it."""
    notes = []
    for variable in env_file.variables.values():
        if _is_ours(variable.name) or names.STANDARD.fullmatch(variable.name):
            continue
        close = difflib.get_close_matches(variable.name, names.BY_NAME, 1, 0.88)
        if close:
            notes.append(f"{variable.source}: not a name that syncd reads; did you mean {close[0]}?")
    return notes


def _all_sources(settings: Settings, given: Mapping[str, Source]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for path, key in catalogue.keys().items():
        if "<name>" in path:
            for provider in settings.providers:
                dotted = ".".join(provider if step == "<name>" else step for step in path)
                sources[dotted] = given.get(dotted, DEFAULT)
        elif not key.mapping:
            sources[".".join(path)] = given.get(".".join(path), DEFAULT)
    return {**sources, **{dotted: source for dotted, source in given.items() if dotted not in sources}}
