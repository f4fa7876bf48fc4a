"""Whether a cluster's API server is ready, and what is said when it is not."""

import asyncio

import pytest
from aiohttp import web

from kaas.domain.errors import StepError
from kaas.kube.api import KubeApi
from tests.support.cluster_access import Authority
from tests.support.ports import free_port
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import status


async def test_ready(serve, kube):
    async def ok(request):
        return web.Response(text="ok")

    server = await serve(ok)
    assert await kube.is_ready(server.access, deadline=by())
    assert server.paths("GET") == ["/readyz"]


async def test_names_the_checks_that_fail(serve, kube):
    checks = "".join(f"[+]check-{number} ok\n" for number in range(60))

    async def failing(request):
        return web.Response(status=500, text=f"{checks}[-]etcd failed: reason withheld\n[-]poststarthook/x failed\n")

    server = await serve(failing)
    why = await kube.readiness(server.access, deadline=by())
    assert why == f"GET /readyz at {server.access.server}: not ready: etcd, poststarthook/x"
    assert not await kube.is_ready(server.access, deadline=by())


async def test_a_refusal_is_not_ready(serve, kube):
    async def refuse(request):
        return status(401, "Unauthorized", "who?")

    why = await kube.readiness((await serve(refuse)).access, deadline=by())
    assert "401 Unauthorized: who?" in why


async def test_another_ca_is_not_ready(serve, kube):
    async def ok(request):
        return web.Response(text="ok")

    server = await serve(ok, shows=Authority("another"))
    assert "not one of this cluster's CA" in await kube.readiness(server.access, deadline=by())


async def test_away_is_not_ready(authority, kube):
    access = authority.access(f"https://127.0.0.1:{free_port()}")
    assert not await kube.is_ready(access, deadline=by())


async def test_one_look_does_not_take_all_of_the_callers_time(serve, kube, monkeypatch):
    monkeypatch.setattr("kaas.kube.api._READINESS_S", 0.2)

    async def hang(request):
        await asyncio.Event().wait()

    server = await serve(hang)
    deadline = by(3600)
    assert "no answer within 0.2 s" in await kube.readiness(server.access, deadline=deadline)


async def test_an_access_that_is_not_taken_is_told_of(serve):
    told = []

    async def refuse(request):
        return status(401, "Unauthorized", "who?")

    async def ok(request):
        return web.Response(text="ok")

    async def broken(request):
        return status(500, "InternalError", "it is me, not you")

    unknown, foreign, unwell = await serve(refuse), await serve(ok, shows=Authority("another")), await serve(broken)
    async with KubeApi(refused=told.append) as kube:
        assert await kube.readiness(unknown.access, deadline=by())
        assert told == [unknown.access]
        with pytest.raises(StepError):
            await kube.nodes(unknown.access, deadline=by())
        assert await kube.readiness(foreign.access, deadline=by())
        assert told == [unknown.access, unknown.access, foreign.access]
        assert await kube.readiness(unwell.access, deadline=by())
        assert len(told) == 3
