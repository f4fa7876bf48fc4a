"""Clusters from a request to their end, when nothing goes wrong."""

import base64
from pathlib import Path

import pytest

from kaas.crypto.kubeconfig import conductor_access
from kaas.crypto.pki import Pki
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Cni
from kaas.domain.ports import External, KubeAccess, Wish
from kaas.domain.states import ClusterStatus, NodeState, OperationState
from kaas.drivers.simulator.records import Credential, Endpoint, SecurityGroup
from kaas.drivers.simulator.world import Offer, Timing
from tests.support.kaas_flow import WHO, Rig, rig_on


async def test_a_cluster_is_made_and_taken_away(stored: Rig) -> None:
    rig = stored
    cluster_id = await rig.made(workers=2)
    snapshot = await rig.snapshot(cluster_id)
    assert snapshot.cluster.status is ClusterStatus.RUNNING
    assert snapshot.cluster.version == "v1.36.3"
    assert {node.state for node in snapshot.nodes} == {NodeState.READY}
    assert {node.version for node in snapshot.nodes} == {"v1.36.3"}
    (endpoint,) = rig.sim.world.ground.all(Endpoint)
    assert snapshot.cluster.endpoint == f"{endpoint.address}:6443"
    assert rig.problems(cluster_id) == []
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert rig.left(cluster_id) == []
    assert not await rig.kit.requests.list(WHO)


async def test_after_the_making_no_token_and_no_admin_credential_is_left_on_nodes(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    assert rig.sim.brain(cluster_id).tokens == {}
    for name in await rig.nodes(cluster_id):
        files = rig.sim.machine(name).files
        assert not any(path.endswith(("kubeadm.yaml", "admin.conf", "etcd/ca.key")) for path in files)


async def test_user_data_holds_nothing_secret_but_a_boot_token(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    (credential,) = rig.sim.world.ground.all(Credential)
    for machine in rig.sim.world.machines(cluster_id):
        text = base64.b64decode(machine.user_data[0].split()[2]).decode()
        assert "PRIVATE KEY" not in text
        assert credential.secret not in text
        assert text.count("token=") == 1


async def test_three_control_planes_join_one_after_the_other(rig: Rig) -> None:
    cluster_id = await rig.made(planes=3, workers=1)
    (endpoint,) = rig.sim.world.ground.all(Endpoint)
    brain = rig.sim.brain(cluster_id)
    assert sorted(endpoint.targets) == sorted(brain.members)
    assert len(brain.members) == 3
    # An etcd that is joined by two at a time refuses one of them, and the step would have been tried again.
    ledger = await rig.ledger((await rig.kit.requests.operations(WHO, cluster_id))[0])
    assert {record.attempt for record in ledger.values()} == {1}
    assert rig.problems(cluster_id) == []


async def test_a_platform_without_load_balancers_gets_the_control_planes_own_address(tmp_path: Path) -> None:
    async with rig_on(tmp_path, offer=Offer(endpoints=False)) as rig:
        cluster_id = await rig.made(workers=1)
        snapshot = await rig.snapshot(cluster_id)
        (plane,) = [node for node in snapshot.nodes if node.role == "control-plane"]
        assert snapshot.cluster.endpoint == f"{plane.address}:6443"
        other = await rig.create("ha", planes=3, workers=1)
        ended = await rig.settle(other)
        assert (ended.state, ended.error_code) == (OperationState.FAILED, "INVALID")
        assert "load balancers" in ended.error
        assert rig.count("driver.create", "machine ha-") == 0


async def test_machines_are_made_while_the_endpoint_comes_up_and_nobody_joins_before(tmp_path: Path) -> None:
    async with rig_on(tmp_path, timing=Timing(endpoint_s=0.4)) as rig:
        cluster_id = await rig.made(workers=1)
        (endpoint,) = rig.sim.world.ground.all(Endpoint)
        calls = rig.sim.calls(cluster=cluster_id)
        made = [call.at for call in calls if call.method == "driver.create" and call.what.startswith("machine")]
        begun = [call.at for call in rig.sim.calls(method="remote.run") if call.what.startswith("kubeadm")]
        assert max(made) < endpoint.ready_at <= min(begun)
        assert rig.problems(cluster_id) == []


async def test_a_machine_that_disappears_while_it_is_written_down_is_made_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, lost = rig.sim.driver.update, list[str]()

    async def lose(external: External, wish: Wish, *, deadline: float) -> External:
        if external.name == "dev-default-pool-0" and not lost:
            lost.append(rig.sim.vanish(external.name).id)
            raise StepError(Code.NOT_READY, "machine is gone; it is made anew")
        return await update(external, wish, deadline=deadline)

    monkeypatch.setattr(rig.sim.driver, "update", lose)
    cluster_id = await rig.made(workers=1)
    assert rig.problems(cluster_id) == []
    assert rig.sim.machine("dev-default-pool-0").id not in lost


async def test_one_certificate_serves_all_looks_until_the_api_refuses_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = list[str]()

    async def sign(pki: Pki, endpoint: str) -> KubeAccess:
        signed.append(endpoint)
        return await conductor_access(pki, endpoint)

    monkeypatch.setattr("kaas.reconcile.steps.access.conductor_access", sign)
    cluster_id = await rig.made(workers=1)
    for _ in range(3):
        await rig.conductor().handle(cluster_id)
    assert len(signed) == 1
    await rig.delete(cluster_id)
    await rig.succeed(cluster_id)
    assert len(rig.tools.accesses) == 0


async def test_the_network_of_bridges_gets_a_file_on_each_node(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1, cni=Cni.BRIDGE)
    ranges = set()
    for name in await rig.nodes(cluster_id):
        ranges.add(rig.sim.machine(name).files["/etc/cni/net.d/10-pods.conflist"])
    assert len(ranges) == 2


async def test_a_cluster_without_a_network_is_done_when_its_nodes_have_joined(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1, cni=Cni.NONE)
    health = (await rig.snapshot(cluster_id)).cluster.health
    assert (health.nodes_total, health.nodes_ready) == (2, 0)


async def test_scaling_up_and_down_makes_and_takes_only_what_differs(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    await rig.scale(cluster_id, 3)
    await rig.succeed(cluster_id)
    assert set(await rig.nodes(cluster_id)) == {"dev-control-plane-0", *(f"dev-default-pool-{n}" for n in range(3))}
    (group,) = rig.sim.world.ground.all(SecurityGroup)
    assert len(group.members) == 4
    await rig.scale(cluster_id, 1)
    await rig.succeed(cluster_id)
    assert set(await rig.nodes(cluster_id)) == {"dev-control-plane-0", "dev-default-pool-0"}
    assert set(rig.sim.brain(cluster_id).nodes) == {"dev-control-plane-0", "dev-default-pool-0"}
    (group,) = rig.sim.world.ground.all(SecurityGroup)
    assert len(group.members) == 2
    assert rig.count("driver.create", "machine") == 4
    assert rig.problems(cluster_id) == []


async def test_numbers_of_nodes_are_never_used_again(rig: Rig) -> None:
    cluster_id = await rig.made(workers=1)
    await rig.scale(cluster_id, 2)
    await rig.succeed(cluster_id)
    await rig.scale(cluster_id, 1)
    await rig.succeed(cluster_id)
    await rig.scale(cluster_id, 2)
    await rig.succeed(cluster_id)
    assert "dev-default-pool-2" in await rig.nodes(cluster_id)


async def test_a_pod_that_cannot_be_evicted_delays_a_node_and_is_told(rig: Rig) -> None:
    cluster_id = await rig.made(workers=2)
    rig.sim.stick(cluster_id, "dev-default-pool-1")
    await rig.scale(cluster_id, 1)
    await rig.succeed(cluster_id)
    assert "dev-default-pool-1" not in await rig.nodes(cluster_id)
    (told,) = [event for event in await rig.events(cluster_id) if event.code == "DRAIN_INCOMPLETE"]
    assert "default/stuck" in told.message
