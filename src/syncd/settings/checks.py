"""Rules between settings: what one value demands of another. Each answers with the key, where it was set, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from syncd.settings import partners
from syncd.settings.errors import DEFAULT, Problem
from syncd.settings.sections.http import is_loopback
from syncd.settings.situation import Check, Situation


def exposure(now: Situation) -> Iterator[Problem]:
    """Beyond loopback only with a token of somebody's choosing."""
    http = now.settings.http
    if not is_loopback(http.host) and not now.is_set("http.admin_token") and not now.is_set("http.tokens"):
        fix = 'set http.admin_token (SYNCD_HTTP__ADMIN_TOKEN), or keep http.host = "127.0.0.1"'
        text = f"{http.host!r} is reachable from other machines, and no token is configured"
        yield Problem(text=text, fix=fix, key="http.host", source=now.source("http.host"))


def tokens(now: Situation) -> Iterator[Problem]:
    source = now.source("http.tokens")
    names: dict[str, int] = {}
    values: dict[str, int] = {}
    admin = now.settings.http.admin_token
    if admin is not None:
        values[admin.reveal()] = -1
    for index, token in enumerate(now.settings.http.tokens):
        key = f"http.tokens.{index}"
        first = names.setdefault(token.name, index)
        if first != index:
            text = f"the name {token.name!r} is taken by http.tokens.{first}"
            yield Problem(
                text=text, fix="give each token its own: the audit tells people apart by it", key=key, source=source
            )
        first = values.setdefault(token.value.reveal(), index)
        if first != index:
            other = "http.admin_token" if first < 0 else f"http.tokens.{first}"
            yield Problem(text=f"has the same value as {other}", fix="make a new one", key=key, source=source)


def finops(now: Situation) -> Iterator[Problem]:
    """The trigger needs its address and token, and keeps the token off the network in clear."""
    settings = now.settings.finops
    for key, url in (("finops.webhook_url", settings.webhook_url), ("finops.status_url", settings.status_url)):
        if url is not None and url.startswith("http://") and not is_loopback(_host(url)):
            text = f"{url!r} would carry the token over a network in clear"
            yield Problem(text=text, fix="use https:// (http:// is for loopback only)", key=key, source=now.source(key))
    if not settings.enabled or "finops" not in now.settings.daemon.roles:
        return
    for key, name in (("finops.webhook_url", "DJANGO_WEBHOOK_URL"), ("finops.sync_token", "SECRET_SYNC_TOKEN")):
        if not now.is_set(key):
            fix = f"set {name} (or {key}), or FINOPS_SYNC_ENABLED=false{_near(name, now.environ)}"
            text = f"is missing, and {now.place('finops.enabled')} is true"
            yield Problem(text=text, fix=fix, key=key)
    job = now.settings.jobs["finops-daily-sync"]
    needed = settings.timeout + settings.settle_timeout
    if job.timeout < needed:
        key = "jobs.finops-daily-sync.timeout"
        text = f"{job.timeout:g} s is less than finops.timeout + finops.settle_timeout ({needed:g} s)"
        place = now.source(key) or now.source("finops.settle_timeout") or now.source("finops.timeout")
        fix = f"at least {needed:g}: otherwise the run is cut off before its outcome is known"
        yield Problem(text=text, fix=fix, key=key, source=place)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _near(name: str, environ: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, [other for other in environ if other != name], 1, 0.85)
    return f"; {close[0]} is set: was it meant?" if close else ""


def queues(now: Situation) -> Iterator[Problem]:
    for name, queue in now.settings.queues.items():
        pairs = (
            ("min_receivers", queue.min_receivers, "max_receivers", queue.max_receivers),
            ("soft_limit", queue.soft_limit, "hard_limit", queue.hard_limit),
        )
        for low, low_value, high, high_value in pairs:
            if low_value > high_value:
                key, other = f"queues.{name}.{low}", f"queues.{name}.{high}"
                key, other = (key, other) if now.is_set(key) else (other, key)
                text = f"{low} = {low_value:g} is above {high} = {high_value:g}"
                yield Problem(
                    text=text,
                    fix=f"{other} comes from: {now.sources.get(other, DEFAULT)}",
                    key=key,
                    source=now.source(key),
                )


def sizes(now: Situation) -> Iterator[Problem]:
    webhooks, aci = now.settings.webhooks, now.settings.aci
    if webhooks.large_body_bytes < webhooks.max_body_bytes:
        key = "webhooks.large_body_bytes"
        text = f"{webhooks.large_body_bytes} is below webhooks.max_body_bytes = {webhooks.max_body_bytes}"
        place = now.source(key) or now.source("webhooks.max_body_bytes")
        yield Problem(text=text, fix="large_body_bytes is for schemes that send more", key=key, source=place)
    if aci.min_memory_gb > aci.max_memory_gb:
        key = "aci.min_memory_gb"
        text = f"{aci.min_memory_gb:g} is above aci.max_memory_gb = {aci.max_memory_gb:g}"
        place = now.source(key) or now.source("aci.max_memory_gb")
        yield Problem(text=text, fix="the least is at most the most", key=key, source=place)


def roles(now: Situation) -> Iterator[Problem]:
    if not now.settings.daemon.roles:
        fix = "name at least one role, or leave it out for all of them"
        yield Problem(text="is empty", fix=fix, key="daemon.roles", source=now.source("daemon.roles"))


CHECKS: tuple[Check, ...] = (
    roles,
    partners.contradictions,
    partners.needs,
    partners.partners,
    exposure,
    tokens,
    finops,
    queues,
    sizes,
)
