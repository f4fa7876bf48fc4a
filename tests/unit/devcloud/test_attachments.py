"""Attaching and detaching in the extended tier, also against a machine that does not play along."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devcloud.errors import BackendError, DiskBusyError
from devcloud.machines import Disk, NoMachines
from devcloud.settings import HostInstance
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"


class UnwillingMachines(NoMachines):
    """Presents and withdraws only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_present = asyncio.Event()
        self.may_present.set()
        self.is_broken = False
        self.busy_answers = 0

    async def present(self, disk: Disk) -> str:
        if self.is_broken:
            raise BackendError("the machine is on fire")
        await self.may_present.wait()
        return await super().present(disk)

    async def withdraw(self, serial: str) -> None:
        if self.busy_answers:
            self.busy_answers -= 1
            raise DiskBusyError(serial, "mounted on /data")
        await super().withdraw(serial)


@pytest.fixture
def machines() -> UnwillingMachines:
    return UnwillingMachines()


@pytest.fixture(params=["strict", "extended"])
async def unwilling(request: pytest.FixtureRequest, tmp_path: Path, machines: UnwillingMachines) -> AsyncIterator[Site]:
    async with devcloud_app(tmp_path, tier=request.param, machines=machines) as inside, inside.client() as client:
        yield Site(inside, client)


async def test_attach_is_idempotent_for_instance_and_mode(extended: Site) -> None:
    volume = await extended.make_volume()
    path = f"/volumes/{volume['id']}/attach"
    body = {"instance_id": extended.node_a, "read_only": True}

    first = await extended.data("POST", path, json=body)
    second = await extended.data("POST", path, json=body)
    other_mode = await extended.error(409, "POST", path, json={"instance_id": extended.node_a})
    other_node = await extended.error(409, "POST", path, json={**body, "instance_id": extended.node_b})

    assert first["device_path"] == second["device_path"]
    assert (first["volume"]["read_only"], first["volume"]["instance_id"]) == (True, extended.node_a)
    assert other_mode["details"]["reason"] == other_node["details"]["reason"] == "attached"
    assert other_node["details"]["instance_id"] == extended.node_a


async def test_detach_is_idempotent_and_guarded(extended: Site) -> None:
    volume = await extended.make_volume()
    await extended.attach(volume, extended.node_a)
    path = f"/volumes/{volume['id']}/detach"

    error = await extended.error(409, "POST", path, json={"instance_id": extended.node_b})
    assert (error["details"]["reason"], error["details"]["instance_id"]) == ("not_holder", extended.node_a)
    for _ in range(2):
        await extended.data("POST", path, json={"instance_id": extended.node_a})
    await extended.error(400, "POST", path)
    await extended.error(400, "POST", path, json={"instance_id": "no-uuid"})

    assert (await extended.data("GET", f"/volumes/{volume['id']}"))["status"] == "AVAILABLE"


async def test_attach_needs_an_instance_that_runs(extended: Site) -> None:
    volume = await extended.make_volume()
    await extended.data("POST", f"/instances/{extended.node_b}/stop")

    missing = await extended.attach(volume, NOWHERE)
    stopped = await extended.attach(volume, extended.node_b)
    malformed = await extended.attach(volume, "node-a")

    assert (missing.status_code, missing.json()["error"]["details"]["resource"]) == (404, "instance")
    assert (stopped.status_code, stopped.json()["error"]["type"]) == (409, "INSTANCE_NOT_RUNNING")
    assert malformed.status_code == 400


async def test_full_instance_refuses_with_429(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, max_volumes=1) as inside, inside.client() as client:
        site = Site(inside, client)
        first, second = await site.make_volume("vol-one"), await site.make_volume("vol-two")
        await site.attach(first, site.node_a)

        refused = await site.attach(second, site.node_a)

        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "RESOURCE_LIMIT_EXCEEDED")
        assert (await site.attach(first, site.node_a)).status_code == 200
        assert (await site.data("GET", f"/instances/{site.node_a}"))["max_volumes"] == 1


async def test_volume_stays_in_its_zone(tmp_path: Path) -> None:
    hosts = (HostInstance("node-a", "z1"), HostInstance("node-b", "z2"))
    async with devcloud_app(tmp_path, zones=("z1", "z2"), host_instances=hosts) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume(zone="z2")

        refused = await site.attach(volume, site.node_a)

        assert refused.json()["error"]["details"]["reason"] == "zone_mismatch"
        assert (await site.attach(volume, site.node_b)).status_code == 200


async def test_attachment_stands_when_the_disk_comes_late(tmp_path: Path, machines: UnwillingMachines) -> None:
    async with devcloud_app(tmp_path, machines=machines) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        machines.may_present.clear()
        body = {"instance_id": site.node_a, "wait_s": 0.01}

        error = await site.error(504, "POST", f"/volumes/{volume['id']}/attach", json=body)
        seen = await site.data("GET", f"/volumes/{volume['id']}")
        machines.may_present.set()
        again = await site.call("POST", f"/volumes/{volume['id']}/attach", json=body)

    assert error["type"] == "TIMEOUT"
    assert (seen["status"], seen["instance_id"]) == ("IN-USE", site.node_a)
    assert again.status_code == 200


async def test_failed_attach_leaves_the_volume_free(unwilling: Site, machines: UnwillingMachines) -> None:
    volume = await unwilling.make_volume()
    machines.is_broken = True

    assert (await unwilling.attach(volume, unwilling.node_a)).status_code == 500

    assert (await unwilling.data("GET", f"/volumes/{volume['id']}"))["status"] == "AVAILABLE"


async def test_busy_disk_stays_attached(
    unwilling: Site, machines: UnwillingMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devcloud.attachments.STRICT_BUSY_WAIT_S", 0.0)
    volume = await unwilling.make_volume()
    await unwilling.attach(volume, unwilling.node_a)
    machines.busy_answers = 10_000

    body = {"instance_id": unwilling.node_a, "wait_s": 0}
    answer = await unwilling.call("POST", f"/volumes/{volume['id']}/detach", json=body)

    if unwilling.inside.cloud.is_strict:
        assert answer.status_code == 500
    else:
        assert answer.json()["error"]["details"] == {"reason": "busy", "resource": "volume", "serial": volume["serial"]}
    assert (await unwilling.data("GET", f"/volumes/{volume['id']}"))["instance_id"] == unwilling.node_a
    machines.busy_answers = 0


async def test_detach_waits_for_whoever_looks_at_the_disk(unwilling: Site, machines: UnwillingMachines) -> None:
    volume = await unwilling.make_volume()
    await unwilling.attach(volume, unwilling.node_a)
    machines.busy_answers = 2

    await unwilling.data("POST", f"/volumes/{volume['id']}/detach", json={"instance_id": unwilling.node_a})

    assert machines.presented == {}


async def test_resize_reaches_the_attached_disk(tmp_path: Path, machines: UnwillingMachines) -> None:
    async with devcloud_app(tmp_path, machines=machines) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        await site.attach(volume, site.node_a)

        await site.data("POST", f"/volumes/{volume['id']}/resize", json={"size_gb": 2})

    assert machines.grown == [volume["serial"]]


async def test_terminated_instance_lets_go_of_its_volumes(unwilling: Site, machines: UnwillingMachines) -> None:
    volume = await unwilling.make_volume()
    await unwilling.attach(volume, unwilling.node_a)

    await unwilling.data("DELETE", f"/instances/{unwilling.node_a}")

    seen = await unwilling.data("GET", f"/volumes/{volume['id']}")
    assert (seen["status"], seen.get("instance_id"), machines.presented) == ("AVAILABLE", None, {})
    await unwilling.data("DELETE", f"/volumes/{volume['id']}")


async def test_disk_that_a_terminated_instance_still_uses_keeps_its_volume(
    unwilling: Site, machines: UnwillingMachines
) -> None:
    volume = await unwilling.make_volume()
    await unwilling.attach(volume, unwilling.node_a)
    machines.busy_answers = 2

    await unwilling.data("DELETE", f"/instances/{unwilling.node_a}")

    assert not (await unwilling.call("DELETE", f"/volumes/{volume['id']}")).is_success
    await unwilling.data("DELETE", f"/volumes/{volume['id']}")
    assert machines.presented == {}


async def test_attaches_at_once_have_one_winner(both: Site) -> None:
    volume = await both.make_volume()

    answers = await asyncio.gather(*(both.attach(volume, node) for node in (both.node_a, both.node_b) * 4))

    holder = (await both.data("GET", f"/volumes/{volume['id']}"))["instance_id"]
    won = [answer.status_code == 200 for answer in answers]
    expected = [not both.inside.cloud.is_strict and node == holder for node in (both.node_a, both.node_b) * 4]
    assert won == expected or (both.inside.cloud.is_strict and won.count(True) == 1)
