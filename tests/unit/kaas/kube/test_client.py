"""Requests: who asks, what an answer means, and that every call ends by its deadline."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import KubeAccess
from kaas.kube.client import Connection, Connections, path_of
from kaas.kube.errors import RefusedError
from kaas.kube.wire import Node, Object
from tests.support.cluster_access import Authority
from tests.support.ports import free_port
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items, missing, status


@pytest.fixture
async def connect():
    opened = []

    def open_one(access):
        opened.append(Connection(access))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


async def answer_ok(request):
    return web.json_response({"metadata": {"name": "a"}})


async def test_shows_its_certificate_and_checks_the_servers(serve, connect):
    server = await serve(answer_ok)
    node = await connect(server.access).read("/api/v1/nodes/a", Node, deadline=by())
    assert node.metadata.name == "a"
    assert server.seen[0].client == "system:masters"


async def test_one_connection_serves_calls_that_follow_each_other(serve, connect):
    server = await serve(answer_ok)
    connection = connect(server.access)
    for _ in range(3):
        await connection.read("/api/v1/nodes/a", Node, deadline=by())
    assert len(server.connections) == 1


async def test_refuses_a_server_of_another_ca(serve, connect):
    server = await serve(answer_ok, shows=Authority("another"))
    with pytest.raises(StepError, match="not one of this cluster's CA") as caught:
        await connect(server.access).request("GET", "/readyz", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN
    assert server.seen == []


async def test_refuses_a_certificate_for_another_address(serve, connect):
    server = await serve(answer_ok, address="127.0.0.2")
    with pytest.raises(StepError, match="for this address") as caught:
        await connect(server.access).request("GET", "/readyz", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN
    assert server.seen == []


async def test_takes_no_address_without_tls(authority, connect):
    with pytest.raises(StepError, match="no https address") as caught:
        connect(authority.access("http://127.0.0.1:6443"))
    assert caught.value.code is Code.BUG


async def test_an_unusable_certificate_is_not_quoted(authority, connect):
    access = KubeAccess("https://127.0.0.1:6443", authority.pem, b"certificate-text", b"private-text")
    with pytest.raises(StepError, match="cannot be used") as caught:
        connect(access)
    assert caught.value.code is Code.BUG
    assert "text" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_server_that_is_away_is_down(authority, connect):
    port = free_port()
    with pytest.raises(StepError, match=rf"GET /readyz at https://127.0.0.1:{port}: no connection: .*") as caught:
        await connect(authority.access(f"https://127.0.0.1:{port}")).request("GET", "/readyz", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN
    assert "object at 0x" not in str(caught.value)


async def test_a_server_that_hangs_is_down_at_the_deadline(serve, connect):
    async def hang(request):
        await asyncio.Event().wait()

    server = await serve(hang)
    with pytest.raises(StepError, match="no answer within") as caught:
        await connect(server.access).request("GET", "/readyz", deadline=by(1))
    assert caught.value.code is Code.API_SERVER_DOWN
    assert server.seen


async def test_an_answer_that_never_ends_is_not_kept(serve, connect, monkeypatch):
    monkeypatch.setattr("kaas.kube.client._MAX_ANSWER_BYTES", 1024 * 1024)

    async def pour(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    server = await serve(pour)
    with pytest.raises(StepError, match="larger than 1 MiB") as caught:
        await connect(server.access).request("GET", "/readyz", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_an_answer_that_is_no_object_is_none(serve, connect):
    async def page(request):
        return web.Response(text="<html>")

    server = await serve(page)
    with pytest.raises(StepError, match="the answer cannot be read") as caught:
        await connect(server.access).read("/api/v1/nodes/a", Node, deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_an_answer_sends_us_nowhere_else(serve, connect):
    async def elsewhere(request):
        raise web.HTTPFound("https://127.0.0.1:1/")

    server = await serve(elsewhere)
    with pytest.raises(StepError):
        await connect(server.access).read("/api/v1/nodes/a", Node, deadline=by())
    assert len(server.seen) == 1


async def test_the_environments_proxy_is_not_asked(serve, connect, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    server = await serve(answer_ok)
    assert await connect(server.access).read("/api/v1/nodes/a", Node, deadline=by())


async def test_missing_is_none_but_a_proxys_404_is_not(serve, connect):
    async def gone(request):
        return missing() if "ours" in request.path else web.Response(status=404, text="no route")

    connection = connect((await serve(gone)).access)
    assert await connection.read("/api/v1/nodes/ours", Node, deadline=by()) is None
    assert await connection.delete("/api/v1/nodes/ours", deadline=by()) is False
    with pytest.raises(RefusedError, match="no route"):
        await connection.read("/api/v1/nodes/b", Node, deadline=by())
    with pytest.raises(RefusedError, match="no route"):
        await connection.delete("/api/v1/nodes/b", deadline=by())


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", Code.ADDON_FAILED),
        (401, "Unauthorized", Code.ADDON_FAILED),
        (403, "Forbidden", Code.ADDON_FAILED),
        (409, "Conflict", Code.ADDON_FAILED),
        (422, "Invalid", Code.ADDON_FAILED),
        (500, "InternalError", Code.ADDON_FAILED),
        (429, "TooManyRequests", Code.API_SERVER_DOWN),
        (503, "ServiceUnavailable", Code.API_SERVER_DOWN),
        (504, "Timeout", Code.API_SERVER_DOWN),
    ],
)
async def test_what_an_answer_means(serve, connect, code, reason, expected):
    async def refuse(request):
        return status(code, reason, "because")

    server = await serve(refuse)
    with pytest.raises(RefusedError, match=f"answered {code} {reason}: because") as caught:
        await connect(server.access).request("PATCH", "/x", what="Deployment a/b", deadline=by())
    assert caught.value.code is expected
    assert str(caught.value).startswith(f"PATCH Deployment a/b at {server.access.server}")


async def test_a_load_balancers_error_is_a_server_that_is_not_there(serve, connect):
    async def refuse(request):
        return web.Response(status=500, text="upstream")

    with pytest.raises(RefusedError) as caught:
        await connect((await serve(refuse)).access).request("GET", "/x", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_what_is_said_of_a_secret_names_fields_only(serve, connect):
    async def refuse(request):
        details = {"causes": [{"field": "data.token", "message": "Invalid value: hidden"}]}
        return status(422, "Invalid", "Invalid value: hidden", details=details)

    secret = {"kind": "Secret", "data": {"token": "hidden"}}
    with pytest.raises(RefusedError, match=r"422 Invalid: data\.token") as caught:
        await connect((await serve(refuse)).access).apply("/x", secret, what="Secret a/b", deadline=by())
    assert "hidden" not in str(caught.value)
    assert "hidden" not in caught.value.detail


async def test_waits_as_long_as_it_is_told(serve, connect):
    count = 0

    async def busy(request):
        nonlocal count
        count += 1
        if count < 3:
            answer = status(429, "TooManyRequests", "wait")
            answer.headers["Retry-After"] = "0"
            return answer
        return web.json_response({"metadata": {"name": "a"}})

    connection = connect((await serve(busy)).access)
    assert await connection.read("/x", Node, deadline=by())
    assert count == 3


async def test_a_pause_beyond_the_deadline_is_not_waited_for(serve, connect):
    async def busy(request):
        answer = status(429, "TooManyRequests", "wait")
        answer.headers["Retry-After"] = "3600"
        return answer

    server = await serve(busy)
    with pytest.raises(RefusedError) as caught:
        await connect(server.access).request("GET", "/x", deadline=by())
    assert caught.value.retry_after_s == 3600
    assert len(server.seen) == 1


async def test_pages_are_put_together(serve, connect):
    async def pages(request):
        number = int(request.query.get("continue", "0"))
        following = str(number + 1) if number < 2 else ""
        return items({"metadata": {"name": f"n{number}"}}, following=following)

    server = await serve(pages)
    found = await connect(server.access).read_all("/x", Object, query={"labelSelector": "a=b"}, deadline=by())
    assert [one.metadata.name for one in found] == ["n0", "n1", "n2"]
    assert {one.query["labelSelector"] for one in server.seen} == {"a=b"}
    assert {one.query["limit"] for one in server.seen} == {"500"}


async def test_pages_that_were_forgotten_are_read_anew(serve, connect):
    forgot = False

    async def pages(request):
        nonlocal forgot
        if "continue" not in request.query:
            return items({"metadata": {"name": "a"}}, following="x")
        if not forgot:
            forgot = True
            return status(410, "Expired")
        return items({"metadata": {"name": "b"}})

    server = await serve(pages)
    found = await connect(server.access).read_all("/x", Object, deadline=by())
    assert [one.metadata.name for one in found] == ["a", "b"]
    assert len(server.seen) == 4


async def test_a_list_without_items_is_empty(serve, connect):
    async def empty(request):
        return web.json_response({"metadata": {}, "items": None})

    assert await connect((await serve(empty)).access).read_all("/x", Object, deadline=by()) == []


async def test_apply_takes_over_and_is_strict(serve, connect):
    server = await serve(answer_ok)
    await connect(server.access).apply("/x", {"kind": "Pod"}, what="Pod a/b", deadline=by())
    seen = server.seen[0]
    assert seen.query == {"fieldManager": "kaas", "force": "true", "fieldValidation": "Strict"}
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.body == {"kind": "Pod"}


async def test_delete_names_the_uid(serve, connect):
    server = await serve(answer_ok)
    assert await connect(server.access).delete("/x", uid="u", background=True, deadline=by())
    assert server.seen[0].body["preconditions"] == {"uid": "u"}
    assert server.seen[0].body["propagationPolicy"] == "Background"


async def test_a_cancelled_call_leaves_the_connection_usable(serve, connect):
    began, go_on = asyncio.Event(), False

    async def hang(request):
        began.set()
        if not go_on:
            await asyncio.Event().wait()
        return web.json_response({"metadata": {"name": "a"}})

    connection = connect((await serve(hang)).access)
    task = asyncio.create_task(connection.read("/x", Node, deadline=by()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on = True
    assert await connection.read("/x", Node, deadline=by())


def test_a_path_stays_one_path_whatever_a_name_holds():
    assert path_of("api", "v1", "", "a/../b?c") == "/api/v1/a%2F..%2Fb%3Fc"


class Opened:
    """Stands for a connection."""

    def __init__(self, access):
        self.access = access
        self.is_closed = False

    async def close(self):
        self.is_closed = True


def access_to(name):
    return KubeAccess(f"https://{name}", b"", b"", b"")


async def test_the_last_used_are_kept():
    made = []
    pool = Connections(limit=2, open_one=lambda access: made.append(Opened(access)) or made[-1])
    for name in "abac":
        async with pool.to(access_to(name)):
            pass
    assert [(one.access.server[-1], one.is_closed) for one in made] == [("a", False), ("b", True), ("c", False)]
    await pool.close()
    assert all(one.is_closed for one in made)
    assert len(pool) == 0


async def test_one_that_is_used_is_not_closed():
    made = []
    pool = Connections(limit=1, open_one=lambda access: made.append(Opened(access)) or made[-1])
    async with pool.to(access_to("a")) as first, pool.to(access_to("a")) as same:
        assert first is same
        async with pool.to(access_to("b")):
            assert len(pool) == 2
        # The idle one goes, although it was used last.
        assert [one.is_closed for one in made] == [False, True]
    assert len(pool) == 1


def renewed(name):
    return KubeAccess(f"https://{name}", b"", b"new", b"")


async def test_another_certificate_is_another_connection_and_ends_the_one_before():
    made = []
    pool = Connections(open_one=lambda access: made.append(Opened(access)) or made[-1])
    async with pool.to(access_to("a")) as old:
        async with pool.to(renewed("a")) as new:
            assert new is not old
        # Somebody still uses it.
        assert not old.is_closed
        async with pool.to(access_to("b")):
            pass
    async with pool.to(renewed("a")) as again:
        assert again.access == renewed("a")
    assert len(made) - sum(one.is_closed for one in made) == len(pool) == 2


async def test_one_that_is_taken_while_others_are_closed_stays_open():
    made, closing, going_on = [], asyncio.Event(), asyncio.Event()

    class Slow(Opened):
        async def close(self):
            closing.set()
            await going_on.wait()
            await super().close()

    pool = Connections(limit=1, open_one=lambda access: made.append(Slow(access)) or made[-1])

    async def use(name):
        async with pool.to(access_to(name)):
            pass

    await use("a")
    async with pool.to(access_to("b")):
        # Two are too many: `a`, which takes its time, and then `c` itself.
        leaving = asyncio.create_task(use("c"))
        await closing.wait()
        async with pool.to(access_to("c")) as taken:
            going_on.set()
            await leaving
            assert not taken.is_closed
        assert taken.is_closed
    assert [one.is_closed for one in made] == [True, False, True]


def test_the_key_is_in_no_text(authority):
    access = authority.access("https://127.0.0.1:1")
    assert b"PRIVATE" in access.client_key_pem
    assert "PRIVATE" not in repr(access)


def test_requests_do_not_show_bodies():
    from kaas.kube.client import _Ask

    ask = _Ask("PATCH", "/x", {}, {"data": "hidden"}, {}, "x")
    assert "hidden" not in repr(ask)
    assert b"hidden" in msgspec.json.encode(ask.body)
