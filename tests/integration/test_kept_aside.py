"""What of a provider's pages is kept for people: never our secrets, and not for ever."""

from __future__ import annotations

import pytest
from aiohttp import web

from syncd.domain.errors import ServerFault
from syncd.ports.provider import Fetch
from tests.doubles.client import TOKEN
from tests.integration.test_rest_provider import REST, always, thing


async def test_an_item_that_echoes_our_credential_is_kept_aside_without_it() -> None:
    def echo(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"seen": request.headers["Authorization"]}, {"id": [TOKEN]}]})

    async with thing(echo) as api:
        found = await REST.fetch(api, Fetch(kind="thing"))
    assert len(found.unreadable) == 2
    assert TOKEN not in repr(found.unreadable)
    assert "***" in repr(found.unreadable[0].raw)


async def test_a_page_of_unreadable_items_that_comes_again_and_again_ends_the_list() -> None:
    async with thing(always({"data": [{"no": "id"}]}), paging={"style": "page"}) as api:
        first = await REST.fetch(api, Fetch(kind="thing"))
        assert first.next is not None
        with pytest.raises(ServerFault, match="does not know this parameter"):
            await REST.fetch(api, Fetch(kind="thing", cursor=first.next))
