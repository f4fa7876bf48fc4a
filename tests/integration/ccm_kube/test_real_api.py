"""The plumbing against a real kube-apiserver: the rules that the fake one claims, watches, leases and events."""

import asyncio

import pytest

from ccm.kube import patch
from ccm.kube.events import EVENTS, EventRecorder
from ccm.kube.kinds import LEASES, NODES
from ccm.kube.leader import LeaderElector, LeadershipLost
from ccm.kube.reflector import PAGE_SIZE, Reflector, Times
from ccm.kube.store import Store
from tests.unit.ccm.kube.api_rules import RULES, by, node_wire
from tests.unit.ccm.kube.rig import running, until

pytestmark = pytest.mark.timeout(300)
LONG_S = 120.0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
async def test_rule(rule, client):
    await rule(client)


@pytest.mark.parametrize("streams_list", [True, False], ids=["streamed", "listed"])
async def test_a_store_follows(client, streams_list):
    name = f"follow-{streams_list}".lower()
    store = Store()
    reflector = Reflector(client, NODES, store, streams_list=streams_list)
    made = await client.create(NODES, node_wire(name), deadline=by())
    async with running(reflector.run()):
        await reflector.synced(by(LONG_S))
        assert store.get(name).metadata.uid == made.metadata.uid
        await client.patch(NODES, name, body=patch.provider_id("thecloud://1"), deadline=by())
        await until(lambda: store.get(name).spec.provider_id, LONG_S)
        await client.delete(NODES, name, uid=made.metadata.uid, deadline=by())
        await until(lambda: name not in store, LONG_S)
    assert reflector.failures == 0
    assert reflector.lists == 1
    # The server streams lists: nothing of it was given up.
    assert reflector._streams_list is streams_list


async def test_pages_are_put_together(client):
    names = [f"page-{number}" for number in range(PAGE_SIZE + 10)]
    await asyncio.gather(*(client.create(NODES, node_wire(name), deadline=by(LONG_S)) for name in names))
    store = Store()
    reflector = Reflector(client, NODES, store, streams_list=False)
    reflector._may_be_old = False
    async with running(reflector.run()):
        await reflector.synced(by(LONG_S))
        assert all(name in store for name in names)


async def test_a_version_of_long_ago_leads_to_a_new_listing(real, client):
    await client.create(NODES, node_wire("old"), deadline=by())
    # A server that has just started knows no change from before its start.
    await asyncio.to_thread(real.stop, "kube-apiserver", by_force=True)
    await asyncio.to_thread(real.start_api)
    store = Store()
    reflector = Reflector(client, NODES, store)
    reflector._version = "1"
    async with running(reflector.run()):
        await until(lambda: "old" in store, LONG_S)
    assert reflector.lists == 1


async def test_a_store_survives_the_servers_restart(real, client):
    store = Store()
    reflector = Reflector(client, NODES, store, times=Times(open_s=10))
    gone = await client.create(NODES, node_wire("gone-meanwhile"), deadline=by())
    async with running(reflector.run()):
        await reflector.synced(by(LONG_S))
        await asyncio.to_thread(real.stop, "kube-apiserver", by_force=True)
        await until(lambda: reflector.failures, LONG_S)
        await asyncio.to_thread(real.start_api)
        assert await client.delete(NODES, "gone-meanwhile", uid=gone.metadata.uid, deadline=by())
        await client.create(NODES, node_wire("after"), deadline=by())
        await until(lambda: "after" in store and "gone-meanwhile" not in store, LONG_S)


async def test_a_lease_is_handed_over_when_its_leader_ends(client):
    started = []

    def elector(identity):
        async def lead():
            started.append(identity)
            await asyncio.Event().wait()

        found = LeaderElector(client, name="handover", namespace="kube-system", identity=identity)
        return found, asyncio.ensure_future(found.run(lead))

    first, first_task = elector("one")
    await until(lambda: started == ["one"], LONG_S)
    second, second_task = elector("two")
    await asyncio.sleep(0)
    assert first.is_valid()
    assert not second.is_valid()
    first_task.cancel()
    await asyncio.wait((first_task,))
    released = await client.get(LEASES, "handover", "kube-system", deadline=by())
    assert released.spec.holder_identity in ("", "two")
    await until(lambda: started == ["one", "two"], LONG_S)
    second_task.cancel()
    await asyncio.wait((second_task,))
    found = await client.get(LEASES, "handover", "kube-system", deadline=by())
    assert (found.spec.holder_identity, found.spec.lease_transitions) == ("", 1)


async def test_a_leader_without_its_server_stops(real, client):
    ended = []

    async def lead():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    elector = LeaderElector(client, name="lost", namespace="kube-system", identity="one")
    task = asyncio.ensure_future(elector.run(lead))
    await until(elector.is_valid, LONG_S)
    await asyncio.to_thread(real.stop, "kube-apiserver", by_force=True)
    with pytest.raises(LeadershipLost):
        await task
    assert ended == [True]
    assert not elector.is_valid()
    await asyncio.to_thread(real.start_api)


async def test_events_are_counted(client):
    await client.create(NODES, node_wire("eventful"), deadline=by())
    found = await client.get(NODES, "eventful", deadline=by())
    recorder = EventRecorder(client, component="cloud-node-controller", host="cp-1")
    async with running(recorder.run()):
        for _ in range(3):
            recorder.normal(found, "Synced", "Node synced successfully")
        await recorder.flush(by(LONG_S))
    assert recorder.dropped == 0
    query = {"fieldSelector": "involvedObject.name=eventful"}
    body = await client.request("GET", EVENTS.path(namespace="default"), query=query, deadline=by())
    assert body.count(b'"reason":"Synced"') == 1
    assert b'"count":3' in body
