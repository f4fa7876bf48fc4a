"""Machines of node groups: against the embedded platform in both tiers, and against scripted answers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ccm.autoscaler.model import CLUSTER_LABEL, GROUP_LABEL, SLOT_LABEL, Launch, Template
from ccm.cloud.instances import Instances
from ccm.cloud.machines import CloudMachines
from ccm.ports import Cause, CloudError
from tests.support.devcloud import devcloud_server
from tests.unit.thecloud.scripted import Platform, Reply, failure, ok, raw_500, soon
from thecloud.client import Client
from thecloud.launches import Launches
from thecloud.settings import PlatformSettings

CLUSTER = "c1"
ONE = "4f1c2d3e-0000-4000-8000-0000000000aa"
LABELS = {CLUSTER_LABEL: CLUSTER, GROUP_LABEL: "pool-a", SLOT_LABEL: "1"}


def machines_of(client: Client) -> CloudMachines:
    launches = Launches(client._exchange, client._discovery.get, listing_window_s=0.0)
    return CloudMachines(launches, Instances(client), cluster_id=CLUSTER)


def launch(name: str = "c1-pool-a-1", labels: dict[str, str] | None = None, **template: Any) -> Launch:
    made = Template(**{"instance_type": "basic-1", "image": "alpine", **template})
    return Launch(name=name, template=made, labels=labels or LABELS)


@contextlib.asynccontextmanager
async def scripted(platform: Platform) -> AsyncIterator[CloudMachines]:
    async with platform.client() as client:
        yield machines_of(client)


async def cause_of(call: Any) -> Cause:
    with pytest.raises(CloudError) as caught:
        await call
    return caught.value.cause


@pytest.mark.parametrize("tier", ["strict", "extended"])
async def test_a_whole_life(tmp_path: Path, tier: str) -> None:
    async with devcloud_server(tmp_path, tier=tier) as served:
        settings = PlatformSettings(base_url=served.base_url, api_key=served.api_key, requests_per_s=1000.0, burst=1000)
        async with Client(settings, jitter=lambda: 0.0) as client:
            machines = machines_of(client)
            made = await machines.launch(launch(), deadline=soon())
            foreign = await machines.launch(
                launch("other", {CLUSTER_LABEL: "c2", GROUP_LABEL: "pool-a"}), deadline=soon()
            )
            assert (made.name, made.group, made.slot) == ("c1-pool-a-1", "pool-a", "1")
            assert [one.id for one in await machines.list(deadline=soon())] == [made.id]
            for machine, group in ((foreign, "pool-a"), (made, "pool-b")):
                assert await cause_of(machines.terminate(machine.id, group=group, deadline=soon())) is Cause.GUARD
            for _ in range(2):
                await machines.terminate(made.id, group="pool-a", deadline=soon())
            assert await machines.look_up(made.id, deadline=soon()) is None
            assert (await machines.look_up(foreign.id, deadline=soon())) is not None
            assert await machines.list(deadline=soon()) == ()
            prices = {one.name: one.price_per_hour for one in await machines.types(deadline=soon())}
            assert prices["standard-2"] == pytest.approx(0.04)


def instance(**fields: Any) -> dict[str, Any]:
    return {"id": ONE, "name": "n", "status": "RUNNING", "labels": LABELS} | fields


async def test_everything_is_in_the_request(tmp_path: Path) -> None:
    script = tmp_path / "join.sh"
    script.write_text("kubeadm join --token t")
    platform = Platform(features=("instance.zone", "instance.hostname")).on("POST", "/instances", ok(instance(), 202))
    async with scripted(platform) as machines:
        order = launch(zone="z1", vpc_id=ONE, cmd=("echo hi",), cmd_file=script, metadata={"a": "b"})
        await machines.launch(order, deadline=soon())
    assert json.loads(platform.asked("POST")[0].content) == {
        "name": "c1-pool-a-1",
        "hostname": "c1-pool-a-1",
        "image": "alpine",
        "instance_type": "basic-1",
        "zone": "z1",
        "vpc_id": ONE,
        "cmd": ["echo hi", "kubeadm join --token t"],
        "metadata": {"a": "b"},
        "labels": LABELS,
    }
    assert "token" not in repr(order)


async def test_a_launch_is_never_repeated(tmp_path: Path) -> None:
    platform = Platform().on("POST", "/instances", raw_500())
    async with scripted(platform) as machines:
        assert await cause_of(machines.launch(launch(), deadline=soon())) is Cause.UNKNOWN
    assert len(platform.asked("POST")) == 1


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (failure(429, "QUOTA_EXCEEDED"), Cause.QUOTA),
        (failure(400, "INVALID_INPUT"), Cause.REFUSED),
    ],
)
async def test_refusals_are_told_apart(reply: Reply, cause: Cause) -> None:
    async with scripted(Platform().on("POST", "/instances", reply)) as machines:
        assert await cause_of(machines.launch(launch(), deadline=soon())) is cause


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ({"cmd_file": Path("/nonexistent/join.sh")}, Cause.NOT_SENT),
        ({"zone": "z1"}, Cause.UNSUPPORTED),
        ({"subnet_id": "no-uuid"}, Cause.MISSING),
    ],
)
async def test_what_cannot_be_asked_is_not_sent(template: dict[str, Any], cause: Cause) -> None:
    platform = Platform().on("POST", "/instances", ok(instance(), 202))
    async with scripted(platform) as machines:
        assert await cause_of(machines.launch(launch(**template), deadline=soon())) is cause
    assert platform.asked("POST") == []


async def test_only_what_carries_the_label_is_listed() -> None:
    other = instance(id=ONE[:-1] + "b", labels={CLUSTER_LABEL: "c2"})
    platform = Platform().on("GET", "/instances", ok([instance(), other]))
    async with scripted(platform) as machines:
        assert [one.id for one in await machines.list(deadline=soon())] == [ONE]
    assert platform.calls() == [f"GET /instances?tag=thecloud.io%2Fcluster%3A{CLUSTER}"]


@pytest.mark.parametrize("answer", [failure(404, "NOT_FOUND", resource="instance"), raw_500()])
async def test_a_failed_deletion_is_believed_only_when_the_instance_is_gone(answer: Reply) -> None:
    path = f"/instances/{ONE}"
    still_there = Platform().on("GET", path, ok(instance())).on("DELETE", path, answer)
    async with scripted(still_there) as machines:
        await cause_of(machines.terminate(ONE, group="pool-a", deadline=soon()))
    gone = failure(404, "NOT_FOUND", resource="instance")
    went = Platform().on("GET", path, ok(instance()), gone).on("DELETE", path, answer)
    async with scripted(went) as machines:
        await machines.terminate(ONE, group="pool-a", deadline=soon())


async def test_nothing_is_deleted_on_an_unclear_answer() -> None:
    platform = Platform().on("GET", f"/instances/{ONE}", raw_500())
    async with scripted(platform) as machines:
        call = machines.terminate(ONE, group="pool-a", deadline=asyncio.get_running_loop().time() + 0.2)
        assert await cause_of(call) in (Cause.UNKNOWN, Cause.NOT_SENT)
    assert platform.asked("DELETE") == []
