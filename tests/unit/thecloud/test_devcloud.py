"""The client against the embedded platform on a socket: a whole life in both tiers, and every fault of its list."""

import asyncio
import contextlib
from itertools import pairwise

import pytest

from devcloud.faults import Fault, Kind
from tests.support.devcloud import devcloud_server
from tests.unit.thecloud.scripted import soon
from thecloud.client import Client
from thecloud.errors import Conflict, PlatformError, QuotaExceeded, Refused, Unauthorized, UnknownOutcome
from thecloud.presence import Gone
from thecloud.settings import PlatformSettings
from thecloud.volumes import serial_of
from thecloud.wire import VolumeStatus

KEY = "key-of-pv-1"


@contextlib.asynccontextmanager
async def running(tmp_path, tier):
    async with devcloud_server(tmp_path, tier=tier) as served:
        settings = PlatformSettings(base_url=served.base_url, api_key=served.api_key, requests_per_s=1000.0, burst=1000)
        async with Client(settings, jitter=lambda: 0.0) as cloud:
            yield served, cloud


async def test_extended_a_whole_life(tmp_path):
    async with running(tmp_path, "extended") as (served, cloud):
        node = served.instances["node-a"]
        await cloud.check(soon())
        assert (await cloud.features(soon())).tier == "extended"
        made = await cloud.volumes.create(
            name="pv-1", size_gb=1, tags={"cluster": "c1"}, idempotency_key=KEY, deadline=soon()
        )
        assert made.serial == serial_of(made.id)
        again = await cloud.volumes.create(
            name="pv-1", size_gb=1, tags={"cluster": "c1"}, idempotency_key=KEY, deadline=soon()
        )
        assert again.id == made.id
        with pytest.raises(Conflict) as taken:
            await cloud.volumes.create(name="pv-1", size_gb=2, deadline=soon())
        assert taken.value.reason == "name_taken"
        answer = await cloud.volumes.attach(made.id, node, deadline=soon())
        assert answer.volume.instance_id == node
        with pytest.raises(Conflict) as attached:
            await cloud.volumes.delete(made.id, deadline=soon())
        assert attached.value.reason == "attached"
        assert (await cloud.volumes.resize(made.id, size_gb=2, deadline=soon())).size_gb == 2
        snapshot = await cloud.snapshots.create(volume_id=made.id, name="s1", idempotency_key="s", deadline=soon())
        assert [one.id for one in await cloud.snapshots.find_by_name("s1", deadline=soon())] == [snapshot.id]
        await cloud.volumes.detach(made.id, node, deadline=soon())
        await cloud.volumes.detach(made.id, node, deadline=soon())
        group = await cloud.groups.create(name="g1", volume_ids=[made.id], idempotency_key="g", deadline=soon())
        with pytest.raises(Conflict) as member:
            await cloud.snapshots.delete(group.snapshots[0].id, deadline=soon())
        assert member.value.reason == "in_group"
        await cloud.groups.delete(group.id, deadline=soon())
        assert isinstance(await cloud.groups.get(group.id, deadline=soon()), Gone)
        await cloud.volumes.delete(made.id, guard_tag=("cluster", "c1"), deadline=soon())
        assert await cloud.volumes.get(made.id, deadline=soon()) == Gone("volume", made.id)
        assert (await cloud.snapshots.get(snapshot.id, deadline=soon())).id == snapshot.id
        assert (await cloud.capacity.get(deadline=soon())).available_bytes > 0
        assert await cloud.capacity.zones(deadline=soon())


async def test_strict_a_whole_life(tmp_path):
    async with running(tmp_path, "strict") as (served, cloud):
        node = served.instances["node-a"]
        assert (await cloud.features(soon())).tier == "strict"
        assert await cloud.volumes.list(deadline=soon()) == ()
        made = await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon())
        with pytest.raises(UnknownOutcome):
            await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon())
        assert (await cloud.volumes.attach(made.id, node, deadline=soon())).volume is None
        found = await cloud.volumes.get(made.id, deadline=soon())
        assert (found.status, found.instance_id) == (VolumeStatus.IN_USE, node)
        with pytest.raises(Conflict):
            await cloud.volumes.attach(made.id, node, deadline=soon())
        with pytest.raises(Refused):
            await cloud.volumes.delete(made.id, deadline=soon())
        await cloud.volumes.detach(made.id, node, deadline=soon())
        with pytest.raises(Refused):
            await cloud.volumes.detach(made.id, node, deadline=soon())
        await cloud.volumes.delete(made.id, deadline=soon())
        assert await cloud.volumes.get(made.id, deadline=soon()) == Gone("volume", made.id)
        with pytest.raises(UnknownOutcome):
            await cloud.volumes.delete(made.id, deadline=soon())


FAULTS_OF_A_CALL = sorted(set(Kind) - {Kind.STALE_READ, Kind.WEDGED_VOLUME, Kind.ATTACH_RACE})
FINAL = {Kind.QUOTA_EXCEEDED: QuotaExceeded, Kind.NOT_FOUND_PLAIN: UnknownOutcome}
"""Faults that a repeatable call does not outlive."""


async def test_extended_a_keyed_create_outlives_each_fault_with_one_volume(tmp_path):
    async with running(tmp_path, "extended") as (served, cloud):
        await cloud.features(soon())
        for kind in FAULTS_OF_A_CALL:
            served.cloud.faults.add(Fault(kind, method="POST", route="/volumes", seconds=0.05))
            create = cloud.volumes.create(name=kind, size_gb=1, idempotency_key=f"key-{kind}", deadline=soon())
            if kind in FINAL:
                with pytest.raises(FINAL[kind]):
                    await create
            else:
                await create
        listed = await cloud.volumes.list(deadline=soon())
    assert sorted(one.name for one in listed) == sorted(set(FAULTS_OF_A_CALL) - set(FINAL))


async def test_strict_only_an_unknown_outcome_may_leave_a_volume_behind(tmp_path):
    async with running(tmp_path, "strict") as (served, cloud):
        unknown = set()
        for kind in FAULTS_OF_A_CALL:
            served.cloud.faults.add(Fault(kind, method="POST", route="/volumes", seconds=0.05))
            made = error = None
            try:
                made = await cloud.volumes.create(name=kind, size_gb=1, deadline=soon())
            except PlatformError as failure:
                error = failure
            found = await cloud.volumes.find_by_name(kind, deadline=soon())
            if isinstance(error, UnknownOutcome):
                unknown.add(kind)
            else:
                assert [one.id for one in found] == ([] if made is None else [made.id]), kind
    assert {Kind.LOST_ANSWER, Kind.ERROR_AFTER, Kind.TRUNCATED_BODY} <= unknown
    assert not unknown & {Kind.RATE_LIMITED, Kind.UNAUTHORIZED, Kind.SLOW}


@pytest.mark.parametrize("tier", ["strict", "extended"])
async def test_no_fault_in_a_lookup_makes_a_volume_gone(tmp_path, tier):
    async with running(tmp_path, tier) as (served, cloud):
        made = await cloud.volumes.create(name="pv-1", size_gb=1, deadline=soon())
        for kind in FAULTS_OF_A_CALL:
            for route in ("/volumes/{ref}", "/volumes"):
                served.cloud.faults.add(Fault(kind, method="GET", route=route, count=2, seconds=0.02))
            with contextlib.suppress(PlatformError):
                assert await cloud.volumes.get(made.id, deadline=soon()) == made, kind
            served.cloud.faults.clear()


async def test_a_key_that_the_platform_does_not_know(tmp_path):
    async with devcloud_server(tmp_path) as served:
        settings = PlatformSettings(base_url=served.base_url, api_key="thecloud_wrong")
        async with Client(settings, jitter=lambda: 0.0) as cloud:
            with pytest.raises(Unauthorized):
                await cloud.check(soon())


@pytest.mark.parametrize("tier", ["strict", "extended"])
async def test_many_lives_at_once_list_rarely(tmp_path, tier):
    notes = []
    async with devcloud_server(tmp_path, tier=tier) as served:
        settings = PlatformSettings(base_url=served.base_url, api_key=served.api_key, requests_per_s=1000.0, burst=1000)

        def observe(**note):
            ended = asyncio.get_running_loop().time()
            notes.append((note["method"], note["route"], ended - note["seconds"], ended))

        async with Client(settings, observer=observe) as cloud:

            async def live(number):
                name = f"pv-{number:03}"
                assert await cloud.volumes.find_by_name(name, deadline=soon()) == ()
                made = await cloud.volumes.create(name=name, size_gb=1, deadline=soon())
                assert [one.id for one in await cloud.volumes.find_by_name(name, deadline=soon())] == [made.id]
                await cloud.volumes.delete(made.id, deadline=soon())
                assert isinstance(await cloud.volumes.get(made.id, deadline=soon()), Gone)

            await asyncio.gather(*(live(number) for number in range(30)))
    listings = [(begun, ended) for method, route, begun, ended in notes if (method, route) == ("GET", "/volumes")]
    assert listings
    assert all(later[0] - earlier[1] >= 0.1 - 1e-6 for earlier, later in pairwise(listings))
