"""Probes, the description of the API, and what is at no address."""

from __future__ import annotations

from dataclasses import replace

import structlog

from syncd.ports.control import Component
from tests.integration.http.world import World


async def test_liveness_answers_without_a_token(world: World) -> None:
    answer = await world.ask("GET", "/healthz", token=None)
    assert (answer.status, answer.json["status"]) == (200, "ok")


async def test_liveness_fails_when_a_supervised_task_is_dead(world: World) -> None:
    world.control.reported = replace(world.control.reported, live=False)
    assert (await world.ask("GET", "/healthz")).status == 503


async def test_readiness_shows_version_generation_and_components(world: World) -> None:
    answer = await world.ask("GET", "/readyz/", token=None)
    assert answer.status == 200
    assert answer.json["status"] == "ready"
    assert answer.json["generation"] == 1
    assert answer.json["components"][1] == {"name": "blobs", "status": "degraded", "detail": "slow"}


async def test_readiness_is_refused_while_draining_and_while_nothing_can_work(world: World) -> None:
    world.control.reported = replace(world.control.reported, phase="draining")
    assert (await world.ask("GET", "/readyz")).json["status"] == "draining"
    world.control.reported = replace(
        world.control.reported, phase="running", ready=False, components=(Component("store", "failed", "disk full"),)
    )
    answer = await world.ask("GET", "/readyz")
    assert (answer.status, answer.json["status"]) == (503, "failed")


async def test_metrics_are_prometheus_text(world: World) -> None:
    answer = await world.ask("GET", "/metrics", token=None)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "up 1" in answer.text


async def test_head_answers_as_get_without_a_body(world: World) -> None:
    answer = await world.ask("HEAD", "/healthz", token=None)
    assert (answer.status, answer.text) == (200, "")


async def test_an_address_where_nothing_is_answers_problem_json(world: World) -> None:
    answer = await world.ask("GET", "/nothing/here")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["title"] == "Not Found"


async def test_a_method_that_an_address_does_not_take_is_told_which_it_takes(world: World) -> None:
    answer = await world.api("PUT", "/tasks", {})
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, POST"


async def test_the_description_covers_every_route_and_each_of_its_references_resolves(world: World) -> None:
    description = (await world.ask("GET", "/api/v1/openapi.json", token=None)).json
    assert description["openapi"] == "3.1.0"
    assert {"get", "patch"} <= description["paths"]["/api/v1/settings"].keys()
    assert "/api/v1/events" in description["paths"]
    ids = [operation["operationId"] for path in description["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            found = [value["$ref"]] if "$ref" in value else []
            return found + [one for inner in value.values() for one in references(inner)]
        if isinstance(value, list):
            return [one for inner in value for one in references(inner)]
        return []

    found = references(description)
    assert found
    for reference in found:
        target = description
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


async def test_the_docs_page_lists_the_routes_without_a_token(world: World) -> None:
    answer = await world.ask("GET", "/api/v1/docs", token=None)
    assert answer.status == 200
    assert "/connections/{connectionId}" in answer.text
    assert "Content-Security-Policy" in answer.headers


async def test_an_unexpected_error_tells_nothing_but_where_to_look(world: World) -> None:
    def broken() -> bytes:
        raise RuntimeError("the password is hunter2")

    world.change(metrics=broken)
    with structlog.testing.capture_logs() as logged:
        answer = await world.ask("GET", "/metrics", token=None)
    assert answer.status == 500
    assert "hunter2" not in answer.text
    [facts] = [facts for event, facts in world.observed if event == "http_failed"]
    assert answer.json["correlationId"] == facts["correlationId"] == logged[0]["correlationId"]
    assert "hunter2" in repr(logged[0]["exc_info"])
