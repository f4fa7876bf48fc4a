"""Emptying a node: who is evicted, who is waited for, who is left alone."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from kaas.domain.errors import Code, StepError
from kaas.kube.drain import stays
from kaas.kube.wire import Pod
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items, missing, status


def pod(name, *, phase="Running", **meta):
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", **meta},
        "spec": {"nodeName": "node"},
        "status": {"phase": phase},
    }


def owned_by(kind, *, controller=True):
    return [{"kind": kind, "name": "o", "controller": controller}]


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (pod("a"), False),
        (pod("a", ownerReferences=owned_by("ReplicaSet")), False),
        (pod("a", ownerReferences=owned_by("DaemonSet")), True),
        (pod("a", ownerReferences=owned_by("DaemonSet", controller=False)), False),
        (pod("a", annotations={"kubernetes.io/config.mirror": "x"}), True),
        (pod("a", phase="Succeeded"), True),
        (pod("a", phase="Failed"), True),
        (pod("a", phase="Pending"), False),
    ],
)
def test_who_stays(wire, expected):
    assert stays(msgspec.convert(wire, Pod)) is expected


class Node:
    """A node with pods; an eviction is answered by `evict`, which may take the pod away."""

    def __init__(self, *pods, evict=None):
        self.pods = {one["metadata"]["name"]: one for one in pods}
        self.evict = evict or self.let_go
        self.rounds = 0

    def let_go(self, name):
        del self.pods[name]
        return web.json_response({})

    async def answer(self, request):
        if request.method == "PATCH":
            return web.json_response({})
        if request.method == "GET":
            self.rounds += 1
            return items(*self.pods.values())
        return self.evict(request.path.split("/")[-2])


def refusal():
    answer = status(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
    answer.headers["Retry-After"] = "10"
    return answer


async def test_cordons_then_evicts_until_none_is_left(serve, kube):
    node = Node(pod("a"), pod("b"), pod("d", ownerReferences=owned_by("DaemonSet")))
    server = await serve(node.answer)
    assert await kube.drain(server.access, "node", deadline=by()) == []
    assert server.seen[0].method == "PATCH"
    assert server.seen[0].body == {"spec": {"unschedulable": True}}
    assert server.seen[1].query["fieldSelector"] == "spec.nodeName=node"
    assert server.paths("POST") == [f"/api/v1/namespaces/n/pods/{name}/eviction" for name in "ab"]
    assert set(node.pods) == {"d"}


async def test_an_eviction_is_of_the_pod_that_was_seen(serve, kube):
    node = Node(pod("a"))
    server = await serve(node.answer)
    await kube.drain(server.access, "node", deadline=by())
    body = next(one.body for one in server.seen if one.method == "POST")
    assert body["deleteOptions"]["preconditions"] == {"uid": "uid-a"}
    assert body["kind"] == "Eviction"


async def test_a_budget_is_waited_for(serve, kube):
    def evict(name):
        return refusal() if node.rounds < 3 else node.let_go(name)

    node = Node(pod("a"), evict=evict)
    assert await kube.drain((await serve(node.answer)).access, "node", deadline=by()) == []
    assert node.rounds >= 3


async def test_a_budget_that_never_allows_it_is_named_at_the_deadline(serve, kube):
    node = Node(pod("a"), pod("b"), evict=lambda name: refusal())
    left = await kube.drain((await serve(node.answer)).access, "node", deadline=by(1))
    assert [one.split(":")[0] for one in left] == ["pod n/a", "pod n/b"]
    assert "its disruption budget does not allow the eviction: Cannot evict" in left[0]
    assert node.rounds > 1


async def test_a_deadline_in_the_middle_of_a_round_gives_what_was_seen_before(serve, kube):
    node = Node(pod("a"), evict=lambda name: refusal())

    async def answer(request):
        if request.method == "POST" and node.rounds > 1:
            await asyncio.Event().wait()
        return await node.answer(request)

    left = await kube.drain((await serve(answer)).access, "node", deadline=by(1))
    assert [one.split(":")[0] for one in left] == ["pod n/a"]


async def test_a_server_that_goes_away_is_an_error_before_the_deadline(serve, kube):
    node = Node(pod("a"), evict=lambda name: refusal())

    async def answer(request):
        return status(503, "ServiceUnavailable", "later") if node.rounds > 1 else await node.answer(request)

    with pytest.raises(StepError) as caught:
        await kube.drain((await serve(answer)).access, "node", deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_a_pod_that_ends_is_waited_for_and_not_evicted_again(serve, kube):
    node = Node(pod("a", deletionTimestamp="2026-01-01T00:00:00Z"))
    server = await serve(node.answer)
    left = await kube.drain(server.access, "node", deadline=by(0.5))
    assert left == ["pod n/a: it is ending, since 2026-01-01T00:00:00Z"]
    assert server.paths("POST") == []


async def test_a_pod_that_is_gone_or_another_by_now_is_no_error(serve, kube):
    answers = {"a": missing, "b": lambda: status(409, "Conflict", "the uid differs")}

    def evict(name):
        del node.pods[name]
        return answers[name]()

    node = Node(pod("a"), pod("b"), evict=evict)
    assert await kube.drain((await serve(node.answer)).access, "node", deadline=by()) == []


async def test_any_other_refusal_is_an_error(serve, kube):
    node = Node(pod("a"), evict=lambda name: status(403, "Forbidden", "not you"))
    with pytest.raises(StepError, match="not you"):
        await kube.drain((await serve(node.answer)).access, "node", deadline=by())


async def test_a_node_that_is_not_there_is_empty(serve, kube):
    async def gone(request):
        return missing()

    server = await serve(gone)
    assert list(await kube.drain(server.access, "node", deadline=by())) == []
    assert len(server.seen) == 1
