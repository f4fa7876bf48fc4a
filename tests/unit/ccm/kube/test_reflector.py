"""The store holds what the server has, whatever happens to the connection."""

import asyncio
import itertools
import json

import pytest

from ccm.kube.kinds import NODES, SERVICES
from ccm.kube.reflector import PAGE_SIZE, Reflector
from ccm.kube.store import Store
from tests.support.fake_api_faults import Trouble
from tests.support.socket_time import now, on_virtual_time
from tests.unit.ccm.kube.reflecting import PATH, Seen, both_ways, names, reflect, watches
from tests.unit.ccm.kube.rig import by, node, running, server_and_client, service, until


@both_ways
@on_virtual_time
async def test_it_takes_in_what_is_there_and_follows(streams_list):
    async with server_and_client() as (api, client):
        api.put(node("a"))
        store, reflector = reflect(client, streams_list=streams_list)
        seen = Seen(store)
        async with running(reflector.run()):
            await reflector.synced(by())
            assert names(store) == ["a"]
            api.put(node("b"))
            await until(lambda: "b" in store)
            api.put(node("a", providerID="thecloud://1"))
            await until(lambda: store.get("a").spec.provider_id)
            api.delete("nodes", "a")
            await until(lambda: "a" not in store)
        assert seen.changes == [(None, "a"), (None, "b"), ("a", "a"), ("a", None)]
        assert api.count("GET", PATH, watch=True) == 1


@on_virtual_time
async def test_every_watch_asks_for_bookmarks_and_an_end_between_five_and_ten_minutes():
    async with server_and_client() as (api, client):
        chances = iter([0.0, 1.0])
        store = Store()
        reflector = Reflector(client, NODES, store, chance=lambda: next(chances, 0.0))
        async with running(reflector.run()):
            await reflector.synced(by())
            await asyncio.sleep(310)
            await until(lambda: len(watches(api)) == 2)
        assert [one.query["timeoutSeconds"] for one in watches(api)] == ["300", "600"]
        assert {one.query["allowWatchBookmarks"] for one in watches(api)} == {"true"}
        assert reflector.failures == 0
        assert reflector.lists == 1


@on_virtual_time
async def test_a_watch_goes_on_at_the_last_bookmark():
    async with server_and_client() as (api, client):
        _store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.put(service("not-a-node"))
            expected = str(api.objects.version)
            await asyncio.sleep(61)
            api.end_watches()
            await until(lambda: len(watches(api)) == 2)
        assert watches(api)[1].query["resourceVersion"] == expected


@on_virtual_time
async def test_the_first_listing_may_be_old_and_the_one_after_410_must_not():
    async with server_and_client() as (api, client):
        store, reflector = reflect(client, streams_list=False)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.cut_watches()
            api.put(node("a"))
            api.compact()
            await until(lambda: "a" in store)
        lists = [one for one in api.requests if not one.is_watch]
        assert [one.query for one in lists] == [{"resourceVersion": "0"}, {"limit": str(PAGE_SIZE)}]


@both_ways
@on_virtual_time
async def test_what_went_while_it_could_not_look_is_told_as_gone(streams_list):
    async with server_and_client() as (api, client):
        for name in ("a", "b", "c"):
            api.put(node(name))
        store, reflector = reflect(client, streams_list=streams_list)
        seen = Seen(store)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.cut_watches()
            api.delete("nodes", "b")
            api.compact()
            await until(lambda: "b" not in store)
        assert seen.gone == ["b"]
        assert len(seen.changes) == 4


@both_ways
@on_virtual_time
async def test_a_storm_of_410_is_no_storm_of_requests(streams_list):
    async with server_and_client() as (api, client):
        api.has_watch_list = streams_list
        store, reflector = reflect(client, streams_list=streams_list)
        api.fail("GET", PATH, watch=True, status=410, times=None)
        async with running(reflector.run()):
            await asyncio.sleep(600)
            assert api.count("GET", PATH) < 60
            api.heal()
            api.put(node("late"))
            await until(lambda: "late" in store, 90)


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 403},
        {"status": 429},
        {"status": 200, "trouble": None},
        {"trouble": Trouble.DROP},
        {"trouble": Trouble.HALF},
        {"trouble": Trouble.EMPTY_STREAM},
        {"trouble": Trouble.GARBAGE},
    ],
    ids=lambda one: str(next(iter(one.values()))),
)
@both_ways
@on_virtual_time
async def test_nothing_that_a_server_does_makes_it_ask_without_pause(trouble, streams_list):
    async with server_and_client() as (api, client):
        store, reflector = reflect(client, streams_list=streams_list)
        api.fail("GET", PATH, times=None, **trouble)
        async with running(reflector.run()):
            await asyncio.sleep(600)
            assert 10 < api.count("GET", PATH) < 60
            assert not reflector.is_synced
            api.heal()
            api.put(node("a"))
            await until(lambda: "a" in store, 90)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"trouble": Trouble.DROP}])
@on_virtual_time
async def test_a_watch_that_cannot_be_opened_goes_on_where_it_was(fault):
    async with server_and_client() as (api, client):
        api.put(node("a"))
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.fail("GET", PATH, times=3, **fault)
            api.cut_watches()
            api.put(node("b"))
            await until(lambda: "b" in store)
        assert reflector.lists == 1
        assert api.count("GET", PATH, watch=False) == 0


@on_virtual_time
async def test_pauses_double_up_to_half_a_minute_and_begin_anew_after_two_good_ones():
    async with server_and_client() as (api, client):
        _store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            fault = api.fail("GET", PATH, status=500, times=7)
            api.cut_watches()
            await until(lambda: not fault.left, 120)
            await asyncio.sleep(31)
            failed = [one.at for one in watches(api)[1:]]
            pauses = [round(late - early, 1) for early, late in itertools.pairwise(failed)]
            assert pauses == [1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
            await asyncio.sleep(130)
            cut_at = now()
            api.cut_watches()
            await until(lambda: watches(api)[-1].at > cut_at)
            assert watches(api)[-1].at - cut_at == pytest.approx(0.8, abs=0.1)


@on_virtual_time
async def test_it_waits_as_long_as_the_server_asks():
    async with server_and_client() as (api, client):
        _store, reflector = reflect(client)
        api.fail("GET", PATH, status=429, retry_after_s=20)
        async with running(reflector.run()):
            await reflector.synced(by())
        first, second = watches(api)
        assert second.at - first.at >= 20


@on_virtual_time
async def test_a_peer_that_has_died_is_noticed():
    async with server_and_client() as (api, client):
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            api.freeze_watches()
            api.put(node("a"))
            await until(lambda: "a" in store, 80)
        assert reflector.lists == 1


@on_virtual_time
async def test_events_that_come_twice_or_late_change_nothing():
    async with server_and_client() as (api, client):
        old = api.put(node("a", providerID="thecloud://1"))
        new = api.put(node("a", providerID="thecloud://1", podCIDR="10.0.0.0/24"))
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            seen = Seen(store)
            for kind, found in (("MODIFIED", new), ("MODIFIED", old), ("DELETED", old), ("ADDED", old)):
                api.send_line("nodes", json.dumps({"type": kind, "object": found}).encode())
            api.put(node("b"))
            await until(lambda: "b" in store)
            assert store.get("a").spec.pod_cidr == "10.0.0.0/24"
        assert seen.changes == [(None, "a"), (None, "b")]


@on_virtual_time
async def test_a_version_that_the_server_has_not_reached_leads_to_a_listing():
    async with server_and_client() as (api, client):
        api.objects.version = 5000
        api.put(node("a"))
        store, reflector = reflect(client)
        async with running(reflector.run()):
            await reflector.synced(by())
            # The server's data come back from a backup: its versions are lower now.
            api.objects.version = 200
            api.objects.history.clear()
            api.put(node("a", providerID="thecloud://2"))
            api.cut_watches()
            await until(lambda: store.get("a").spec.provider_id == "thecloud://2")
        assert reflector.lists == 2


@on_virtual_time
async def test_waiting_for_the_first_listing_has_an_end():
    async with server_and_client() as (api, client):
        _store, reflector = reflect(client)
        api.fail("GET", PATH, status=500, times=None)
        async with running(reflector.run()):
            with pytest.raises(TimeoutError):
                await reflector.synced(by(5))
        assert not reflector.is_synced


@on_virtual_time
async def test_objects_of_all_namespaces_are_kept():
    async with server_and_client() as (api, client):
        api.put(service("web", "one"))
        api.put(service("web", "two"))
        store, reflector = reflect(client, SERVICES)
        async with running(reflector.run()):
            await reflector.synced(by())
        assert names(store) == ["one/web", "two/web"]
