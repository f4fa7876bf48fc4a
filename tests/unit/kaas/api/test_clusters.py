"""The platform's routes and shapes (platform contract 15)."""

from typing import Any

import pytest

from kaas.db import tables
from kaas.domain.states import ClusterStatus, OperationState
from tests.unit.kaas.api.rig import BLUE, VPC, Rig

PLATFORM_FIELDS = {
    "id",
    "name",
    "user_id",
    "tenant_id",
    "vpc_id",
    "version",
    "control_plane_ips",
    "worker_count",
    "status",
    "node_groups",
    "pod_cidr",
    "service_cidr",
    "network_isolation",
    "ha_enabled",
    "created_at",
    "updated_at",
}
GROUP_FIELDS = {
    "id",
    "cluster_id",
    "name",
    "instance_type",
    "min_size",
    "max_size",
    "current_size",
    "created_at",
    "updated_at",
}


async def test_create_as_the_platforms_sdk_asks(rig: Rig) -> None:
    body = {"name": "dev", "vpc_id": VPC, "version": "v1.29.0", "workers": 2, "network_isolation": True, "ha": False}
    answer = await rig.ask("POST", "/clusters", body)
    assert answer.status_code == 202
    whole = answer.json()
    assert set(whole) == {"data", "meta"}
    assert set(whole["meta"]) == {"request_id", "timestamp"}
    made = whole["data"]
    assert set(made) >= PLATFORM_FIELDS | {"job_id"}
    assert set(made["node_groups"][0]) >= GROUP_FIELDS
    assert made["status"] == "pending"
    assert made["control_plane_ips"] is None
    assert (made["worker_count"], made["ha_enabled"], made["network_isolation"]) == (2, False, True)
    assert (made["user_id"], made["tenant_id"], made["vpc_id"]) == ("ada", BLUE, VPC)
    assert answer.headers["X-Operation-ID"] == made["job_id"]
    assert answer.headers["Location"] == f"/operations/{made['job_id']}"


async def test_what_was_answered_is_there(rig: Rig) -> None:
    made = await rig.create("dev")
    for ref in (made["id"], "dev"):
        assert (await rig.ask("GET", f"/clusters/{ref}")).json()["data"]["id"] == made["id"]
    snapshot = await rig.snapshot("dev")
    assert snapshot.operation is not None
    assert snapshot.operation.id == made["job_id"]
    assert len(snapshot.nodes) == 3


async def test_a_running_cluster(rig: Rig) -> None:
    await rig.running("dev")
    seen = (await rig.ask("GET", "/clusters/dev")).json()["data"]
    assert seen["status"] == "running"
    assert seen["control_plane_ips"] == ["10.77.0.10"]
    assert "job_id" not in seen
    assert "api_server_lb_address" not in seen
    assert seen["node_groups"][0]["ready_size"] == 2


async def test_ha_has_three_control_planes_behind_one_address(rig: Rig) -> None:
    await rig.running("dev", ha=True)
    seen = (await rig.ask("GET", "/clusters/dev")).json()["data"]
    assert seen["ha_enabled"]
    assert len(seen["control_plane_ips"]) == 3
    assert seen["api_server_lb_address"] == "10.77.0.10"


async def test_listing(rig: Rig) -> None:
    assert (await rig.ask("GET", "/clusters")).json()["data"] == []
    await rig.create("two")
    await rig.create("one")
    listed = (await rig.ask("GET", "/clusters")).json()["data"]
    assert [cluster["name"] for cluster in listed] == ["one", "two"]
    assert set(listed[0]) >= PLATFORM_FIELDS


async def test_a_name_that_is_taken(rig: Rig) -> None:
    await rig.create("dev")
    answer = await rig.ask("POST", "/clusters", {"name": "dev"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NAME_TAKEN")
    assert answer.json()["error"]["type"] == "CONFLICT"
    assert await rig.clusters() == ["dev"]


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_scale_answers_200_without_a_payload(rig: Rig, method: str) -> None:
    await rig.running("dev")
    answer = await rig.ask(method, "/clusters/dev/scale", {"workers": 4})
    assert answer.status_code == 200
    assert set(answer.json()) == {"meta"}
    seen = (await rig.ask("GET", "/clusters/dev")).json()["data"]
    assert (seen["worker_count"], seen["status"]) == (4, "updating")
    assert seen["job_id"] == answer.headers["X-Operation-ID"]


async def test_a_newer_scale_takes_the_place_of_the_one_that_runs(rig: Rig) -> None:
    await rig.running("dev")
    first = (await rig.ask("PUT", "/clusters/dev/scale", {"workers": 4})).headers["X-Operation-ID"]
    assert (await rig.ask("PUT", "/clusters/dev/scale", {"workers": 1})).status_code == 200
    assert (await rig.ask("GET", f"/operations/{first}")).json()["data"]["state"] == "superseded"
    nodes = (await rig.ask("GET", "/clusters/dev/nodes")).json()["data"]
    workers = [node["status"] for node in nodes if node["role"] == "worker"]
    assert workers.count("leaving") + workers.count("gone") == len(workers) - 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/clusters/dev/scale", {"workers": 3}),
        ("POST", "/clusters/dev/repair", None),
        ("POST", "/clusters/dev/nodegroups", {"name": "gpu"}),
        ("PUT", "/clusters/dev/nodegroups/default-pool", {"desired_size": 3}),
        ("DELETE", "/clusters/dev/nodegroups/gpu", None),
        ("POST", "/clusters/dev/upgrade", {"version": "v1.30.2"}),
        ("POST", "/clusters/dev/rotate-secrets", None),
        ("POST", "/clusters/dev/backups", None),
        ("POST", "/clusters/dev/restore", {"backup_path": "x"}),
    ],
)
async def test_a_state_that_forbids_it_is_409_at_once(rig: Rig, method: str, path: str, body: Any) -> None:
    made = await rig.create("dev")
    answer = await rig.ask(method, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "WRONG_STATE")
    assert [row.uuid for row in await rig.rows(tables.operation)] == [made["job_id"]]


async def test_repair_of_a_failed_cluster(rig: Rig) -> None:
    made = await rig.create("dev")
    await rig.conduct(made["id"], state=OperationState.FAILED, status=ClusterStatus.FAILED, error="no machine")
    assert (await rig.ask("GET", "/clusters/dev")).json()["data"]["status_reason"] == "no machine"
    answer = await rig.ask("POST", "/clusters/dev/repair")
    assert answer.status_code == 202
    assert set(answer.json()) == {"meta"}
    assert (await rig.ask("GET", "/clusters/dev")).json()["data"]["status"] == "repairing"


async def test_delete_during_create_and_again(rig: Rig) -> None:
    made = await rig.create("dev")
    first = await rig.ask("DELETE", f"/clusters/{made['id']}")
    assert first.status_code == 202
    assert set(first.json()) == {"meta"}
    again = await rig.ask("DELETE", "/clusters/dev")
    assert again.status_code == 202
    assert again.headers["X-Operation-ID"] == first.headers["X-Operation-ID"]
    assert (await rig.ask("GET", f"/operations/{made['job_id']}")).json()["data"]["state"] == "superseded"
    await rig.conduct(made["id"])
    assert (await rig.ask("GET", "/clusters/dev")).status_code == 404
    assert (await rig.ask("DELETE", "/clusters/dev")).status_code == 404
    done = await rig.ask("GET", f"/operations/{first.headers['X-Operation-ID']}")
    assert done.json()["data"]["state"] == "succeeded"


@pytest.mark.parametrize(("query", "expected"), [("", False), ("?volumes=keep", False), ("?volumes=delete", True)])
async def test_volumes_of_claims_are_kept_unless_they_are_not_to_be(rig: Rig, query: str, expected: bool) -> None:
    await rig.running("dev")
    await rig.ask("DELETE", f"/clusters/dev{query}")
    running = (await rig.snapshot("dev")).operation
    assert running is not None
    assert running.arguments == {"delete_volumes": expected}


async def test_node_groups(rig: Rig) -> None:
    made = await rig.running("dev")
    body = {
        "name": "gpu",
        "instance_type": "standard-4",
        "min_size": 0,
        "max_size": 4,
        "desired_size": 2,
        "labels": {"gpu": "yes"},
        "taints": [{"key": "gpu", "effect": "NoSchedule"}],
    }
    answer = await rig.ask("POST", "/clusters/dev/nodegroups", body)
    assert answer.status_code == 201
    group = answer.json()["data"]
    assert set(group) >= GROUP_FIELDS
    assert (group["name"], group["current_size"], group["cluster_id"]) == ("gpu", 2, made["id"])
    assert (group["labels"], group["taints"][0]["effect"]) == ({"gpu": "yes"}, "NoSchedule")
    await rig.conduct(made["id"])
    assert (await rig.ask("GET", "/clusters/dev")).json()["data"]["worker_count"] == 4
    assert (await rig.ask("POST", "/clusters/dev/nodegroups", body)).json()["error"]["code"] == "NAME_TAKEN"

    answer = await rig.ask("PUT", "/clusters/dev/nodegroups/gpu", {"desired_size": 1})
    assert (answer.status_code, answer.json()["data"]["current_size"]) == (200, 1)
    assert answer.json()["data"]["id"] == group["id"]
    await rig.conduct(made["id"])

    answer = await rig.ask("DELETE", "/clusters/dev/nodegroups/gpu")
    assert answer.status_code == 202
    assert set(answer.json()) == {"meta"}
    await rig.conduct(made["id"])
    nodes = (await rig.ask("GET", "/clusters/dev/nodes")).json()["data"]
    assert {node["status"] for node in nodes if node["node_group"] == "gpu"} == {"gone"}
    answer = await rig.ask("DELETE", "/clusters/dev/nodegroups/default-pool")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "INVALID_INPUT")


async def test_health(rig: Rig) -> None:
    made = await rig.create("dev")
    seen = (await rig.ask("GET", "/clusters/dev/health")).json()["data"]
    assert (seen["status"], seen["api_server"], seen["nodes_ready"]) == ("pending", False, 0)
    await rig.conduct(made["id"])
    seen = (await rig.ask("GET", "/clusters/dev/health")).json()["data"]
    assert (seen["status"], seen["api_server"], seen["nodes_total"], seen["nodes_ready"]) == ("running", True, 3, 3)


async def test_nodes(rig: Rig) -> None:
    await rig.running("dev")
    nodes = (await rig.ask("GET", "/clusters/dev/nodes")).json()["data"]
    assert [(node["name"], node["role"], node["status"]) for node in nodes] == [
        ("dev-control-plane-0", "control-plane", "ready"),
        ("dev-default-pool-0", "worker", "ready"),
        ("dev-default-pool-1", "worker", "ready"),
    ]
    assert "ssh_host_key" not in nodes[0]


async def test_a_cluster_looks_the_same_in_the_list_and_alone(rig: Rig) -> None:
    await rig.running("one")
    await rig.create("two")
    await rig.ask("PUT", "/clusters/one/scale", {"workers": 3})
    listed = (await rig.ask("GET", "/clusters")).json()["data"]
    alone = [(await rig.ask("GET", f"/clusters/{name}")).json()["data"] for name in ("one", "two")]
    assert listed == alone
    assert listed[0]["control_plane_ips"] == ["10.77.0.10"]
    assert listed[0]["job_id"]
    assert listed[1]["control_plane_ips"] is None
