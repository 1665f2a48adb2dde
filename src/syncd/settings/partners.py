"""Rules of `[backend]`: which adapters were chosen, what each needs, and which of them keep the guarantees together."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from syncd.settings.errors import Problem
from syncd.settings.sections.backend import SELECTORS
from syncd.settings.situation import Situation

PORTS = ("documents", "queue", "vault", "limiter", "blobs")
#: What an adapter cannot do without: one of these keys, and a module of the extra.
_NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "cosmos": (("cosmos.endpoint",), "azure.cosmos"),
    "servicebus": (("servicebus.connection_string", "servicebus.namespace"), "azure.servicebus"),
    "keyvault": (("keyvault.url",), "azure.keyvault.secrets"),
    "redis": (("redis.url",), "redis"),
    "blob": (("blob.connection_string", "blob.account_name"), "azure.storage.blob"),
}
#: Why a part may not live in one machine's directory while documents or messages are shared by several.
_ALONE = {
    "documents": "replicas that share the queue would each decide on documents of their own",
    "queue": "replicas that share the documents would each have messages that no other sees",
    "vault": "a replica would find credentials whose secrets lie on another machine",
    "limiter": "each replica would allow the whole limit",
    "blobs": "a replica would find messages whose bodies lie on another machine",
}


def contradictions(now: Situation) -> Iterator[Problem]:
    """A name that selects a service beside a word that says embedded: both are named."""
    for key, (port, _, called) in SELECTORS.items():
        if not now.is_set(key):
            continue
        chosen = {f"backend.{port}": getattr(now.settings.backend, port), "backend.preset": now.settings.backend.preset}
        said = next((choice for choice, value in chosen.items() if now.is_set(choice) and value == "embedded"), None)
        source = now.sources[key]
        name = key if source.kind == "file" else source.variable or source.name
        if said is not None and not (said == "backend.preset" and now.is_set(f"backend.{port}")):
            text = f"selects {called}, but {now.place(said)} says embedded"
            fix = f"take one of the two back: unset {name} to stay embedded"
            yield Problem(text=text, fix=fix, key=key, source=source)


def needs(now: Situation) -> Iterator[Problem]:
    """Each chosen service has its address, and its SDK is installed."""
    missing: list[str] = []
    for port in PORTS:
        adapter = getattr(now.settings.backend, port)
        if adapter == "embedded":
            continue
        keys, module = _NEEDS[adapter]
        if not any(now.is_set(key) for key in keys):
            text = f"is missing, and {now.place(f'backend.{port}')} is {adapter!r}"
            yield Problem(text=text, fix=f"set {' or '.join(keys)}", key=keys[0])
        if not _installed(module):
            missing.append(adapter)
    if missing:
        text = f"what {', '.join(missing)} needs is not installed"
        yield Problem(text=text, fix="pip install 'syncd[azure]'", key="backend")


def _installed(module: str) -> bool:
    """Looked for, not imported: that would take longer than the rest of the start."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is not there either
        return False


def partners(now: Situation) -> Iterator[Problem]:
    """A combination that cannot keep a guarantee is refused with the reason."""
    settings = now.settings
    backend = settings.backend
    shared = [port for port in ("documents", "queue") if getattr(backend, port) != "embedded"]
    if not shared:
        return
    for port in PORTS:
        key = f"backend.{port}"
        if getattr(backend, port) != "embedded":
            continue
        source = now.source(key) if now.is_set(key) else None
        other = f"backend.{shared[0]} = {getattr(backend, shared[0])!r}"
        if settings.limits.max_replicas > 1:
            fix = f"choose a service for {key}, or say limits.max_replicas = 1"
            yield Problem(text=f"'embedded' beside {other}: {_ALONE[port]}", fix=fix, key=key, source=source)
        elif port != "limiter" and not settings.daemon.data_dir_durable:
            text = f"'embedded' beside {other}: it would be lost with the data directory"
            fix = f"choose a service for {key}, or say daemon.data_dir_durable = true where the directory outlives the process"
            yield Problem(text=text, fix=fix, key=key, source=source)
