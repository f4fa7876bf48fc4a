"""The store holds what the server has, whatever its answers look like."""

import json

import pytest

from ccm.kube.reflector import PAGE_SIZE
from tests.support.fake_api_faults import Trouble
from tests.support.socket_time import on_virtual_time
from tests.unit.ccm.kube.reflecting import PATH, Seen, both_ways, names, reflect
from tests.unit.ccm.kube.rig import by, node, running, server_and_client, until


@on_virtual_time
async def test_a_server_that_streams_no_lists_is_asked_for_that_once():
    async with server_and_client() as (api, client):
        api.has_watch_list = False
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by(0.5))
            api.cut_watches()
            api.compact()
            api.put(node("a"))
            await until(lambda: "a" in store)
        assert sum("sendInitialEvents" in one.query for one in api.requests) == 1


@on_virtual_time
async def test_a_server_that_never_ends_the_streamed_list_is_listed():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        store, reflector = reflect(client)
        api.before = lambda request: api.freeze_watches()
        async with running(reflector.run()):
            api.fail("GET", PATH, watch=True, trouble=Trouble.HANG)
            await reflector.synced(by(120))
        assert names(store) == ["a"]


@on_virtual_time
async def test_a_listing_that_expires_between_its_pages_is_made_in_one():
    async with server_and_client() as (api, client):
        for number in range(PAGE_SIZE + 1):
            api.put(node(f"n{number}"))
        store, reflector = reflect(client, streams_list=False)
        api.fail("GET", PATH, status=410)
        api.before = lambda request: api.compact() if "continue" in request.query else None
        async with running(reflector.run()):
            await reflector.synced(by())
        assert len(store) == PAGE_SIZE + 1
        assert reflector.failures == 1


@on_virtual_time
async def test_pages_are_put_together():
    async with server_and_client() as (api, client):
        for number in range(2 * PAGE_SIZE + 1):
            api.put(node(f"n{number}"))
        store, reflector = reflect(client, streams_list=False)
        api.fail("GET", PATH, status=410)
        async with running(reflector.run()):
            await reflector.synced(by())
        assert len(store) == 2 * PAGE_SIZE + 1
        assert api.count("GET", PATH, watch=False) == 4


@pytest.mark.parametrize(
    "body", [b"{}", b'{"kind": "Status", "metadata": {}}', b'{"kind": "ServiceList", "items": []}']
)
@on_virtual_time
async def test_a_success_that_is_no_listing_empties_nothing(body):
    async with server_and_client() as (api, client):
        api.put(node("a"))
        store, reflector = reflect(client, streams_list=False)
        seen = Seen(store)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.answers["GET", PATH] = lambda _: json.loads(body)
            api.cut_watches()
            api.compact()
            await until(lambda: reflector.failures > 4, 120)
            assert names(store) == ["a"]
        assert not seen.gone


@both_ways
@on_virtual_time
async def test_an_object_that_cannot_be_read_costs_only_itself(streams_list, caplog):
    async with server_and_client() as (api, client):
        api.put(node("good"))
        api.put({"kind": "Node", "metadata": {"name": "bad"}, "spec": {"taints": "none"}})
        store, reflector = reflect(client, streams_list=streams_list)
        async with running(reflector.run()):
            await reflector.synced(by())
            assert names(store) == ["good"]
            api.put({"kind": "Node", "metadata": {"name": "worse"}, "spec": 5})
            api.put(node("next"))
            await until(lambda: "next" in store)
        assert reflector.failures == 0
        assert "Node bad: it is passed over" in caplog.text
        assert "Node worse: it is passed over" in caplog.text


@both_ways
@on_virtual_time
async def test_an_object_that_turns_unreadable_stays_as_it_was_until_it_is_deleted(streams_list):
    async with server_and_client() as (api, client):
        api.put(node("a", providerID="thecloud://1"))
        store, reflector = reflect(client, streams_list=streams_list)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.put({"kind": "Node", "metadata": {"name": "a"}, "spec": 5})
            api.cut_watches()
            api.compact()
            await until(lambda: reflector.lists == 2)
            assert store.get("a").spec.provider_id == "thecloud://1"
            api.delete("nodes", "a")
            await until(lambda: "a" not in store)


@on_virtual_time
async def test_a_mangled_line_costs_the_connection_and_no_event():
    async with server_and_client() as (api, client):
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.send_line("nodes", b'{"type": "ADDED", "obj')
            api.put(node("a"))
            await until(lambda: "a" in store)
        assert reflector.lists == 1
        assert reflector.failures == 1


@on_virtual_time
async def test_a_place_that_is_mangled_again_is_passed_by_listing():
    async with server_and_client() as (api, client):
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.fail("GET", PATH, watch=True, trouble=Trouble.GARBAGE, times=2)
            api.cut_watches()
            api.put(node("a"))
            await until(lambda: "a" in store, 60)
        assert reflector.lists == 2


@on_virtual_time
async def test_lines_of_many_megabytes_are_read():
    async with server_and_client() as (api, client):
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            long = node("a")
            long["metadata"]["annotations"] = {"long": "x" * (6 << 20)}
            api.put(long)
            await until(lambda: "a" in store)
        assert len(store.get("a").annotations["long"]) == 6 << 20
        assert reflector.failures == 0
