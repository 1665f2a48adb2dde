"""The architecture's rules that import-linter cannot state, each a function from one source file to what it breaks.

`package` is the path below src/syncd (`http/webhooks.py`), or below the repository for tests (`tests/unit/test_ids.py`).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

#: Above this, a file has become two.
MOST_LINES = 400
#: Longer files, each with the reason why it is still one.
LONG_FILES: dict[str, str] = {
    "tests/integration/test_trigger.py": "one real server, all the ways in which it may answer",
    "tests/integration/http/test_resources.py": "one resource after the other over one world",
}

FORBIDDEN_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "misc"})

#: The only third-party packages of each layer that is meant to be pure; () is the standard library alone.
PURE: dict[str, tuple[str, ...]] = {"domain/": (), "ports/": (), "flows/": ("anyio",)}
ALSO: dict[str, tuple[str, ...]] = {"domain/signatures": ("cryptography",)}
#: Parts of the standard library that are I/O: not for the pure layers. The domain reads no clock either.
IMPURE = frozenset(
    {
        "ftplib",
        "http",
        "multiprocessing",
        "select",
        "signal",
        "smtplib",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "threading",
    }
)
DOMAIN_IMPURE = IMPURE | {"asyncio", "time", "tempfile", "pathlib", "logging"}

AIOHTTP_SERVER = ("http/", "demo/", "testing/")
AIOHTTP_CLIENT = ("adapters/http/", "cli/", "demo/", "testing/")
#: Server names, by module or by `from aiohttp import web`.
_SERVER = re.compile(r"aiohttp\.(web|web_\w+)(\.|$)")

SETTINGS_READERS = ("settings/", "bootstrap.py", "bootstrap/", "cli/", "demo/", "testing/", "__main__.py")


@dataclass(frozen=True)
class Source:
    package: str
    text: str
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text))

    @property
    def in_tests(self) -> bool:
        return self.package.startswith("tests/")

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    @cached_property
    def comments(self) -> dict[int, str]:
        """Line number to the comment on it."""
        return {token.start[0]: token.string for token in self.tokens if token.type == tokenize.COMMENT}

    @cached_property
    def comment_lines(self) -> frozenset[int]:
        """Lines that hold nothing but a comment."""
        lines = self.text.splitlines()
        return frozenset(number for number in self.comments if lines[number - 1].lstrip().startswith("#"))

    def reasoned(self, line: int) -> bool:
        """Is there a comment with words of its own on this line, or on a comment line right above it?"""
        return _words(self.comments.get(line, "")) or (
            line - 1 in self.comment_lines and _words(self.comments.get(line - 1, ""))
        )

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Absolute dotted names, `from a import b` as `a.b`."""
        found: list[tuple[int, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found += ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        return found

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Each call with its dotted name, as far as it is written out."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node, _dotted(node.func)


_OPEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
#: What a tool reads in a comment; what is left is for people.
_DIRECTIVE = re.compile(
    r"#\s*(noqa(:\s*[A-Z]+\d+([,\s]+[A-Z]+\d+)*)?|type:\s*ignore(\[[\w\-, ]*\])?|pragma:[\w ]*)", re.IGNORECASE
)


def _words(comment: str) -> bool:
    return len(re.findall(r"[^\W\d_]{2,}", _DIRECTIVE.sub("", comment))) >= 2


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def pure_layers(source: Source) -> Iterator[str]:
    """domain and ports: the standard library; flows: anyio too. None of them does I/O of its own."""
    for layer, allowed in PURE.items():
        if not source.package.startswith(layer):
            continue
        extra = tuple(name for prefix, names in ALSO.items() if source.package.startswith(prefix) for name in names)
        impure = DOMAIN_IMPURE if layer == "domain/" else IMPURE
        for line, name in source.imports:
            top = name.partition(".")[0]
            if top in impure:
                yield f"{line}: {layer} does no I/O, but imports {name}"
            elif top != "syncd" and top not in sys.stdlib_module_names and top not in (*allowed, *extra):
                yield f"{line}: {layer} imports the third-party {name}"


def domain_is_sync(source: Source) -> Iterator[str]:
    if source.package.startswith("domain/"):
        for node in source.nodes:
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield f"{node.lineno}: the domain has no async"


def aiohttp_sides(source: Source) -> Iterator[str]:
    """The server in http, demo and tests; the client in adapters/http, cli and demo."""
    if source.in_tests:
        return
    for line, name in source.imports:
        if name == "aiohttp" or name.startswith("aiohttp."):
            server = _SERVER.match(name) is not None
            if server and not source.package.startswith(AIOHTTP_SERVER):
                yield f"{line}: aiohttp.web belongs to http and demo"
            elif not server and not source.package.startswith((*AIOHTTP_CLIENT, *_bare(name))):
                yield f"{line}: the aiohttp client belongs to adapters/http, cli and demo"


def _bare(name: str) -> tuple[str, ...]:
    """Names that are neither server nor client, and may be used on the server's side."""
    shared = {
        "aiohttp.hdrs",
        "aiohttp.WSMsgType",
        "aiohttp.BodyPartReader",
        "aiohttp.MultipartReader",
        "aiohttp.__version__",
    }
    shared |= {"aiohttp.http_exceptions", "aiohttp.payload", "aiohttp.typedefs", "aiohttp.abc"}
    return AIOHTTP_SERVER if any(name == one or name.startswith(one + ".") for one in shared) else ()


def settings_readers(source: Source) -> Iterator[str]:
    """Only the composition root and the command line know the settings; the settings know the domain alone."""
    for line, name in source.imports:
        inside = source.package.startswith("settings/")
        if f"{name}.".startswith("syncd.settings.") and not source.in_tests:
            if not source.package.startswith(SETTINGS_READERS):
                yield f"{line}: {name} is for bootstrap and cli; take plain values"
        elif (
            inside and name.startswith("syncd.") and not f"{name}.".startswith(("syncd.domain.", "syncd.__version__."))
        ):
            yield f"{line}: settings import the domain only, not {name}"


def file_size(source: Source) -> Iterator[str]:
    count = len(source.text.splitlines())
    if count > MOST_LINES and source.package not in LONG_FILES:
        yield f"{count} lines; above {MOST_LINES} a file has become two (or LONG_FILES says why not)"


def telling_names(source: Source) -> Iterator[str]:
    for part in source.package.removesuffix(".py").split("/"):
        if part.strip("_") in FORBIDDEN_NAMES:
            yield f"{part!r} says nothing about what is inside"


def broad_excepts(source: Source) -> Iterator[str]:
    """One that ends by raising the same again swallows nothing, and needs no reason."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(one is None or _dotted(one) in {"Exception", "BaseException"} for one in caught)
            raises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if broad and not raises and not source.reasoned(node.lineno):
                yield f"{node.lineno}: a broad except needs its reason beside it"


def suppressions(source: Source) -> Iterator[str]:
    if not _DIRECTIVE.search(source.text):
        return  # most files: taking one apart into tokens is what takes long here
    for line, comment in source.comments.items():
        if _DIRECTIVE.search(comment) and not source.reasoned(line):
            yield f"{line}: {comment} needs its reason beside it"


def untyped(source: Source) -> Iterator[str]:
    if source.in_tests or "Any" not in source.text:
        return
    imported = {line for line, name in source.imports if name == "typing.Any"}
    seen = set()
    for token in source.tokens:
        line = token.start[0]
        if token.type == tokenize.NAME and token.string == "Any" and line not in imported | seen:
            seen.add(line)
            if not source.reasoned(line):
                yield f"{line}: Any needs its reason beside it"


def _yields(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def sleeps(source: Source) -> Iterator[str]:
    """The product waits by its injected clock; tests wait for signals. `sleep(0)` only yields."""
    for call, name in source.calls():
        if name not in {"time.sleep", "asyncio.sleep", "anyio.sleep"}:
            continue
        if name == "time.sleep" and not source.in_tests:
            yield f"{call.lineno}: time.sleep blocks the event loop"
        elif not _yields(call) and not source.reasoned(call.lineno):
            yield f"{call.lineno}: {name} needs its reason beside it"
    for line, name in source.imports:
        if name in {"time.sleep", "asyncio.sleep", "anyio.sleep"}:
            yield f"{line}: import the module, so that a sleep is seen as one"


def open_ends(source: Source) -> Iterator[str]:
    if not _OPEN.search(source.text):
        return
    for line, comment in source.comments.items():
        if _OPEN.search(comment):
            yield f"{line}: {comment}: do it, or write an issue"


RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    pure_layers,
    domain_is_sync,
    aiohttp_sides,
    settings_readers,
    file_size,
    telling_names,
    broad_excepts,
    suppressions,
    untyped,
    sleeps,
    open_ends,
)
