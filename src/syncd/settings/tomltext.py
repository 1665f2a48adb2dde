"""Write settings as TOML: the annotated file, and what `syncd migrate` produces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from textwrap import wrap

from syncd.domain.jsontypes import Json
from syncd.settings import catalogue
from syncd.settings.catalogue import Key, Path

_HEAD = """\
# syncd: every setting, with its meaning, what is allowed, and its default. `syncd config file` prints this file.
#
# A line that is commented out shows the default; take the '#' away to change it. `syncd check` validates the file.
# Precedence: default < this file < env file (--env-file) < environment < stored overlay < flag.
# Any key can come from the environment as SYNCD_<SECTION>__<KEY>, for example SYNCD_HTTP__PORT=9000; names that existing
# deployments set (DJANGO_WEBHOOK_URL, SYNC_BATCH_SIZE, ...) are honoured as they are: `syncd config env` lists them all.
# A value may be a reference: "env:NAME", "file:/path", "vault:name". Secrets belong there, not here.
# Durations: seconds, or "1.5s", "10m", "7d". Sizes: bytes, or "64KiB", "1MiB".
"""


def toml_value(value: Json) -> str:
    """One value; None has no form in TOML and must be left out by the caller."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | FilePath):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(name)} = {toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def toml_key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()
    return name if bare else toml_value(name)


def header(path: Path) -> str:
    return "[" + ".".join(toml_key(step) for step in path) + "]"


def annotated() -> str:
    """The file that ships as config/syncd.toml, made from the models, so that it is never out of date."""
    lines = [_HEAD]
    for section in catalogue.sections():
        names = catalogue.NAMED.get(section, {})
        if names is None:
            lines += [f"\n# One table per provider.\n# [{section}.github]", *_section((section, "<name>"), "")]
            continue
        tables: list[Path] = [(section, name) for name in names] or [(section,)]
        for index, table in enumerate(tables):
            lines += [f"\n{header(table)}", *_section(table, "" if index == 0 else "short")]
    return "\n".join(lines) + "\n"


def _section(table: Path, form: str) -> list[str]:
    lines: list[str] = []
    mappings: list[str] = []
    for path, key in catalogue.keys().items():
        if path[:-1] != table:
            continue
        if form != "short":
            lines += _comment(key)
        if key.mapping:
            mappings += [f"# {header(path)}", *(f"# {toml_key(n)} = {toml_value(v)}" for n, v in key.default.items())]
            mappings += [] if key.default else ["# NAME = ..."]
        elif path == ("http", "tokens"):
            mappings += ["# [[http.tokens]]", '# name = "ci"', '# role = "read"', '# tenants = ["tenant-1"]']
            mappings += ['# value = "env:CI_TOKEN"']
        else:
            lines.append(_example(key))
    return lines + mappings


def _comment(key: Key) -> list[str]:
    facts = [key.meaning, f"Unit: {key.unit}." if key.unit else "", f"Allowed: {key.allowed}."]
    facts += ["Needs a restart." if key.restart else "", "Not used in this release." if key.later else ""]
    return [f"## {line}" for line in wrap(" ".join(filter(None, facts)), 122)]


def _example(key: Key) -> str:
    name = toml_key(key.path[-1])
    return f"# {name} =  # not set" if key.default is None else f"# {name} = {toml_value(key.default)}"
