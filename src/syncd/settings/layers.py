"""Each place that settings come from, turned into the same thing: entries with a key, a value as written, and a source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from syncd.domain.jsontypes import Json
from syncd.settings import catalogue, names
from syncd.settings.catalogue import Key, Path, Table
from syncd.settings.envfile import Variable
from syncd.settings.errors import Problem, Source
from syncd.settings.references import is_reference
from syncd.settings.sections.backend import PRESETS, SELECTORS
from syncd.settings.tomlfile import TomlFile

#: Flags of `syncd run` by the key that they set.
FLAGS = {"daemon.roles": "--role", "daemon.data_dir": "--data-dir"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: Path
    value: Json
    source: Source
    convert: Callable[[str], Json] | None = None
    """Reads the text of an honoured name, once references are followed. Raises NotAllowed."""
    allowed: str = ""


@dataclass(slots=True)
class Layer:
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)


def default_layer() -> Layer:
    """The children of mappings that ship with values; other defaults live in the models."""
    layer = Layer()
    for key in catalogue.keys().values():
        if key.mapping and "<name>" not in key.path:
            for child, value in key.default.items():
                layer.entries.append(Entry(path=(*key.path, child), value=value, source=Source("default")))
    return layer


def preset_layer(preset: str) -> Layer:
    values = PRESETS.get(preset, {})
    source = Source("preset", preset)
    return Layer([Entry(path=tuple(key.split(".")), value=value, source=source) for key, value in values.items()])


def selected_layer(winners: Mapping[Path, Entry]) -> Layer:
    """What names of services choose where nobody chose otherwise. Messages or documents that are shared bring the rest of their
    preset along: then the data directory is taken for passing, and replicas for several."""
    layer = Layer()
    for key, (port, adapter, _) in SELECTORS.items():
        entry = winners.get(tuple(key.split(".")))
        if entry is None or ("backend", "preset") in winners:
            continue
        source = Source("preset", f"{key} is set")
        if port in ("documents", "queue"):
            layer.entries += [
                Entry(path=tuple(name.split(".")), value=value, source=source)
                for name, value in PRESETS["azure"].items()
                if name.startswith("daemon.")
            ]
        layer.entries.append(Entry(path=("backend", port), value=adapter, source=source))
    return layer


def file_layer(file: TomlFile) -> Layer:
    return _tree_layer(file.values, file.source)


def overlay_layer(values: Mapping[str, Json], version: int) -> Layer:
    """Nested tables, or dotted keys. A secret must be a reference: the overlay is stored in clear and shown."""
    source = Source("overlay", str(version))
    layer = _tree_layer(_nested(values), lambda _: source)
    kept = []
    for entry in layer.entries:
        key = catalogue.find(entry.path)
        dotted = ".".join(entry.path)
        if isinstance(key, Key) and key.early:
            fix = "set it in the file or the environment: it is needed before the store that keeps the overlay is open"
            layer.problems.append(Problem(text="cannot be set by the overlay", fix=fix, key=dotted, source=source))
        elif isinstance(key, Key) and key.secret and not _references_only(entry.value):
            fix = "write a reference: vault:name, env:NAME or file:/path"
            layer.problems.append(
                Problem(text="is a secret, and the overlay is stored in clear", fix=fix, key=dotted, source=source)
            )
        else:
            kept.append(entry)
    layer.entries = kept
    return layer


def _references_only(value: Json) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, Mapping) and is_reference(item.get("value")) for item in value)
    return is_reference(value)


def flag_layer(values: Mapping[str, Json]) -> Layer:
    layer = Layer()
    for dotted, value in values.items():
        source = Source("flag", FLAGS.get(dotted, dotted))
        layer.entries.append(Entry(path=tuple(dotted.split(".")), value=value, source=source))
    return layer


def _nested(values: Mapping[str, Json]) -> dict[str, Json]:
    tree: dict[str, Json] = {}
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        table = tree
        for parent in parents:
            below = table.setdefault(parent, {})
            table = below if isinstance(below, dict) else {}
        if isinstance(value, Mapping) and isinstance(table.get(last), dict):
            table[last] = {**table[last], **_nested(value)}
        else:
            table[last] = _nested(value) if isinstance(value, Mapping) else value
    return tree


def _tree_layer(tree: Mapping[str, Json], source_of: Callable[[Path], Source]) -> Layer:
    layer = Layer()
    _walk(layer, tree, (), source_of)
    return layer


def _walk(layer: Layer, tree: Mapping[str, Json], above: Path, source_of: Callable[[Path], Source]) -> None:
    for name, value in tree.items():
        path = (*above, name)
        known = catalogue.find(path)
        source, dotted = source_of(path), ".".join(path)
        if known is None:
            layer.problems.append(_unknown(path, source))
        elif isinstance(known, Key):
            layer.entries.append(Entry(path=path, value=value, source=source))
        elif isinstance(value, Mapping):
            _walk(layer, value, path, source_of)
        else:
            layer.problems.append(
                Problem(text="is a table, not a value", fix=_table_fix(path), key=dotted, source=source)
            )


def _table_fix(path: Path) -> str:
    known = catalogue.find(path)
    inside = known.names if isinstance(known, Table) and known.names else None
    return f"write [{'.'.join(path)}] and below it {', '.join(inside[:6]) + ', ...' if inside else 'NAME = value'}"


def _unknown(path: Path, source: Source) -> Problem:
    close = catalogue.nearest(path)
    parent = catalogue.find(path[:-1])
    if close:
        fix = f"did you mean {close}?"
    elif isinstance(parent, Table) and parent.names:
        fix = f"known here: {', '.join(parent.names)}"
    else:
        fix = "`syncd config env` lists every key"
    what = "name" if path[0] in catalogue.NAMED and len(path) == 2 else "key or section" if len(path) == 1 else "key"
    return Problem(text=f"there is no such {what}", fix=fix, key=".".join(path), source=source)


def variables_layer(variables: Iterable[Variable]) -> Layer:
    """Names of an env file or of the process environment. Within one layer SYNCD_ names win over usual ones, those over aliases."""
    layer = Layer()
    ranked: list[tuple[int, Entry]] = []
    for variable in variables:
        name = variable.name
        if name.startswith("SYNCD_"):
            ranked += [(2, entry) for entry in _syncd_variable(layer, variable)]
        elif name in names.BY_NAME:
            honoured = names.BY_NAME[name]
            if variable.value or honoured.empty_counts:
                entry = Entry(
                    path=honoured.path,
                    value=variable.value,
                    source=variable.source,
                    convert=honoured.convert,
                    allowed=honoured.allowed,
                )
                ranked.append((0 if honoured.alias else 1, entry))
        elif (path := names.instance_variable(name)) is not None:
            ranked.append((0, Entry(path=path, value=variable.value, source=variable.source)))
        elif name in names.IGNORED:
            layer.notes.append(f"{variable.source}: {names.IGNORED[name]}")
        elif (why := names.not_needed(name)) is not None:
            layer.seen[name] = why
            job = names.job_of_switch(name)
            if job is not None and variable.value.strip().lower() in {"1", "true"}:
                layer.notes.append(
                    f"{variable.source}: has no effect here; jobs.{job}.enabled = false switches the job off"
                )
    ranked.sort(key=lambda item: item[0])
    _note_rivals(layer, [entry for _, entry in ranked])
    layer.entries = [entry for _, entry in ranked]
    return layer


def _note_rivals(layer: Layer, entries: list[Entry]) -> None:
    first: dict[Path, Entry] = {}
    for entry in entries:
        before = first.get(entry.path)
        if before is not None and before.value != entry.value:
            layer.notes.append(
                f"{'.'.join(entry.path)}: {entry.source} counts, not {before.source}: both mean this key"
            )
        first[entry.path] = entry


def _syncd_variable(layer: Layer, variable: Variable) -> list[Entry]:
    name = variable.name
    if name in names.OWN_NAMES:
        if variable.source.kind == "env-file":
            layer.notes.append(f"{variable.source}: read from the process environment only, not from an env file")
        return []
    path = catalogue.path_of_environment_name(name)
    if path is None:
        why = names.not_needed(name, variable.value)
        if why is not None:
            layer.seen[name] = why
        else:
            layer.problems.append(_unknown_variable(variable))
        return []
    if not variable.value:
        return []
    if isinstance(catalogue.find(path), Key):
        return [Entry(path=path, value=variable.value, source=variable.source)]
    return _mapping_variable(layer, variable, path)


def _mapping_variable(layer: Layer, variable: Variable, path: Path) -> list[Entry]:
    try:
        children = json.loads(variable.value)
    except ValueError:
        children = None
    if not isinstance(children, dict):
        fix = f'a JSON object such as {{"name": ...}}, or one variable per name: {variable.name}__NAME'
        problem = Problem(text="is not a JSON object", fix=fix, key=".".join(path), source=variable.source)
        layer.problems.append(problem)
        return []
    return [Entry(path=(*path, child), value=value, source=variable.source) for child, value in children.items()]


def _unknown_variable(variable: Variable) -> Problem:
    close = catalogue.nearest_environment_name(variable.name)
    fix = f"did you mean {close}?" if close else "`syncd config env` lists every name; a key is SYNCD_<SECTION>__<KEY>"
    text = "there is no such setting"
    if variable.source.variable != variable.name and variable.source.name != variable.name:
        text = f"{variable.name}: {text}"
    return Problem(text=text, fix=fix, source=variable.source)
