"""Events tell people enough and the server little."""

import asyncio

import pytest

from ccm.kube.events import COMBINED, EventRecorder, Limits
from ccm.kube.kinds import NODES, SERVICES
from ccm.kube.model import Object
from tests.support.fake_api_faults import Trouble
from tests.support.socket_time import now, on_virtual_time
from tests.unit.ccm.kube.rig import by, node, running, server_and_client, service

EVENTS = "/api/v1/namespaces"


async def put_service(api, client, name="web"):
    api.put(service(name, "shop"))
    return await client.get(SERVICES, name, "shop", deadline=by())


@on_virtual_time
async def test_an_event_says_what_happened_to_which_object():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="service-controller", host="cp-1")
        async with running(recorder.run()):
            recorder.warning(found, "SyncLoadBalancerFailed", "quota")
            await recorder.flush(by())
        (event,) = api.events
        assert event["metadata"]["namespace"] == "shop"
        assert event["metadata"]["name"].startswith("web.")
        assert event["involvedObject"] == {
            "kind": "Service",
            "apiVersion": "v1",
            "namespace": "shop",
            "name": "web",
            "uid": found.metadata.uid,
            "resourceVersion": found.metadata.resource_version,
        }
        assert (event["type"], event["reason"], event["message"]) == ("Warning", "SyncLoadBalancerFailed", "quota")
        assert event["source"] == {"component": "service-controller", "host": "cp-1"}
        assert event["count"] == 1
        assert event["firstTimestamp"] == event["lastTimestamp"]


@on_virtual_time
async def test_events_of_nodes_are_in_the_namespace_default():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        found = await client.get(NODES, "a", deadline=by())
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            recorder.normal(found, "Synced", "Node synced successfully")
            await recorder.flush(by())
        assert api.events[0]["metadata"]["namespace"] == "default"
        assert "namespace" not in api.events[0]["involvedObject"]


@on_virtual_time
async def test_what_repeats_is_counted_also_when_the_object_has_changed_between():
    async with server_and_client() as (api, client):
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            for _ in range(3):
                recorder.normal(await put_service(api, client), "Ensured", "done")
                await recorder.flush(by())
        (event,) = api.events
        assert event["count"] == 3
        assert [one.method for one in api.requests if "events" in one.path] == ["POST", "PATCH", "PATCH"]


@on_virtual_time
async def test_an_event_that_the_server_has_forgotten_is_made_again():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            recorder.normal(found, "Ensured", "done")
            await recorder.flush(by())
            api.delete("events", api.events[0]["metadata"]["name"], "shop")
            recorder.normal(found, "Ensured", "done")
            await recorder.flush(by())
        assert [one["count"] for one in api.events] == [1]


@on_virtual_time
async def test_components_share_a_queue_and_keep_their_names():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="one")
        other = recorder.of("two")
        async with running(recorder.run()):
            recorder.normal(found, "Ensured", "done")
            other.normal(found, "Ensured", "done")
            await other.flush(by())
        assert sorted(one["source"]["component"] for one in api.events) == ["one", "two"]


@on_virtual_time
async def test_messages_that_vary_without_end_become_one_event():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            for number in range(15):
                recorder.normal(found, "Ensured", f"try {number}")
            await recorder.flush(by())
            assert len(api.events) == 11
            (combined,) = [one for one in api.events if one["message"].startswith(COMBINED)]
            assert combined["count"] == 5
            assert combined["message"] == COMBINED + "try 14"
            await asyncio.sleep(601)
            recorder.normal(found, "Ensured", "fresh")
            await recorder.flush(by())
        assert "fresh" in [one["message"] for one in api.events]


@on_virtual_time
async def test_an_object_that_causes_events_without_end_gets_few():
    async with server_and_client() as (api, client):
        loud, calm = await put_service(api, client, "loud"), await put_service(api, client, "calm")
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            for _ in range(100):
                recorder.normal(loud, "Ensured", "done")
            recorder.normal(calm, "Ensured", "done")
            await recorder.flush(by())
            counts = {one["involvedObject"]["name"]: one["count"] for one in api.events}
            assert counts == {"loud": 25, "calm": 1}
            assert recorder.dropped == 75
            await asyncio.sleep(300)
            for _ in range(3):
                recorder.normal(loud, "Ensured", "done")
            await recorder.flush(by())
        assert max(one["count"] for one in api.events) == 26


@on_virtual_time
async def test_it_never_waits_and_never_fails():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="x", limits=Limits(queued=10))
        for number in range(30):
            recorder.normal(found, "Ensured", f"{number}")
        assert recorder.dropped == 20
        api.fail("POST", EVENTS, status=403, times=None)
        async with running(recorder.run()):
            await recorder.flush(by(60))
            assert recorder.dropped == 30
            recorder.normal(Object(metadata=found.metadata), "Ensured", "of no known kind")
            await asyncio.sleep(1)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"trouble": Trouble.DROP}])
@on_virtual_time
async def test_it_tries_again_for_two_minutes(fault):
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="x")
        api.fail("POST", EVENTS, times=11, **fault)
        began = now()
        async with running(recorder.run()):
            recorder.normal(found, "Ensured", "done")
            await recorder.flush(by(300))
        assert len(api.events) == 1
        assert now() - began == pytest.approx(110, abs=3)


@on_virtual_time
async def test_an_event_whose_making_was_not_answered_is_there_once():
    async with server_and_client() as (api, client):
        found = await put_service(api, client)
        recorder = EventRecorder(client, component="x")
        api.fail("POST", EVENTS, trouble=Trouble.LOST)
        async with running(recorder.run()):
            recorder.normal(found, "Ensured", "done")
            await recorder.flush(by(300))
        assert len(api.events) == 1


@on_virtual_time
async def test_long_texts_and_names_are_cut():
    async with server_and_client() as (api, client):
        found = await put_service(api, client, "n" * 253)
        recorder = EventRecorder(client, component="x")
        async with running(recorder.run()):
            recorder.normal(found, "Ensured", "x" * 5000)
            await recorder.flush(by())
        (event,) = api.events
        assert len(event["message"]) == 1024
        assert len(event["metadata"]["name"]) == 253
