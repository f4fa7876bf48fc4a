"""What was made from inside of a cluster: found by the marks that its own programs write, and by nothing else."""

from typing import Any

import pytest

from ccm.cloud.strict_names import Names
from ccm.names import CLUSTER_TAG as CCM_TAG
from controller.names import Ownership
from devcloud.balancing.worker import Worker
from devcloud.network_rows import BALANCERS
from devcloud.rows import VOLUMES
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, External, Kind
from tests.unit.kaas.drivers_thecloud.conftest import CLUSTER, OTHER, Site, endpoint, soon

UID = "0d6f2b1c-1111-4222-8333-444455556666"


async def make_volume(site: Site, cluster_id: str, csi_name: str = "pvc-1") -> Any:
    """Make a volume as the CSI driver of a cluster does."""
    owner = Ownership(cluster_id, "csi")
    tags = {} if site.is_strict else {"tags": owner.marked({})}
    return await site.call("POST", "/volumes", name=owner.name(csi_name), size_gb=1, **tags)


async def make_balancer(site: Site, cluster_id: str, port: int = 80) -> Any:
    """Make a load balancer as the cloud controller manager of a cluster does."""
    name = Names(cluster_id).name_of(UID, port)
    if not site.is_strict:
        return await site.call("POST", "/lb", name=name, tags={CCM_TAG: cluster_id})
    async with site.served.client(headers={"Idempotency-Key": name[-64:]}) as http:
        answer = await http.post("/lb", json={"name": name, "vpc_id": await site.vpc_id(), "port": port})
        assert answer.status_code == 202, answer.text
        return answer.json()["data"]


class TestVolumes:
    async def find(self, site: Site, name: str = "") -> list[External]:
        return list(await site.driver.find(Kind.VOLUME, CLUSTER, name=name, deadline=soon()))

    async def test_those_of_the_cluster_s_driver_are_found_and_deleted(self, both: Site) -> None:
        ours = [await make_volume(both, CLUSTER, f"pvc-{number}") for number in range(2)]
        theirs = await make_volume(both, OTHER)
        nobodys = await both.call("POST", "/volumes", name="csi-data", size_gb=1)

        found = await self.find(both)
        assert {one.id for one in found} == {one["id"] for one in ours}
        assert [one.id for one in await self.find(both, ours[0]["name"])] == [ours[0]["id"]]
        for one in (*found, *found):
            await both.driver.delete(one, deadline=soon())

        assert await self.find(both) == []
        assert {row.id for row in await both.rows(VOLUMES)} == {theirs["id"], nobodys["id"]}

    async def test_one_that_a_machine_holds_survives_until_the_machine_is_gone(self, both: Site) -> None:
        made = await make_volume(both, CLUSTER)
        holder = both.served.instances["node-a"]
        await both.call("POST", f"/volumes/{made['id']}/attach", instance_id=holder, mount_path="/data")
        (held,) = await self.find(both)
        assert holder in held.message

        with pytest.raises(StepError) as refused:
            await both.driver.delete(held, deadline=soon())
        assert (refused.value.code, refused.value.retryable) == (Code.SURVIVORS, True)
        await both.call("DELETE", "/instances/node-a")
        await both.driver.delete(held, deadline=soon())

        assert await both.rows(VOLUMES) == []

    async def test_without_exactly_this_cluster_s_mark_nothing_is_deleted(self, both: Site) -> None:
        theirs = await make_volume(both, OTHER)
        nobodys = await both.call("POST", "/volumes", name="csi-data", size_gb=1)

        for volume_id, cluster_id in ((theirs["id"], CLUSTER), (nobodys["id"], CLUSTER), (theirs["id"], "")):
            external = External(Kind.VOLUME, volume_id, "", Condition.READY, cluster_id=cluster_id)
            with pytest.raises(StepError, match="left as it is"):
                await both.driver.delete(external, deadline=soon())

        assert len(await both.rows(VOLUMES)) == 2


class TestLoadBalancers:
    async def find(self, site: Site, name: str = "") -> list[External]:
        return list(await site.driver.find(Kind.LOAD_BALANCER, CLUSTER, name=name, deadline=soon()))

    async def test_those_of_the_cluster_s_manager_are_found_and_deleted(self, both: Site) -> None:
        ours = [await make_balancer(both, CLUSTER, port) for port in (80, 443)]
        await make_balancer(both, OTHER, 8080)
        if not both.is_strict:
            await both.driver.create(CLUSTER, endpoint(), deadline=soon())
        before = len(await both.rows(BALANCERS))

        found = await self.find(both)
        assert {one.id for one in found} == {one["id"] for one in ours}
        assert [one.id for one in await self.find(both, ours[1]["name"])] == [ours[1]["id"]]
        for one in (*found, *found):
            await both.driver.delete(one, deadline=soon())

        assert await self.find(both) == []
        assert both.served.cloud is not None
        await Worker(both.served.cloud).run_once()
        assert len(await both.rows(BALANCERS)) == before - len(ours)
        await both.driver.delete(found[0], deadline=soon())

    async def test_without_exactly_this_cluster_s_mark_nothing_is_deleted(self, both: Site) -> None:
        theirs = await make_balancer(both, OTHER)

        for cluster_id in (CLUSTER, ""):
            external = External(Kind.LOAD_BALANCER, theirs["id"], "", Condition.READY, cluster_id=cluster_id)
            with pytest.raises(StepError) as refused:
                await both.driver.delete(external, deadline=soon())
            assert refused.value.code is Code.PLATFORM_REFUSED

        assert [row.status != "DELETED" for row in await both.rows(BALANCERS)] == [True]
