"""Giving back what the inside of a cluster made on the platform."""

from aiohttp import web

from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items, missing


def one(name, *, spec=None, **meta):
    return {"metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", **meta}, "spec": spec or {}}


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


class Inside:
    """Objects by plural; what is deleted stays, as with finalizers."""

    def __init__(self, **found):
        self.found = found

    async def answer(self, request):
        if request.method == "DELETE":
            return web.json_response({})
        return items(*self.found.get(request.path.rsplit("/", 1)[1], ()))


async def test_load_balancers_go_and_other_services_stay(serve, kube):
    inside = Inside(
        services=[one("lb", spec={"type": "LoadBalancer"}), one("np", spec={"type": "NodePort"})],
        persistentvolumeclaims=[one("data")],
    )
    server = await serve(inside.answer)
    left = await kube.release_outside(server.access, volumes=False, deadline=by())
    assert left == ["Service n/lb: its load balancer is being deleted"]
    assert server.paths("DELETE") == ["/api/v1/namespaces/n/services/lb"]
    assert server.seen[-1].body["preconditions"] == {"uid": "uid-lb"}


async def test_what_goes_already_is_not_asked_again(serve, kube):
    inside = Inside(
        services=[one("lb", spec={"type": "LoadBalancer"}, **GOING)],
        persistentvolumeclaims=[one("data", **GOING)],
    )
    server = await serve(inside.answer)
    left = await kube.release_outside(server.access, volumes=True, deadline=by())
    assert len(left) == 2
    assert server.paths("DELETE") == []


async def test_claims_go_after_their_makers_and_with_their_pods(serve, kube):
    mounts = {"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"emptyDir": {}}]}
    inside = Inside(
        persistentvolumeclaims=[one("data")],
        statefulsets=[one("makes", spec={"volumeClaimTemplates": [one("data")]}), one("makes-none")],
        pods=[
            one("uses", spec=mounts),
            one("other", spec={"volumes": [{"emptyDir": {}}]}),
            one("elsewhere", spec=mounts, namespace="m"),
        ],
    )
    server = await serve(inside.answer)
    left = await kube.release_outside(server.access, volumes=True, deadline=by())
    assert left == ["PersistentVolumeClaim n/data: it is being deleted"]
    assert server.paths("DELETE") == [
        "/apis/apps/v1/namespaces/n/statefulsets/makes",
        "/api/v1/namespaces/n/persistentvolumeclaims/data",
        "/api/v1/namespaces/n/pods/uses",
    ]


async def test_volumes_are_waited_for_unless_they_are_to_be_kept(serve, kube):
    def volume(name, policy, **source):
        spec = {"persistentVolumeReclaimPolicy": policy, **source}
        return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Released"}}

    def csi(handle):
        return {"csi": {"driver": "csi.thecloud.io", "volumeHandle": handle}}

    inside = Inside(
        persistentvolumes=[
            volume("goes", "Delete", **csi("vol-1")),
            volume("kept", "Retain", **csi("vol-2")),
            volume("host", "Delete", hostPath={"path": "/x"}),
        ]
    )
    server = await serve(inside.answer)
    left = await kube.release_outside(server.access, volumes=True, deadline=by())
    assert left == ["PersistentVolume goes: the platform's volume is being deleted (Released)"]
    assert await kube.disposable_volumes(server.access, deadline=by()) == ["vol-1"]


async def test_nothing_left(serve, kube):
    assert await kube.release_outside((await serve(Inside().answer)).access, volumes=True, deadline=by()) == []


async def test_what_vanished_meanwhile_is_no_error(serve, kube):
    async def answer(request):
        if request.method == "DELETE":
            return missing()
        return items(one("lb", spec={"type": "LoadBalancer"}))

    await kube.release_outside((await serve(answer)).access, volumes=False, deadline=by())
