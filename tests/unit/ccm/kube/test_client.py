"""What a request costs, and what its answer means."""

import asyncio

import pytest

from ccm.kube.client import ApiError, KubeError, NotLeading, Unreachable, open_client
from ccm.kube.kinds import LEASES, NODES, SECRETS, SERVICES
from tests.support.fake_api_faults import Trouble
from tests.support.ports import free_port
from tests.support.socket_time import now, on_virtual_time
from tests.unit.ccm.kube.rig import by, node, server_and_client, service


@on_virtual_time
async def test_objects_are_read_by_name():
    async with server_and_client() as (api, client):
        api.put(node("a", providerID="thecloud://1"))
        api.put(service("web", "shop"))
        found = await client.get(NODES, "a", deadline=by())
        assert found is not None
        assert found.spec.provider_id == "thecloud://1"
        assert (await client.get(SERVICES, "web", "shop", deadline=by())).key == "shop/web"
        assert await client.get(SERVICES, "web", "other", deadline=by()) is None


@on_virtual_time
async def test_a_patch_is_a_merge_patch_and_gives_the_result():
    async with server_and_client(user_agent="ccm/1.0") as (api, client):
        api.put(service())
        body = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, "metadata": {"finalizers": ["x/y"]}}
        found = await client.patch(SERVICES, "web", "default", subresource="status", body=body, deadline=by())
        assert found.ingress[0].ip_mode == "VIP"
        assert found.finalizers == ("x/y",)
        assert await client.patch(NODES, "none", body={}, deadline=by()) is None
        assert api.requests[0].headers["Content-Type"] == "application/merge-patch+json"
        assert api.requests[0].headers["User-Agent"] == "ccm/1.0"


@on_virtual_time
async def test_a_stale_precondition_is_a_conflict():
    async with server_and_client() as (api, client):
        old = api.put(node("a"))["metadata"]["resourceVersion"]
        api.put(node("a", unschedulable=True))
        with pytest.raises(ApiError, match="modified") as refused:
            await client.patch(NODES, "a", body={"metadata": {"resourceVersion": old}}, deadline=by())
        assert refused.value.is_conflict
        assert (refused.value.status, refused.value.reason) == (409, "Conflict")


@on_virtual_time
async def test_only_the_object_with_that_uid_is_deleted():
    async with server_and_client() as (api, client):
        uid = api.put(node("a"))["metadata"]["uid"]
        with pytest.raises(ApiError) as refused:
            await client.delete(NODES, "a", uid="another", deadline=by())
        assert refused.value.is_conflict
        assert api.get("nodes", "a") is not None
        assert await client.delete(NODES, "a", uid=uid, deadline=by()) is True
        assert await client.delete(NODES, "a", uid=uid, deadline=by()) is False


@on_virtual_time
async def test_create_and_replace():
    async with server_and_client() as (_api, client):
        body = {"metadata": {"name": "ccm"}, "spec": {"holderIdentity": "one"}}
        made = await client.create(LEASES, body, "kube-system", deadline=by())
        with pytest.raises(ApiError) as refused:
            await client.create(LEASES, body, "kube-system", deadline=by())
        assert refused.value.reason == "AlreadyExists"
        assert not refused.value.is_conflict
        head = {"name": "ccm", "resourceVersion": made.metadata.resource_version}
        new = {"metadata": head, "spec": {"holderIdentity": "two"}}
        found = await client.replace(LEASES, "ccm", "kube-system", body=new, deadline=by())
        assert found.spec.holder_identity == "two"
        with pytest.raises(ApiError) as refused:
            await client.replace(LEASES, "ccm", "kube-system", body=new, deadline=by())
        assert refused.value.is_conflict
        assert await client.replace(LEASES, "none", "kube-system", body=new, deadline=by()) is None


def test_a_name_without_its_namespace_is_refused():
    with pytest.raises(ValueError, match="namespace is missing"):
        SECRETS.path("tls")


def test_names_cannot_lead_to_another_path():
    assert SERVICES.path("a/../b", "x?y") == "/api/v1/namespaces/x%3Fy/services/a%2F..%2Fb"


@pytest.mark.parametrize("trouble", [Trouble.DROP, Trouble.HALF, Trouble.HANG, Trouble.GARBAGE, Trouble.LOST])
@on_virtual_time
async def test_without_an_answer_nothing_is_concluded(trouble):
    async with server_and_client() as (api, client):
        api.put(node("a"))
        api.fail("", "/api/v1/nodes", trouble=trouble, times=None)
        began = now()
        with pytest.raises(Unreachable, match="GET /api/v1/nodes/a"):
            await client.get(NODES, "a", deadline=by(5))
        assert now() - began < 6
        with pytest.raises(Unreachable, match="PATCH /api/v1/nodes/a"):
            await client.patch(NODES, "a", body={}, deadline=by(5))


@on_virtual_time
async def test_nobody_there_is_known_at_once():
    async with await open_client(master=f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unreachable, match="GET /api/v1/nodes/a"):
            await client.get(NODES, "a", deadline=by())


@on_virtual_time
async def test_a_404_that_is_not_the_apis_says_nothing_about_the_object():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        api.fail("GET", "/api/v1/nodes", status=404, reason="Other")
        with pytest.raises(ApiError, match="answered 404"):
            await client.get(NODES, "a", deadline=by())


@on_virtual_time
async def test_it_waits_as_long_as_a_429_asks_for_and_no_longer_than_the_deadline():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        api.fail("PATCH", status=429, retry_after_s=7, times=2)
        began = now()
        assert await client.patch(NODES, "a", body={}, deadline=by(30)) is not None
        assert 14 <= now() - began < 16
        api.fail("PATCH", status=429, retry_after_s=60, times=1)
        began = now()
        with pytest.raises(ApiError) as refused:
            await client.patch(NODES, "a", body={}, deadline=by(30))
        assert refused.value.retry_after_s == 60
        assert now() == pytest.approx(began, abs=0.5)


@on_virtual_time
async def test_requests_wait_for_their_turns():
    async with server_and_client(qps=2, burst=3) as (api, client):
        api.put(node("a"))
        began = now()
        await asyncio.gather(*(client.get(NODES, "a", deadline=by()) for _ in range(9)))
        assert now() - began == pytest.approx(3, abs=0.3)
        with pytest.raises(Unreachable, match="no answer in time"):
            await asyncio.gather(*(client.get(NODES, "a", deadline=by(1)) for _ in range(9)))


@on_virtual_time
async def test_a_guard_is_asked_for_writes_alone():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        may_write = [False]
        guarded = client.guarded(lambda: may_write[0])
        assert await guarded.get(NODES, "a", deadline=by()) is not None
        for write in (
            guarded.patch(NODES, "a", body={}, deadline=by()),
            guarded.create(NODES, node("b"), deadline=by()),
            guarded.delete(NODES, "a", uid="", deadline=by()),
        ):
            with pytest.raises(NotLeading, match="does not hold the lease"):
                await write
        assert not api.writes
        may_write[0] = True
        assert await guarded.patch(NODES, "a", body={}, deadline=by()) is not None


@on_virtual_time
async def test_a_guard_that_closes_while_a_write_waits_stops_it():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        may_write = [True]
        api.fail("PATCH", status=429, retry_after_s=5)
        api.before = lambda request: may_write.__setitem__(0, False)
        with pytest.raises(NotLeading):
            await client.guarded(lambda: may_write[0]).patch(NODES, "a", body={}, deadline=by())
        assert len(api.writes) == 1


@on_virtual_time
async def test_a_cancelled_request_leaves_the_client_as_it_was():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        api.fail("GET", trouble=Trouble.HANG)
        task = asyncio.ensure_future(client.get(NODES, "a", deadline=by()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.get(NODES, "a", deadline=by()) is not None


def test_every_error_is_one_of_kubernetes():
    assert all(issubclass(one, KubeError) for one in (ApiError, Unreachable, NotLeading))


@on_virtual_time
async def test_every_request_is_told_to_the_observer_with_what_became_of_it():
    seen = []

    def observe(*, method: str, host: str, status: int, duration_s: float) -> None:
        seen.append((method, host, status))
        assert duration_s >= 0

    async with server_and_client(observer=observe) as (api, client):
        api.put(node("a"))
        host = api.url.removeprefix("http://")
        await client.get(NODES, "a", deadline=by())
        await client.guarded(lambda: True).patch(NODES, "none", body={}, deadline=by())
        with pytest.raises(NotLeading):
            await client.guarded(lambda: False).patch(NODES, "a", body={}, deadline=by())
        assert seen == [("GET", host, 200), ("PATCH", host, 404)]
        seen.clear()
        api.fail("DELETE", status=429, retry_after_s=1, times=1)
        await client.unlimited().delete(NODES, "none", uid="x", deadline=by())
        assert seen == [("DELETE", host, 429), ("DELETE", host, 404)]
        seen.clear()
        api.fail("GET", trouble=Trouble.HANG)
        with pytest.raises(Unreachable):
            await client.get(NODES, "a", deadline=by(5))
        assert seen == [("GET", host, 0)]


@on_virtual_time
async def test_a_watch_is_told_when_it_opens():
    seen = []
    async with server_and_client(observer=lambda **told: seen.append((told["method"], told["status"]))) as (_, client):
        async with client.stream(NODES.path(), query={"watch": "true"}, deadline=by(), idle_s=10):
            assert seen == [("GET", 200)]
        assert len(seen) == 1
