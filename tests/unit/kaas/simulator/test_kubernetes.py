"""The simulated clusters refuse what real ones refuse."""

import asyncio
import time

import pytest

from kaas.bootstrap import commands
from kaas.bootstrap.tokens import new_join_token
from kaas.crypto.pki import new_pki
from kaas.crypto.sshkeys import new_ssh_key_pair
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import SELF, Kind, Rule, SecurityGroupWish, SshTarget
from kaas.drivers.simulator.invariants import broken_quorums
from kaas.drivers.simulator.world import Timing
from kaas.reconcile.steps.leave import ETCDCTL, MEMBERS
from tests.unit.kaas.simulator.place import C, Place, foreign_access, place, soon


async def test_the_api_answers_only_while_a_control_plane_lives_behind_the_address(here: Place) -> None:
    await here.machine("cp")
    assert (await here.init("cp")).exit_code == 0
    assert not await here.is_up()
    await here.aim("cp")
    assert await here.is_up()
    here.sim.kill("cp")
    assert not await here.is_up()


async def test_kubeadm_init_wants_a_clean_machine(here: Place) -> None:
    await here.up()
    again = await here.init("cp")
    assert again.exit_code == 1
    assert "/var/lib/etcd is not empty" in again.stderr
    await here.run("cp", *commands.RESET)
    assert (await here.init("cp")).exit_code == 0


async def test_an_init_without_the_pushed_authorities_is_refused(here: Place) -> None:
    await here.machine("cp")
    done = await here.run("cp", *commands.INIT)
    assert done.exit_code == 1
    assert "ca.crt is missing" in done.stderr


async def test_a_join_wants_a_token_that_is_known_and_lives(here: Place) -> None:
    await here.up()
    await here.machine("worker")
    for token in (new_join_token(), await here.token(ttl_s=-1.0)):
        refused = await here.join("worker", token)
        assert refused.exit_code == 1
        assert "for the token" in refused.stderr
    revoked = await here.token()
    await here.sim.kube.delete_bootstrap_tokens(await here.access(), deadline=soon())
    assert (await here.join("worker", revoked)).exit_code == 1
    assert (await here.join("worker", await here.token())).exit_code == 0


async def test_a_join_pins_the_clusters_authority(here: Place) -> None:
    await here.up()
    await here.machine("worker")
    refused = await here.join("worker", await here.token(), ca_hash=f"sha256:{'0' * 64}")
    assert refused.exit_code == 1
    assert "pinned" in refused.stderr


async def test_a_control_plane_joins_with_the_clusters_own_authorities_only(here: Place) -> None:
    await here.up()
    await here.machine("other")
    token = await here.token()
    assert (await here.join("other", token, plane=True, pki=await new_pki("else"))).exit_code == 1
    await here.run("other", *commands.RESET)
    assert (await here.join("other", token, plane=True)).exit_code == 0
    assert len(here.sim.brain(C).members) == 2


async def test_certificates_are_checked(here: Place) -> None:
    await here.up()
    assert await here.is_up()
    foreign = await new_pki("else")
    for access in (
        foreign_access(here, foreign),
        foreign_access(here, here.pki, minutes=-1),
        foreign_access(here, here.pki, group="guests"),
    ):
        assert not await here.sim.kube.is_ready(access, deadline=soon())


async def test_nodes_are_ready_with_a_network_only(here: Place) -> None:
    await here.machine("cp")
    await here.aim("cp")
    await here.init("cp")
    assert await here.ready() == {"cp": False}
    await here.apply("kube-flannel-ds")
    assert await here.ready() == {"cp": True}


async def test_nodes_are_ready_only_while_the_group_lets_them_in(here: Place) -> None:
    await here.up("worker")
    closed = SecurityGroupWish("sg", "vpc", (Rule("tcp", 10250, 10250, SELF),))
    late = await here.sim.driver.create(C, here.wish("late"), deadline=soon())
    await here.booted("late")
    await here.join("late", await here.token())
    assert await here.ready() == {"cp": True, "worker": True, "late": False}
    await here.sim.driver.update(here.group, closed, deadline=soon())
    assert (await here.ready())["late"]
    assert late.name == "late"


async def test_nodes_are_initialised_by_a_cloud_controller_only(here: Place) -> None:
    await here.up()
    access = await here.access()
    assert [node.initialised for node in await here.sim.kube.nodes(access, deadline=soon())] == [False]
    await here.apply("thecloud-ccm")
    assert [node.initialised for node in await here.sim.kube.nodes(access, deadline=soon())] == [True]


async def test_a_dead_machine_is_a_node_that_is_not_ready_after_a_while() -> None:
    # Certificates are of today, so that the clock may only be ahead.
    ahead_s = [0.0]
    async with place(timing=Timing(node_grace_s=40.0), clock=lambda: time.time() + ahead_s[0]) as here:
        await here.up("worker")
        here.sim.kill("worker")
        assert (await here.ready())["worker"]
        ahead_s[0] = 41.0
        assert not (await here.ready())["worker"]


async def test_etcd_ends_with_its_last_quorum(here: Place) -> None:
    await here.up()
    for name in ("two", "three"):
        await here.machine(name)
        assert (await here.join(name, await here.token(), plane=True)).exit_code == 0
    await here.aim("cp", "two", "three")
    here.sim.kill("cp")
    assert await here.is_up()
    here.sim.kill("two")
    assert not await here.is_up()
    assert broken_quorums(here.sim.world) != []


async def test_a_member_leaves_etcd_only_while_the_others_are_enough(here: Place) -> None:
    await here.up()
    await here.machine("two")
    await here.join("two", await here.token(), plane=True)
    members = (await here.run("cp", *MEMBERS)).stdout
    assert '"name": "cp"' in members
    assert '"name": "two"' in members
    here.sim.kill("two")
    refused = await here.run("cp", *ETCDCTL, "member", "remove", f"{0xE7CD0000 + 5:x}")
    assert refused.exit_code != 0


async def test_two_control_planes_do_not_join_at_one_time() -> None:
    async with place(timing=Timing(join_s=0.05)) as here:
        await here.up()
        for name in ("two", "three"):
            await here.machine(name)
        tokens = [await here.token(), await here.token()]
        outputs = await asyncio.gather(
            here.join("two", tokens[0], plane=True), here.join("three", tokens[1], plane=True)
        )
        assert sorted(output.exit_code for output in outputs) == [0, 1]
        assert "too many learner members" in "".join(output.stderr for output in outputs)


async def test_kubeadm_that_is_interrupted_is_half_done() -> None:
    async with place(timing=Timing(init_s=10.0)) as here:
        await here.machine("cp")
        await here.aim("cp")
        with pytest.raises(StepError) as caught:
            await here.init("cp", within_s=0.05)
        assert caught.value.code is Code.NODE_UNREACHABLE
        facts = commands.facts_of(await here.run("cp", *commands.LOOK), node="cp")
        assert facts.etcd
        assert not facts.done
        again = await here.init("cp")
        assert again.exit_code == 1


async def test_ssh_wants_the_right_host_and_the_right_key(here: Place) -> None:
    await here.machine("cp")
    good = here.target("cp")
    stranger = (await new_ssh_key_pair("else")).private_key
    for target in (
        SshTarget(good.address, good.host_key + "x", good.private_key),
        SshTarget(good.address, good.host_key, stranger),
        SshTarget("172.99.0.1", good.host_key, good.private_key),
    ):
        with pytest.raises(StepError) as caught:
            await here.sim.remote.run(target, ("true",), deadline=soon())
        assert caught.value.code is Code.NODE_UNREACHABLE


async def test_commands_that_nobody_runs_are_unknown(here: Place) -> None:
    await here.machine("cp")
    assert (await here.run("cp", "reboot")).exit_code == 127


async def test_services_and_claims_are_given_back_only_while_their_drivers_work(here: Place) -> None:
    await here.up("worker")
    await here.apply("thecloud-ccm", "thecloud-csi-controller")
    here.sim.add_service(C, "web")
    here.sim.add_claim(C, "data")
    here.sim.stop_kubelet("worker")
    here.sim.stop_kubelet("cp")
    access = await here.access()
    left = await here.sim.kube.release_outside(access, volumes=True, deadline=soon())
    assert len(left) == 2
    await here.run("worker", "systemctl", "restart", "kubelet")
    assert await here.sim.kube.release_outside(access, volumes=True, deadline=soon()) == []
    for kind in (Kind.LOAD_BALANCER, Kind.VOLUME):
        assert await here.sim.driver.find(kind, C, deadline=soon()) == []
