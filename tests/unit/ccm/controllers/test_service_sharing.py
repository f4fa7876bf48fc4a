"""Services that agree to use one load balancer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ccm.names import SERVICE_UID_TAG
from ccm.ports import CloudError
from tests.support.fake_cloud import server_error
from tests.unit.ccm.controllers.service_rig import ServiceRig, running_service_rig, wire_service

BOTH = ("default/old", "default/new")


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    async with running_service_rig() as running:
        running.add_nodes(1)
        yield running


def put(rig: ServiceRig, *, new_port: int = 81, consents: bool = True, **annotations: str) -> None:
    rig.put(wire_service("old", annotations={"share-with": "default/new"} if consents else {}))
    own = {"share-with": "default/old", **annotations}
    rig.put(wire_service("new", ports={new_port: "TCP"}, annotations=own, created="2026-02-02T00:00:00Z"))


async def test_two_that_agree_share_one_whoever_comes_first(rig: ServiceRig) -> None:
    put(rig)
    await rig.settle("default/new", "default/old")
    assert [group.name for group in rig.only.groups] == [rig.uid("old"), rig.uid("new")]
    assert rig.ingress("old") == rig.ingress("new") != []
    assert rig.said("new")["id"] == rig.only.id
    since = rig.quiet()
    rig.restart()
    await rig.settle()
    assert (since.cloud_writes, since.kube_writes, since.events) == ([], [], [])


async def test_one_side_alone_is_not_enough(rig: ServiceRig) -> None:
    put(rig, consents=False)
    await rig.settle(*BOTH)
    assert len(rig.balancers()) == 2
    assert "LoadBalancerNotShared" in rig.events.reasons("default/new")


async def test_a_port_belongs_to_one_of_them(rig: ServiceRig) -> None:
    put(rig, new_port=80)
    await rig.settle(*BOTH, rounds=3)
    assert [group.name for group in rig.only.groups] == [rig.uid("old")]
    assert rig.events.reasons("default/new") == ["LoadBalancerConflict"]
    assert rig.ingress("new") == []
    rig.edit("new", {"spec": wire_service(ports={81: "TCP"})["spec"]})
    await rig.settle(*BOTH)
    assert rig.ingress("new") == rig.ingress("old")


async def test_an_internal_service_does_not_become_public(rig: ServiceRig) -> None:
    put(rig, internal="true")
    await rig.settle(*BOTH, rounds=3)
    assert [group.name for group in rig.only.groups] == [rig.uid("old")]
    assert rig.ingress("new") == []


async def test_the_last_one_out_deletes(rig: ServiceRig) -> None:
    put(rig)
    await rig.settle(*BOTH)
    one = rig.only
    rig.remove("old")
    await rig.settle(*BOTH)
    assert (rig.only.id, rig.only.tags[SERVICE_UID_TAG]) == (one.id, rig.uid("new"))
    assert [group.name for group in rig.only.groups] == [rig.uid("new")]
    assert rig.ingress("new") == [{"ip": one.addresses[0].address, "ipMode": "VIP"}]
    rig.remove("new")
    await rig.settle(*BOTH)
    assert rig.balancers() == []


async def test_a_guest_leaves_and_the_host_stays(rig: ServiceRig) -> None:
    put(rig)
    await rig.settle(*BOTH)
    rig.remove("new")
    await rig.settle(*BOTH)
    assert [group.name for group in rig.only.groups] == [rig.uid("old")]
    assert rig.ingress("old") != []


async def test_consent_that_comes_later_moves_nobody_unasked(rig: ServiceRig) -> None:
    put(rig, consents=False)
    await rig.settle(*BOTH)
    address = rig.ingress("new")
    rig.annotate("old", share_with="default/new")
    await rig.settle(*BOTH, rounds=3)
    assert (len(rig.balancers()), rig.ingress("new")) == (2, address)
    assert "NeedsRecreate" in rig.events.reasons("default/new")
    rig.annotate("new", recreate="allow")
    await rig.settle(*BOTH)
    assert rig.ingress("new") == rig.ingress("old") == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]


async def reached(rig: ServiceRig, point: str, since: int) -> None:
    """Wait until the platform is asked something."""
    async with asyncio.timeout(10):
        while rig.cloud.faults.count(point) == since:  # noqa: ASYNC110 - the platform tells nobody
            await asyncio.sleep(0)


async def test_nobody_joins_one_that_is_just_being_made_anew(rig: ServiceRig) -> None:
    rig.put(wire_service("old", annotations={"share-with": "default/new"}))
    await rig.settle("default/old")
    one, deletions = rig.only, rig.cloud.faults.count("delete")
    rig.annotate("old", internal="true", recreate="allow")
    later = "2026-02-02T00:00:00Z"
    rig.put(wire_service("new", ports={81: "TCP"}, annotations={"share-with": "default/old"}, created=later))
    with rig.cloud.faults.held("delete"):
        anew = asyncio.create_task(rig.controller.reconcile("default/old"))
        await reached(rig, "delete", deletions)
        joining = asyncio.create_task(rig.controller.reconcile("default/new"))
        done, _ = await asyncio.wait([joining], timeout=0.2)
        assert not done
        assert [group.name for group in one.groups] == [rig.uid("old")]
    await asyncio.gather(anew, joining)
    rig.watch()
    await rig.settle(*BOTH)
    assert rig.only.id != one.id
    assert [group.name for group in rig.only.groups] == [rig.uid("old"), rig.uid("new")]
    assert rig.ingress("old") == rig.ingress("new") != []


async def test_one_that_another_has_joined_meanwhile_is_not_made_anew(rig: ServiceRig) -> None:
    rig.put(wire_service("old", annotations={"share-with": "default/new"}))
    await rig.settle("default/old")
    one, writes = rig.only, rig.cloud.faults.count("put_group")
    put(rig)
    with rig.cloud.faults.held("put_group"):
        joining = asyncio.create_task(rig.controller.reconcile("default/new"))
        await reached(rig, "put_group", writes)
        rig.annotate("old", internal="true", recreate="allow")
        anew = asyncio.create_task(rig.controller.reconcile("default/old"))
        done, _ = await asyncio.wait([anew], timeout=0.2)
        assert not done
    await asyncio.gather(joining, anew)
    assert rig.only.id == one.id
    assert "LoadBalancerConflict" in rig.events.reasons("default/old")


async def test_what_another_uses_stays_also_when_nobody_here_knows_of_it(rig: ServiceRig) -> None:
    rig.put(wire_service("old", annotations={"share-with": "default/new"}))
    await rig.settle("default/old")
    one = rig.only
    put(rig)
    rig.cloud.faults.fail("put_group", server_error(), times=1, after=True)
    with pytest.raises(CloudError):
        await rig.sync("default/new")
    # Carried out, and the answer lost: to the other service the load balancer looks as before.
    rig.annotate("old", internal="true", recreate="allow")
    assert await rig.sync("default/old") is not None
    assert rig.only.id == one.id
    assert rig.only.group(rig.uid("new")) is not None


async def test_nobody_joins_one_that_is_just_being_deleted(rig: ServiceRig) -> None:
    rig.put(wire_service("old", annotations={"share-with": "default/new"}))
    await rig.settle("default/old")
    put(rig)
    with rig.cloud.faults.held("delete"):
        # The cache of services says that the host is there, the server says that it goes.
        seen = rig.services.get("default/old")
        assert seen is not None
        rig.remove("old")
        leaving = asyncio.create_task(rig.controller.reconcile("default/old"))
        await reached(rig, "delete", 0)
        rig.services.replace({**{one.key: one for one in rig.services.values()}, "default/old": seen})
        joining = asyncio.create_task(rig.controller.reconcile("default/new"))
        done, _ = await asyncio.wait([joining], timeout=0.2)
        assert not done
    await asyncio.gather(leaving, joining)
    rig.watch()
    await rig.settle(*BOTH)
    assert rig.ingress("new") == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]
    assert [group.name for group in rig.only.groups] == [rig.uid("new")]
