"""Idempotency-Key, If-Match, and plans that write nothing."""

import asyncio
from typing import Any

import pytest

from kaas.db import tables
from tests.unit.kaas.api.rig import GREEN, Rig, fields_of

KEY = {"Idempotency-Key": "k-1"}


async def test_a_create_that_comes_again_makes_one_cluster(rig: Rig) -> None:
    first = await rig.ask("POST", "/clusters", b'{"name": "dev", "workers": 2}', headers=KEY)
    again = await rig.ask("POST", "/clusters", b'{ "workers":2,"name":"dev" }', headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["data"] == again.json()["data"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await rig.rows(tables.operation)) == 1


async def test_a_key_belongs_to_one_request(rig: Rig) -> None:
    await rig.ask("POST", "/clusters", {"name": "dev"}, headers=KEY)
    for method, path, body in (
        ("POST", "/clusters", {"name": "other"}),
        ("POST", "/clusters", {"name": "dev", "workers": 3}),
        ("DELETE", "/clusters/dev", None),
    ):
        answer = await rig.ask(method, path, body, headers=KEY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "KEY_REUSED")
    assert (await rig.ask("POST", "/clusters", {"name": "green"}, headers=KEY, tenant=GREEN)).status_code == 202


async def test_a_change_that_comes_again_is_done_once(rig: Rig) -> None:
    await rig.running("dev")
    answers = [await rig.ask("PUT", "/clusters/dev/scale", {"workers": 3}, headers=KEY) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Operation-ID"] for answer in answers}) == 1
    assert (await rig.snapshot("dev")).cluster.generation == 2


@pytest.mark.parametrize("key", ["", "k" * 256, "k\tk"])
async def test_keys_that_are_none(rig: Rig, key: str) -> None:
    answer = await rig.ask("POST", "/clusters", {"name": "dev"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, fields_of(answer)) == (400, ["Idempotency-Key"])
    assert await rig.clusters() == []


async def test_many_creates_of_one_name_at_once(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.ask("POST", "/clusters", {"name": "dev"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert await rig.clusters() == ["dev"]


async def test_a_change_of_what_somebody_else_has_changed_meanwhile(rig: Rig) -> None:
    await rig.running("dev")
    seen = (await rig.ask("GET", "/clusters/dev")).headers["ETag"]
    assert seen == '"1"'
    answer = await rig.ask("PUT", "/clusters/dev/scale", {"workers": 3}, headers={"If-Match": seen})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    for path in ("/clusters/dev/scale", "/clusters/dev/scale?dry_run=plan"):
        answer = await rig.ask("PUT", path, {"workers": 4}, headers={"If-Match": seen})
        assert (answer.status_code, answer.json()["error"]["code"]) == (412, "STALE")
        assert answer.json()["error"]["type"] == "PRECONDITION_FAILED"
    assert (await rig.ask("DELETE", "/clusters/dev", headers={"If-Match": seen})).status_code == 412
    for fine in ('"2"', 'W/"2"', "*"):
        assert (
            await rig.ask("PUT", "/clusters/dev/scale?dry_run=plan", {"workers": 4}, headers={"If-Match": fine})
        ).is_success


@pytest.mark.parametrize("tag", ["x", '"x"', '"1", "2"', "-1", '"' + "9" * 30 + '"'])
async def test_tags_that_are_none(rig: Rig, tag: str) -> None:
    await rig.create("dev")
    answer = await rig.ask("DELETE", "/clusters/dev", headers={"If-Match": tag})
    assert (answer.status_code, fields_of(answer)) == (400, ["If-Match"])
    assert (await rig.snapshot("dev")).cluster.status == "pending"


PLANS: list[tuple[str, str, Any]] = [
    ("POST", "/clusters", {"name": "other"}),
    ("PUT", "/clusters/blue-dev/scale", {"workers": 4}),
    ("POST", "/clusters/blue-dev/repair", None),
    ("DELETE", "/clusters/blue-dev", None),
    ("POST", "/clusters/blue-dev/nodegroups", {"name": "gpu"}),
    ("PUT", "/clusters/blue-dev/nodegroups/default-pool", {"desired_size": 1}),
]


@pytest.mark.parametrize(("method", "path", "body"), PLANS)
async def test_a_plan_tells_everything_and_writes_nothing(shared: Rig, method: str, path: str, body: Any) -> None:
    before, audited = await shared.counts(), await shared.audited()
    answer = await shared.ask(method, f"{path}?dry_run=plan", body, headers=KEY)
    assert answer.status_code == 200
    plan = answer.json()["data"]
    assert set(plan) == {"operation", "make", "keep", "remove", "usage_before", "usage_after", "warnings"}
    assert set(plan["usage_after"]) == {"clusters", "nodes", "vcpus", "memory_mb"}
    made = sum(item["count"] for item in plan["make"] if item["kind"] == "machine")
    removed = sum(item["count"] for item in plan["remove"] if item["kind"] == "machine")
    assert plan["usage_after"]["nodes"] - plan["usage_before"]["nodes"] == made - removed
    assert "X-Operation-ID" not in answer.headers
    assert (await shared.counts(), await shared.audited()) == (before, audited)
    assert not await shared.rows(tables.idempotency_key)


async def test_a_plan_of_what_is_refused_is_refused(shared: Rig) -> None:
    answer = await shared.ask("POST", "/clusters?dry_run=plan", {"name": "blue-dev"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NAME_TAKEN")
    answer = await shared.ask("PUT", "/clusters/blue-dev/scale?dry_run=plan", {"workers": 0})
    assert fields_of(answer) == ["workers"]
    answer = await shared.ask("PUT", "/clusters/blue-dev/scale?dry_run=yes", {"workers": 3})
    assert fields_of(answer) == ["dry_run"]
