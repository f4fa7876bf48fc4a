"""Two tenants never see each other, on any route; roles may do what the table says; without a key nobody does."""

from typing import Any

import pytest

from kaas.db import tables
from kaas.domain.policy import POLICY, Action, Role
from tests.unit.kaas.api.rig import BLUE, GREEN, Rig, documented_routes

OPEN = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics")}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/clusters"): {"name": "dev"},
    ("PUT", "/clusters/{ref}/scale"): {"workers": 3},
    ("POST", "/clusters/{ref}/nodegroups"): {"name": "gpu"},
    ("PUT", "/clusters/{ref}/nodegroups/{name}"): {"desired_size": 3},
    ("POST", "/clusters/{ref}/upgrade"): {"version": "v1.30.2"},
    ("POST", "/clusters/{ref}/restore"): {"backup_path": "x"},
    ("PUT", "/clusters/{ref}/backup-policy"): {"retention_days": 3},
}
ACTIONS: dict[tuple[str, str], Action] = {
    ("POST", "/clusters"): Action.CREATE,
    ("DELETE", "/clusters/{ref}"): Action.DELETE,
    ("DELETE", "/clusters/{ref}/nodegroups/{name}"): Action.DELETE,
    ("GET", "/clusters/{ref}/kubeconfig"): Action.KUBECONFIG,
    ("GET", "/clusters/{ref}/ssh-key"): Action.SSH_KEY,
}


ROUTES = [route for route in documented_routes() if route not in OPEN]
"""From the application itself, so that a new one cannot be forgotten."""


def action_of(method: str, path: str) -> Action:
    return ACTIONS.get((method, path), Action.READ if method == "GET" else Action.UPDATE)


async def ids(rig: Rig) -> tuple[str, str]:
    [cluster], [operation] = await rig.rows(tables.cluster), await rig.rows(tables.operation)
    return cluster.uuid, operation.uuid


def filled(path: str, cluster: str, operation: str) -> str:
    return path.replace("{ref}", cluster).replace("{operation_id}", operation).replace("{name}", "default-pool")


async def test_there_are_routes() -> None:
    assert len(ROUTES) > 20
    assert set(BODIES) | set(ACTIONS) <= set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_another_tenants_cluster_is_not_there(shared: Rig, method: str, path: str) -> None:
    cluster_id, operation_id = await ids(shared)
    body = BODIES.get((method, path))
    before = await shared.counts()
    for ref in (cluster_id, "blue-dev"):
        where = filled(path, ref, operation_id)
        if "{" in path:
            answer = await shared.ask(method, where, body, tenant=GREEN)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND"), answer.text
        elif method == "GET":
            answer = await shared.ask(method, f"{where}?cluster={ref}", tenant=GREEN)
            assert answer.status_code == 404 or answer.json()["data"] == []
            answer = await shared.ask(method, where, tenant=GREEN)
            assert answer.json()["data"] == []
        else:
            answer = await shared.ask(method, f"{where}?dry_run=plan", {"name": "blue-dev"}, tenant=GREEN)
            assert answer.status_code == 200, "a name of another tenant is free"
        told = answer.text.replace(ref, "").replace(operation_id, "")
        assert cluster_id not in told
        assert "10.77.0." not in told
        answer = await shared.ask(method, where, body, tenant=GREEN, headers={"X-Tenant-ID": BLUE})
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "FORBIDDEN")
    assert await shared.counts() == before


async def test_a_name_is_taken_by_other_tenants_too_and_nothing_more_is_told_of_it(rig: Rig) -> None:
    mine = await rig.create("dev")
    answer = await rig.ask("POST", "/clusters", {"name": "dev"}, tenant=GREEN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NAME_TAKEN")
    assert "another tenant's cluster" in answer.json()["error"]["message"]
    assert mine["id"] not in answer.text
    assert BLUE not in answer.text
    assert (await rig.ask("GET", f"/clusters/{mine['id']}", tenant=GREEN)).status_code == 404


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_key_nothing_is_told(shared: Rig, method: str, path: str) -> None:
    where = filled(path, "blue-dev", "x")
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer key-of-ada"}):
        answer = await shared.http.request(method, where, json=BODIES.get((method, path)), headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_asks_for_its_role(shared: Rig, method: str, path: str) -> None:
    _, operation_id = await ids(shared)
    where = f"{filled(path, 'blue-dev', operation_id)}?dry_run=plan"
    documented = (await shared.http.get("/openapi.json")).json()["paths"][path][method.lower()]["security"]
    assert documented == [{"APIKeyHeader": [action_of(method, path).value]}]
    for role in Role:
        answer = await shared.ask(method, where, BODIES.get((method, path)), role=role.value)
        may = action_of(method, path) in POLICY[role]
        assert (answer.status_code != 403) is may, answer.text
        if not may:
            assert "permission denied" in answer.json()["error"]["message"]


async def test_who_may_not_do_it_is_told_so_before_what_is_wrong_with_it(shared: Rig) -> None:
    answer = await shared.ask("POST", "/clusters", {"nonsense": True}, role="reader")
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_machines_need_no_key(shared: Rig, path: str) -> None:
    assert (await shared.http.get(path)).status_code == 200
