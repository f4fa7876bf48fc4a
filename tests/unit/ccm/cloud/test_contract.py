"""What the ports promise, shown on the fake platform and on the embedded one, in both tiers: the same tests for all."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from ccm.model import Algorithm, Group, HealthCheck, InstanceState, Protocol, Target
from ccm.names import CLUSTER_TAG, SERVICE_UID_TAG
from ccm.ports import Cause, Cloud, CloudError
from devcloud.faults import Fault, Kind
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.unit.ccm.cloud.fake_platform import FakePlatform, uuid_of
from tests.unit.ccm.cloud.parts import API, MARK, OTHER_UID, UID, WEB, cloud_on, new, targets
from tests.unit.thecloud.scripted import soon
from thecloud.client import Client
from thecloud.settings import PlatformSettings

PLATFORMS = [(kind, tier) for kind in ("fake", "devcloud") for tier in ("extended", "strict")]
GONE = uuid_of(0xDEAD)
NODES = ("node-a", "node-b", "node-c")


@dataclass
class Rig:
    """A platform with three instances, our ports on it, and a client for what others do."""

    cloud: Cloud
    client: Client
    tier: str
    nodes: tuple[str, ...]
    served: ServedCloud | None = None

    @property
    def is_strict(self) -> bool:
        return self.tier == "strict"

    async def theirs(self) -> None:
        """Make a load balancer that does not carry our mark."""
        vpc = (await self.client.vpcs.list(deadline=soon()))[0].id
        if self.is_strict:
            await self.client.port_balancers.create(
                name=f"other.{UID}.81", vpc_id=vpc, port=81, algorithm="round-robin", idempotency_key="t",
                deadline=soon(),
            )  # fmt: skip
        else:
            await self.client.load_balancers.create(
                name="theirs", idempotency_key="t", tags={CLUSTER_TAG: "other", SERVICE_UID_TAG: UID}, deadline=soon()
            )

    async def count(self) -> int:
        """Say how many the platform has, whoever's, that are not deleted."""
        rows = (
            await self.client.port_balancers.list(deadline=soon())
            if self.is_strict
            else await self.client.load_balancers.list(deadline=soon())
        )
        return len([one for one in rows if one.status != "DELETED"])


@contextlib.asynccontextmanager
async def on_fake(tier: str) -> AsyncIterator[Rig]:
    platform = FakePlatform(tier=tier, purge_after_s=0.1)
    nodes = tuple(platform.add_instance(number, private_ip=f"10.0.0.{number}") for number in (1, 2, 3))
    async with platform.client() as client:
        yield Rig(cloud_on(client, address="198.51.100.4"), client, tier, nodes)


@contextlib.asynccontextmanager
async def on_devcloud(tier: str, data_dir) -> AsyncIterator[Rig]:
    async with devcloud_server(data_dir, tier=tier, nodes=NODES, lb_tick_s=0.1) as served:
        settings = PlatformSettings(base_url=served.base_url, api_key=served.api_key, requests_per_s=1000.0, burst=1000)
        async with Client(settings, jitter=lambda: 0.0) as client:
            nodes = tuple(served.instances[name] for name in NODES)
            yield Rig(cloud_on(client, address="198.51.100.4"), client, tier, nodes, served)


@pytest.fixture(params=PLATFORMS, ids="-".join)
async def rig(request, tmp_path) -> AsyncIterator[Rig]:
    kind, tier = request.param
    async with on_fake(tier) if kind == "fake" else on_devcloud(tier, tmp_path) as made:
        yield made


async def test_instances_with_addresses_and_networks(rig):
    fleet = await rig.cloud.instances.fleet(max_age_s=0.0, deadline=soon())
    again = await rig.cloud.instances.fleet(max_age_s=0.0, deadline=soon())
    assert again.instances == fleet.instances
    assert set(rig.nodes) == set(fleet.by_id)
    for one in fleet.instances:
        assert one.state is InstanceState.RUNNING
        assert one.vpc_id
        assert len(one.private_addresses) == 1
        assert "/" not in one.private_addresses[0]
        assert await rig.cloud.instances.look_up(one.id, deadline=soon()) == one
    assert await rig.cloud.instances.look_up(GONE, deadline=soon()) is None


async def test_what_is_made_is_what_is_listed_and_what_was_asked_for(rig):
    one, two, _ = rig.nodes
    await rig.theirs()
    wanted = new(WEB, replace(API, algorithm=Algorithm.LEAST_CONN), targets=targets(one, two))
    balancers = rig.cloud.balancers
    made = await balancers.create(wanted, deadline=soon())
    assert made.group(UID) == wanted.group
    assert made.tags == wanted.tags
    assert made.addresses
    (listed,) = await balancers.mine(max_age_s=60.0, deadline=soon())
    assert replace(listed, state=made.state) == made
    assert replace(await balancers.get(made.id, deadline=soon()), state=made.state) == made
    again = await balancers.create(wanted, deadline=soon())
    assert again.id == made.id
    assert len(await balancers.mine(max_age_s=0.0, deadline=soon())) == 1


async def test_groups_follow_what_is_wanted(rig):
    one, two, three = rig.nodes
    balancers = rig.cloud.balancers
    made = await balancers.create(new(targets=targets(one)), deadline=soon())

    async def put(**parts):
        answered = (await balancers.put_group(made.id, UID, deadline=soon(), **parts)).group(UID)
        (listed,) = await balancers.mine(max_age_s=60.0, deadline=soon())
        assert listed.group(UID) == answered
        return answered

    assert await put(targets=targets(two, three)) == Group(name=UID, listeners=(WEB,), targets=targets(two, three))
    moved = replace(WEB, target_port=30081)
    assert await put(listeners=(moved, API)) == Group(name=UID, listeners=(moved, API), targets=targets(two, three))
    weighted = (Target(min(one, two), 5), Target(max(one, two), 9))
    changed = replace(API, algorithm=Algorithm.LEAST_CONN)
    assert await put(listeners=(changed,), targets=weighted) == Group(name=UID, listeners=(changed,), targets=weighted)
    assert (await put(targets=())).targets == ()


async def test_an_instance_that_cannot_be_a_target_is_named(rig):
    balancers = rig.cloud.balancers
    made = await balancers.create(new(), deadline=soon())
    with pytest.raises(CloudError) as caught:
        await balancers.put_group(made.id, UID, targets=targets(rig.nodes[0], GONE), deadline=soon())
    assert (caught.value.cause, caught.value.details["instance_id"]) == (Cause.REFUSED, GONE)


async def test_a_load_balancer_that_is_not_there(rig):
    balancers = rig.cloud.balancers
    missing = UID if rig.is_strict else GONE
    assert await balancers.get(missing, deadline=soon()) is None
    await balancers.delete(missing, guard=MARK, deadline=soon())
    await balancers.delete_group(missing, UID, deadline=soon())
    for attempt in (
        balancers.put_group(missing, UID, listeners=(WEB,), deadline=soon()),
        balancers.modify(missing, name="n", deadline=soon()),
    ):
        with pytest.raises(CloudError) as caught:
            await attempt
        assert (caught.value.cause, caught.value.resource) == (Cause.MISSING, "load_balancer")


async def test_a_life_ends_with_nothing_left_and_can_begin_again(rig):
    await rig.theirs()
    balancers = rig.cloud.balancers
    first = await balancers.create(new(WEB, API, targets=targets(*rig.nodes)), deadline=soon())
    other = await balancers.create(new(uid=OTHER_UID), deadline=soon())
    with pytest.raises(CloudError) as caught:
        await balancers.delete(first.id, guard=(SERVICE_UID_TAG, OTHER_UID), deadline=soon())
    assert caught.value.cause is Cause.GUARD
    await balancers.delete(first.id, guard=(SERVICE_UID_TAG, UID), deadline=soon())
    assert await balancers.get(first.id, deadline=soon()) is None
    assert [one.id for one in await balancers.mine(max_age_s=60.0, deadline=soon())] == [other.id]
    second = await balancers.create(new(idempotency_key="again"), deadline=soon())
    assert second.group(UID).listeners == (WEB,)
    for one in (second, other):
        await balancers.delete(one.id, guard=MARK, deadline=soon())
    assert await balancers.mine(max_age_s=60.0, deadline=soon()) == ()
    assert await rig.count() == 1


async def test_name_size_and_tags_are_changed_in_place(rig):
    balancers = rig.cloud.balancers
    made = await balancers.create(new(), deadline=soon())
    changed = await balancers.modify(made.id, name="other", size="large", tags={"a": "b"}, deadline=soon())
    assert (changed.id, changed.name, changed.size) == (made.id, "other", "large")
    assert changed.tags == {**made.tags, "a": "b"}
    (listed,) = await balancers.mine(max_age_s=60.0, deadline=soon())
    assert replace(listed, state=changed.state) == changed


async def test_certificates_where_there_are_any(rig):
    if not rig.is_strict:
        assert await rig.cloud.certificates.mine(max_age_s=0.0, deadline=soon()) == ()
        assert await rig.cloud.certificates.find("web", deadline=soon()) is None
        assert await rig.cloud.certificates.find(GONE, deadline=soon()) is None
        await rig.cloud.certificates.delete(GONE, guard=MARK, deadline=soon())
        return
    with pytest.raises(CloudError) as caught:
        await rig.cloud.certificates.find("web", deadline=soon())
    assert caught.value.cause is Cause.UNSUPPORTED


async def test_devcloud_takes_every_kind_of_listener_and_gives_it_back(tmp_path):
    check = HealthCheck(protocol="http", port=10256, path="/healthz", codes="200-299", interval_s=7, timeout_s=2)
    wanted = (
        replace(WEB, protocol=Protocol.TCP, health_check=check, allowed_sources=("10.0.0.0/8",)),
        replace(API, name="udp", protocol=Protocol.UDP, health_check=HealthCheck(protocol="tcp", port=10256)),
        replace(API, name="v2", port=9000, protocol=Protocol.TCP, proxy_protocol="v2", idle_timeout_s=60),
        replace(WEB, name="to-https", port=8000, redirect_port=443),
    )
    async with on_devcloud("extended", tmp_path) as rig:
        made = await rig.cloud.balancers.create(new(*wanted, targets=targets(*rig.nodes)), deadline=soon())
        assert made.group(UID) == Group(name=UID, listeners=wanted, targets=targets(*rig.nodes))
        before = made.version
        put = await rig.cloud.balancers.put_group(made.id, UID, listeners=wanted, deadline=soon())
        assert put.version == before
        with pytest.raises(CloudError) as caught:
            await rig.cloud.balancers.put_group(made.id, OTHER_UID, listeners=(WEB,), deadline=soon())
    assert (caught.value.cause, caught.value.reason) == (Cause.CONFLICT, "port_taken")
    assert caught.value.details["group"] == UID


FAULTS = sorted(set(Kind) - {Kind.STALE_READ, Kind.WEDGED_VOLUME, Kind.ATTACH_RACE})
DOUBTFUL = (Kind.LOST_ANSWER, Kind.ERROR_AFTER, Kind.TRUNCATED_BODY, Kind.NOT_FOUND_PLAIN, Kind.UNAUTHORIZED)
"""After these a controller does not know what happened, or might take what it hears for something else."""
ROUTES = ("/lb", "/lb/{ref}", "/lb/{ref}/groups/{name}", "/lb/{id}/targets", "/lb/{id}/targets/{instance_id}")
_TRIES = 30


@pytest.mark.parametrize("kind", DOUBTFUL)
@pytest.mark.parametrize("tier", ["extended", "strict"])
async def test_no_fault_leaves_two_or_takes_the_wrong_one(tmp_path, tier, kind):
    async with on_devcloud(tier, tmp_path) as rig:
        await rig.theirs()
        balancers = rig.cloud.balancers
        one, two, _ = rig.nodes
        faults = rig.served.cloud.faults
        wanted = new(WEB, API, targets=targets(one, two))
        for route in ROUTES:
            faults.add(Fault(kind, route=route))
        # A controller does it again until it is done.
        for _ in range(_TRIES):
            with contextlib.suppress(CloudError):
                made = await balancers.create(wanted, deadline=soon())
                await balancers.put_group(made.id, UID, targets=targets(two), deadline=soon())
                break
        faults.clear()
        (listed,) = await balancers.mine(max_age_s=0.0, deadline=soon())
        assert listed.group(UID).targets == targets(two)
        assert await rig.count() == (3 if rig.is_strict else 2)
        for route in ROUTES:
            faults.add(Fault(kind, route=route))
        for _ in range(_TRIES):
            with contextlib.suppress(CloudError):
                await balancers.delete(listed.id, guard=MARK, deadline=soon())
                break
        faults.clear()
        assert await rig.count() == 1


@pytest.mark.parametrize("tier", ["extended", "strict"])
async def test_no_fault_makes_an_instance_gone(tmp_path, tier):
    async with on_devcloud(tier, tmp_path) as rig:
        await rig.client.features(soon())
        for kind in FAULTS:
            for route in ("/instances/{ref}", "/instances"):
                rig.served.cloud.faults.add(Fault(kind, method="GET", route=route, count=9, seconds=0.02))
            with contextlib.suppress(CloudError):
                assert await rig.cloud.instances.look_up(rig.nodes[0], deadline=soon(0.3)) is not None, kind
            rig.served.cloud.faults.clear()
