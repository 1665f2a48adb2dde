"""Pages: Jinja2 with everything escaped, one inline style, and headers that allow nothing else."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json

_environment = Environment(
    loader=PackageLoader("syncd.http", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,  # a page must not touch the disk while the loop serves webhooks
    trim_blocks=True,
    lstrip_blocks=True,
)


def _when(text: str | None) -> str:
    """`2023-11-14T22:13:20.500Z` as people read it; the exact value stays in the `title` beside it."""
    if not text:
        return "–"
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return text
    return f"{moment:%d %b %H:%M:%S}"


def _span(seconds: float | None) -> str:
    """`95` -> `1 min 35 s`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


_environment.filters.update(when=_when, span=_span, count=_count)


@cache
def _page(name: str) -> Template:
    return _environment.get_template(name)


def warm() -> None:
    """Read and compile the pages. Blocking, a tenth of a second: the server does it in a thread once it listens, so that neither the
    start nor the first visitor waits for it."""
    for name in ("base.html", "dashboard.html", "docs.html", "login.html"):
        _page(name)


def page(template: str, *, status: int = 200, **values: Json) -> web.Response:
    """Scripts run only with this answer's nonce; nothing is loaded from elsewhere, framed, cached, or submitted elsewhere."""
    nonce = secrets.token_urlsafe(16)
    body = _page(template).render(nonce=nonce, **values)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return web.Response(
        status=status,
        body=body.encode(),
        content_type="text/html",
        charset="utf-8",
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        },
    )
