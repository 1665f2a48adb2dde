"""Connections of the HTTP world to doubles of providers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.doubles.rest import DOUBLES, RestDouble
from tests.integration.http.world import Answer, World

CREDENTIAL = {"kind": "bearer", "token": "a-token"}


@asynccontextmanager
async def crm_double(manners: str = "page") -> AsyncIterator[RestDouble]:
    double = DOUBLES[manners]()
    assert isinstance(double, RestDouble)
    async with double.serving():
        yield double


async def connect(world: World, double: RestDouble, identifier: str = "crm", direction: str = "both") -> Answer:
    made = await world.connection(identifier, **description(double, direction))
    assert made.status == 201, made.text
    return made


def description(double: RestDouble, direction: str = "both") -> dict[str, Any]:
    return {
        "integrationId": "rest",
        "settings": double.settings(),
        "entities": {"contact": {"direction": direction}},
        "credential": CREDENTIAL,
    }
