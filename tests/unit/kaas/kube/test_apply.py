"""The order of objects, places of kinds, waiting for new kinds, and what is taken away."""

import pytest
from aiohttp import web

from kaas.domain.errors import Code, StepError
from kaas.kube.apply import ordered, what_of
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items, missing, status

CORE = [
    {"name": "namespaces", "kind": "Namespace", "namespaced": False},
    {"name": "namespaces/status", "kind": "Namespace", "namespaced": False},
    {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
]
CRDS = [{"name": "customresourcedefinitions", "kind": "CustomResourceDefinition", "namespaced": False}]
WIDGETS = [{"name": "widgets", "kind": "Widget", "namespaced": True}]


def manifest(kind, name="x", *, namespace="", version="v1"):
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


CRD = manifest("CustomResourceDefinition", "widgets.example.org", version="apiextensions.k8s.io/v1")


class Api:
    """Serves some kinds; `looks` tells how often the CRD is looked at before it is there."""

    def __init__(self, *, looks=0, accepted="True"):
        self.kinds = {"/api/v1": CORE, "/apis/apiextensions.k8s.io/v1": CRDS}
        self.looks = looks
        self.accepted = accepted
        self.labelled = {}

    async def answer(self, request):
        if request.path in self.kinds:
            return web.json_response({"resources": self.kinds[request.path]})
        if request.method == "PATCH":
            return web.json_response({})
        if request.method == "DELETE":
            return web.json_response({})
        if "labelSelector" in request.query:
            return items(*self.labelled.get(request.path, ()))
        if "customresourcedefinitions" in request.path:
            self.looks -= 1
            is_there = self.looks < 0 and self.accepted == "True"
            if is_there:
                self.kinds["/apis/example.org/v1"] = WIDGETS
            conditions = [
                {"type": "NamesAccepted", "status": self.accepted, "message": "the name is taken"},
                {"type": "Established", "status": "True" if is_there else "False"},
            ]
            return web.json_response({"metadata": {"name": "w"}, "status": {"conditions": conditions}})
        return web.Response(status=404, text="404 page not found")


def test_order():
    kinds = ["Pod", "ClusterRoleBinding", "Widget", "Deployment", "ServiceAccount", "CustomResourceDefinition"]
    kinds += ["ConfigMap", "Role", "Namespace"]
    assert [one["kind"] for one in ordered(manifest(kind) for kind in kinds)] == [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "Role",
        "ClusterRoleBinding",
        "Widget",
        "ConfigMap",
        "Pod",
        "Deployment",
    ]


def test_what_an_object_is_called():
    assert what_of(manifest("ConfigMap", "c", namespace="n")) == "ConfigMap n/c"
    assert what_of(manifest("Namespace", "n")) == "Namespace n"


async def test_each_object_goes_to_its_place(serve, kube):
    server = await serve(Api().answer)
    objects = [manifest("ConfigMap", "c", namespace="n"), manifest("ConfigMap", "d"), manifest("Namespace", "n")]
    await kube.apply(server.access, objects, deadline=by())
    assert server.paths("PATCH") == [
        "/api/v1/namespaces/n",
        "/api/v1/namespaces/n/configmaps/c",
        "/api/v1/namespaces/default/configmaps/d",
    ]
    assert server.paths("GET") == ["/api/v1"]


async def test_a_new_kind_is_waited_for(serve, kube):
    server = await serve(Api(looks=2).answer)
    await kube.apply(
        server.access, [manifest("Widget", "w", namespace="n", version="example.org/v1"), CRD], deadline=by()
    )
    assert server.paths("PATCH") == [
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org",
        "/apis/example.org/v1/namespaces/n/widgets/w",
    ]


async def test_a_kind_alone_is_waited_for_too(serve, kube):
    api = Api(looks=1)
    await kube.apply((await serve(api.answer)).access, [CRD], deadline=by())
    assert api.looks < 0


async def test_a_new_kind_that_is_refused_is_an_error_at_once(serve, kube):
    server = await serve(Api(accepted="False").answer)
    with pytest.raises(StepError, match=r"widgets\.example\.org.*the name is taken") as caught:
        await kube.apply(server.access, [CRD], deadline=by())
    assert caught.value.code is Code.ADDON_FAILED


async def test_a_new_kind_that_does_not_come_in_time_is_an_error(serve, kube, monkeypatch):
    # The next look would be after the deadline.
    monkeypatch.setattr("kaas.kube.apply._LOOK_S", 60)
    api = Api(looks=10_000)
    server = await serve(api.answer)
    with pytest.raises(StepError, match="it is not Established yet") as caught:
        await kube.apply(server.access, [CRD], deadline=by())
    assert caught.value.retryable


async def test_an_unknown_kind_is_named(serve, kube):
    server = await serve(Api().answer)
    with pytest.raises(StepError, match="has no kind Widget") as caught:
        await kube.apply(server.access, [manifest("Widget", version="example.org/v1")], deadline=by())
    assert caught.value.code is Code.ADDON_FAILED


async def test_a_server_that_cannot_tell_its_kinds_is_no_missing_kind(serve, kube):
    async def down(request):
        return status(503, "ServiceUnavailable", "later")

    with pytest.raises(StepError) as caught:
        await kube.apply((await serve(down)).access, [manifest("ConfigMap")], deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_a_refused_object_is_named(serve, kube):
    api = Api()

    async def answer(request):
        if request.method == "PATCH":
            return status(422, "Invalid", "spec.x: unknown field")
        return await api.answer(request)

    with pytest.raises(StepError, match=r"PATCH ConfigMap n/c at .*: the API server answered 422 Invalid: spec\.x"):
        await kube.apply((await serve(answer)).access, [manifest("ConfigMap", "c", namespace="n")], deadline=by())


@pytest.mark.parametrize(
    "bad", [{}, {"kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ""}}]
)
async def test_what_is_no_object_is_refused(serve, kube, bad):
    server = await serve(Api().answer)
    with pytest.raises(StepError, match="it needs apiVersion, kind and a name"):
        await kube.apply(server.access, [bad], deadline=by())
    assert server.paths("PATCH") == []


async def test_prune_takes_away_what_is_no_longer_part(serve, kube):
    api = Api()

    def labelled(name, namespace):
        return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}}

    api.labelled = {
        "/api/v1/configmaps": [labelled("kept", "n"), labelled("old", "n"), labelled("kept", "other")],
        "/api/v1/namespaces": [labelled("n", "")],
    }
    server = await serve(api.answer)
    objects = [manifest("Namespace", "n"), manifest("ConfigMap", "kept", namespace="n")]
    gone = await kube.prune(server.access, "net", objects, deadline=by())
    assert sorted(gone) == ["ConfigMap n/old", "ConfigMap other/kept"]
    assert sorted(server.paths("DELETE")) == [
        "/api/v1/namespaces/n/configmaps/old",
        "/api/v1/namespaces/other/configmaps/kept",
    ]
    looked = [one for one in server.seen if "labelSelector" in one.query]
    assert {one.query["labelSelector"] for one in looked} == {"kaas-addon=net"}
    # Content is not read: Secrets are among it.
    assert all("PartialObjectMetadataList" in one.headers["Accept"] for one in looked)


async def test_prune_looks_through_kinds_of_the_addons_own(serve, kube):
    api = Api()
    api.kinds["/apis/example.org/v1"] = WIDGETS
    api.labelled = {"/apis/example.org/v1/widgets": [{"metadata": {"name": "old", "namespace": "n", "uid": "u"}}]}
    server = await serve(api.answer)
    objects = [manifest("Widget", "w", namespace="n", version="example.org/v1")]
    assert await kube.prune(server.access, "net", objects, deadline=by()) == ["Widget n/old"]


async def test_what_vanished_meanwhile_was_not_pruned(serve, kube):
    api = Api()
    api.labelled = {"/api/v1/configmaps": [{"metadata": {"name": "old", "namespace": "n", "uid": "u"}}]}

    async def answer(request):
        return missing() if request.method == "DELETE" else await api.answer(request)

    assert await kube.prune((await serve(answer)).access, "net", [], deadline=by()) == []
