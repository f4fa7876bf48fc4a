"""Node objects as they are looked at, and their end."""

import msgspec
import pytest
from aiohttp import web

from kaas.domain.errors import StepError
from kaas.domain.ports import KubeNode
from kaas.kube.nodes import UNINITIALISED_TAINT, seen
from kaas.kube.wire import Node
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items, missing, status


def wire(name="a", *, ready="True", message="", **spec):
    conditions = [{"type": "MemoryPressure", "status": "False"}]
    if ready:
        conditions.append({"type": "Ready", "status": ready, "message": message, "reason": "R"})
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": spec,
        "status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": "v1.36.3"}},
    }


def node(**fields):
    return seen(msgspec.convert(wire(**fields), Node))


def test_a_ready_node():
    found = node(providerID="thecloud://i-1")
    assert found == KubeNode("a", True, "thecloud://i-1", True, True, "v1.36.3")


def test_why_a_node_is_not_ready():
    assert node(ready="False", message="no network").message == "no network"
    assert node(ready="Unknown").message == "R"
    assert node(ready="").message == "its kubelet has not reported yet"
    assert not node(ready="Unknown").ready


def test_cordoned_and_not_initialised():
    found = node(unschedulable=True, taints=[{"key": UNINITIALISED_TAINT, "effect": "NoSchedule"}])
    assert not found.schedulable
    assert not found.initialised
    assert node(taints=[{"key": "other"}]).initialised


async def test_nodes_come_by_name(serve, kube):
    async def answer(request):
        return items(wire("b"), wire("a"))

    found = await kube.nodes((await serve(answer)).access, deadline=by())
    assert [one.name for one in found] == ["a", "b"]


async def test_only_the_node_that_was_seen_is_deleted(serve, kube):
    async def answer(request):
        return web.json_response(wire())

    server = await serve(answer)
    await kube.delete_node(server.access, "a", deadline=by())
    assert [one.method for one in server.seen] == ["GET", "DELETE"]
    assert server.seen[1].body["preconditions"] == {"uid": "uid-a"}


async def test_no_node_is_no_error(serve, kube):
    async def answer(request):
        return missing()

    await kube.delete_node((await serve(answer)).access, "a", deadline=by())


async def test_a_refused_end_is_an_error(serve, kube):
    async def answer(request):
        return web.json_response(wire()) if request.method == "GET" else status(409, "Conflict", "another uid")

    with pytest.raises(StepError, match="another uid"):
        await kube.delete_node((await serve(answer)).access, "a", deadline=by())
