"""The platform in memory keeps what the ports promise; the other tests of this folder stand on it."""

import asyncio

import pytest

from ccm.model import BalancerState, Group, Instance, InstanceState, Listener, NewBalancer, Protocol, Shape, Target
from ccm.names import CLUSTER_TAG
from ccm.ports import Cause, Cloud, CloudError
from tests.support.fake_cloud import CLUSTER_ID, FakeCloud, server_error

MARK = (CLUSTER_TAG, CLUSTER_ID)


def in_time() -> float:
    return asyncio.get_running_loop().time() + 5.0


def new_balancer(key: str = "key-1", **changed: object) -> NewBalancer:
    listener = Listener(name="http", protocol=Protocol.TCP, port=80, target_port=30080)
    values: dict[str, object] = {
        "name": "web",
        "shape": Shape(),
        "size": "small",
        "tags": dict([MARK]),
        "group": Group(name="uid-1", listeners=(listener,)),
        "idempotency_key": key,
    }
    return NewBalancer(**{**values, **changed})  # type: ignore[arg-type]


def instance(number: int) -> Instance:
    return Instance(id=f"i-{number}", name=f"n-{number}", state=InstanceState.RUNNING)


async def refused(cloud: FakeCloud, new: NewBalancer) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await cloud.balancers.create(new, deadline=in_time())
    return caught.value


async def test_it_fits_the_ports() -> None:
    ports: Cloud = FakeCloud().ports
    assert (await ports.instances.fleet(max_age_s=0, deadline=in_time())).instances == ()


async def test_a_key_makes_one_balancer() -> None:
    cloud = FakeCloud()
    first = await cloud.balancers.create(new_balancer(), deadline=in_time())
    again = await cloud.balancers.create(new_balancer(), deadline=in_time())
    assert (first.id, first.state, again.state) == (again.id, BalancerState.CREATING, BalancerState.ACTIVE)
    assert first.addresses == again.addresses != ()
    assert (await refused(cloud, new_balancer(name="other"))).reason == "key_reused"
    assert len(cloud.balancers.all) == 1


async def test_a_lost_answer_leaves_the_object() -> None:
    cloud = FakeCloud()
    cloud.faults.fail("create", server_error(), times=1, after=True)
    assert (await refused(cloud, new_balancer())).cause is Cause.UNKNOWN
    again = await cloud.balancers.create(new_balancer(), deadline=in_time())
    assert list(cloud.balancers.all) == [again.id]


async def test_a_port_has_one_group_and_udp_is_another_port() -> None:
    cloud = FakeCloud()
    made = await cloud.balancers.create(new_balancer(), deadline=in_time())
    udp = Listener(name="dns", protocol=Protocol.UDP, port=80, target_port=30053)
    await cloud.balancers.put_group(made.id, "uid-2", listeners=[udp], deadline=in_time())
    with pytest.raises(CloudError) as caught:
        await cloud.balancers.put_group(made.id, "uid-2", listeners=made.groups[0].listeners, deadline=in_time())
    assert caught.value.reason == "port_taken"
    assert caught.value.details == {"group": "uid-1", "port": "80"}


async def test_a_write_without_a_change_keeps_the_version() -> None:
    cloud = FakeCloud()
    made = await cloud.balancers.create(new_balancer(), deadline=in_time())
    same = await cloud.balancers.put_group(made.id, "uid-1", listeners=made.groups[0].listeners, deadline=in_time())
    cloud.instances.put(instance(1))
    more = await cloud.balancers.put_group(made.id, "uid-1", targets=[Target("i-1")], deadline=in_time())
    assert (made.version, same.version, more.version) == (1, 1, 2)
    cloud.instances.remove("i-1")
    assert cloud.balancers.all[made.id].groups[0].targets == ()


async def test_an_unknown_target_changes_nothing() -> None:
    cloud = FakeCloud()
    made = await cloud.balancers.create(new_balancer(), deadline=in_time())
    with pytest.raises(CloudError) as caught:
        await cloud.balancers.put_group(made.id, "uid-1", targets=[Target("i-9")], deadline=in_time())
    assert (caught.value.cause, caught.value.details) == (Cause.REFUSED, {"instance_id": "i-9"})
    assert cloud.balancers.all[made.id].version == 1


async def test_a_guarded_delete_spares_the_unmarked() -> None:
    cloud = FakeCloud()
    cloud.balancers.static_addresses["198.51.100.7"] = ""
    shape = Shape(static_addresses=("198.51.100.7",))
    made = await cloud.balancers.create(new_balancer(shape=shape), deadline=in_time())
    assert (await refused(cloud, new_balancer("key-2", shape=shape))).reason == "attached"
    with pytest.raises(CloudError) as caught:
        await cloud.balancers.delete(made.id, guard=(CLUSTER_TAG, "other"), deadline=in_time())
    assert caught.value.cause is Cause.GUARD
    await cloud.balancers.delete(made.id, guard=MARK, deadline=in_time())
    await cloud.balancers.delete(made.id, guard=MARK, deadline=in_time())
    assert cloud.balancers.static_addresses == {"198.51.100.7": ""}


async def test_callers_at_one_time_share_a_listing_and_later_ones_see_what_is_new() -> None:
    cloud = FakeCloud()
    cloud.instances.put(instance(1))
    with cloud.faults.held("fleet"):
        asked = [asyncio.create_task(cloud.instances.fleet(max_age_s=5, deadline=in_time())) for _ in range(3)]
        await asyncio.sleep(0)
        cloud.instances.put(instance(2))
    seen = await asyncio.gather(*asked)
    assert [len(one.instances) for one in seen] == [2, 2, 2]
    cloud.instances.put(instance(3))
    assert len((await cloud.instances.fleet(max_age_s=5, deadline=in_time())).instances) == 2
    assert len((await cloud.instances.fleet(max_age_s=0, deadline=in_time())).instances) == 3
    assert cloud.faults.count("fleet") == 2


async def test_a_held_point_ends_with_the_deadline() -> None:
    cloud = FakeCloud()
    with cloud.faults.held("look_up"), pytest.raises(CloudError) as caught:
        await cloud.instances.look_up("i-1", deadline=asyncio.get_running_loop().time())
    assert caught.value.cause is Cause.UNKNOWN


async def test_a_certificate_in_use_stays() -> None:
    cloud = FakeCloud()
    certificate = await cloud.certificates.create(
        "web",
        certificate_pem="cert",
        private_key_pem="secret",
        tags=dict([MARK]),
        idempotency_key="c-1",
        deadline=in_time(),
    )
    tls = Listener(name="s", protocol=Protocol.TLS, port=443, target_port=1, certificate_ids=(certificate.id,))
    made = await cloud.balancers.create(new_balancer(group=Group(name="uid-1", listeners=(tls,))), deadline=in_time())
    with pytest.raises(CloudError) as caught:
        await cloud.certificates.delete(certificate.id, guard=MARK, deadline=in_time())
    assert caught.value.reason == "in_use"
    await cloud.balancers.delete(made.id, guard=MARK, deadline=in_time())
    await cloud.certificates.delete(certificate.id, guard=MARK, deadline=in_time())
    assert cloud.certificates.all == {}
