"""Readiness, tokens, rollouts and what reaches outside, on a real API server."""

import asyncio
import dataclasses
import json
import ssl
import urllib.error
import urllib.request

import pytest

from kaas.domain.errors import Code, StepError
from tests.integration.kaas_kube.conftest import by, certificate_api
from tests.integration.kaas_kube.test_nodes import MERGE, make_namespace
from tests.support.cluster_access import Authority
from tests.support.real_api import MISSING_API

pytestmark = pytest.mark.timeout(300)


async def until_ready(kube, access):
    """Wait: it serves before all that it does at its start is done, and says what that is."""
    async with asyncio.timeout(30):
        while why := await kube.readiness(access, deadline=by()):
            assert "not ready: " in why
            await asyncio.sleep(0.1)


async def test_ready(access, kube):
    await until_ready(kube, access)
    assert await kube.is_ready(access, deadline=by())


async def test_a_wrong_ca_is_refused(access, kube):
    wrong = dataclasses.replace(access, ca_pem=Authority("another").pem)
    assert not await kube.is_ready(wrong, deadline=by())
    with pytest.raises(StepError, match="not one of this cluster's CA") as caught:
        await kube.nodes(wrong, deadline=by())
    assert caught.value.code is Code.API_SERVER_DOWN


async def test_a_certificate_of_another_authority_may_nothing(access, kube):
    certificate, key = Authority("clients").client()
    stranger = dataclasses.replace(access, client_cert_pem=certificate, client_key_pem=key)
    with pytest.raises(StepError, match="401 Unauthorized"):
        await kube.nodes(stranger, deadline=by())


def whoami(cluster, token):
    """Who the API server takes the holder of a token for; empty: nobody."""
    context = ssl.create_default_context(cafile=str(cluster.api.folder / "ca.crt"))
    url = f"{cluster.api.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), context=context, timeout=10) as answer:
            return json.load(answer)["status"]["userInfo"]
    except urllib.error.HTTPError as error:
        with error:
            # Known, but a token that only joins may not even ask this.
            return {"code": error.code}


async def known(cluster, token, *, wanted):
    """Wait until the server knows a token or no longer does: it watches Secrets, and remembers who asked for 10 s."""
    async with asyncio.timeout(30):
        while True:
            found = await asyncio.to_thread(whoami, cluster, token)
            if (found.get("code") != 401) is wanted:
                return found
            await asyncio.sleep(0.05)


async def test_a_token_is_good_for_joining_until_it_is_deleted(cluster, access, kube, raw):
    ours, theirs = "abcdef.0123456789abcdef", "fedcba.0123456789abcdef"
    await kube.create_bootstrap_token(access, ours, ttl_s=600, deadline=by())
    await kube.create_bootstrap_token(access, ours, ttl_s=1200, deadline=by())
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-fedcba", "namespace": "kube-system"},
        "stringData": {
            "token-id": "fedcba",
            "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true",
        },
    }
    await raw.request("POST", "/api/v1/namespaces/kube-system/secrets", body=body, deadline=by())
    found = await known(cluster, ours, wanted=True)
    assert found["username"] == "system:bootstrap:abcdef"
    assert "system:bootstrappers:kubeadm:default-node-token" in found["groups"]
    await known(cluster, theirs, wanted=True)
    await kube.delete_bootstrap_tokens(access, deadline=by())
    await kube.delete_bootstrap_tokens(access, deadline=by())
    await known(cluster, ours, wanted=False)
    secrets = json.loads(await raw.request("GET", "/api/v1/namespaces/kube-system/secrets", deadline=by()))
    names = {one["metadata"]["name"] for one in secrets["items"]}
    assert "bootstrap-token-fedcba" in names
    assert "bootstrap-token-abcdef" not in names


async def test_a_token_of_the_past_is_none(cluster, access, kube):
    await kube.create_bootstrap_token(access, "aaaaaa.0123456789abcdef", ttl_s=-60, deadline=by())
    await kube.create_bootstrap_token(access, "bbbbbb.0123456789abcdef", ttl_s=600, deadline=by())
    # The later one is known, so the earlier one has been looked at.
    await known(cluster, "bbbbbb.0123456789abcdef", wanted=True)
    assert (await asyncio.to_thread(whoami, cluster, "aaaaaa.0123456789abcdef"))["code"] == 401


async def test_what_is_not_rolled_out_is_said(access, kube, raw, name):
    await make_namespace(raw, name)
    assert await kube.rolled_out(access, name, deadline=by()) == []
    labels = {"app": "d"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": "d", "namespace": name}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    await kube.apply(access, [deployment], deadline=by())
    assert await kube.rolled_out(access, name, deadline=by()) == [
        f"Deployment {name}/d: its controller has not seen it yet"
    ]
    path = f"/apis/apps/v1/namespaces/{name}/deployments/d/status"
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 1}
    await raw.request("PATCH", path, body={"status": status}, content_type=MERGE, deadline=by())
    assert await kube.rolled_out(access, name, deadline=by()) == [f"Deployment {name}/d: 1 of 2 pods are available"]
    status["availableReplicas"] = 2
    await raw.request("PATCH", path, body={"status": status}, content_type=MERGE, deadline=by())
    assert await kube.rolled_out(access, name, deadline=by()) == []


async def test_load_balancers_and_claims_are_released(access, kube, raw, name):
    await make_namespace(raw, name)

    async def make(plural, kind, object_name, spec, **meta):
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": object_name, **meta}, "spec": spec}
        await raw.request("POST", f"/api/v1/namespaces/{name}/{plural}", body=body, deadline=by())

    ports = [{"port": 80}]
    cleanup = ["service.kubernetes.io/load-balancer-cleanup"]
    await make("services", "Service", "lb", {"type": "LoadBalancer", "ports": ports}, finalizers=cleanup)
    await make("services", "Service", "np", {"type": "NodePort", "ports": ports})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await make("persistentvolumeclaims", "PersistentVolumeClaim", "data", claim)
    lb = f"Service {name}/lb: its load balancer is being deleted"
    data = f"PersistentVolumeClaim {name}/data: it is being deleted"
    assert await kube.release_outside(access, volumes=False, deadline=by()) == [lb]
    # Nobody here takes the finalizers of a Service away; the server itself put one on the claim.
    assert sorted(await kube.release_outside(access, volumes=True, deadline=by())) == [data, lb]
    for path in ("services/lb", "persistentvolumeclaims/data"):
        body = {"metadata": {"finalizers": None}}
        await raw.request("PATCH", f"/api/v1/namespaces/{name}/{path}", body=body, content_type=MERGE, deadline=by())
    assert await kube.release_outside(access, volumes=True, deadline=by()) == []
    left = json.loads(await raw.request("GET", f"/api/v1/namespaces/{name}/services", deadline=by()))
    assert [one["metadata"]["name"] for one in left["items"]] == ["np"]


async def test_a_server_that_goes_away_and_comes_back(tmp_path, kube):
    """Its own server, because others use the one of the folder."""
    if MISSING_API:
        pytest.skip(MISSING_API)
    context = certificate_api(tmp_path)
    running = await asyncio.to_thread(context.__enter__)
    try:
        access = running.access()
        await until_ready(kube, access)
        await asyncio.to_thread(running.api.stop, "kube-apiserver", by_force=True)
        async with asyncio.timeout(10):
            assert not await kube.is_ready(access, deadline=by(5))
            with pytest.raises(StepError, match="no connection") as caught:
                await kube.nodes(access, deadline=by(5))
        assert caught.value.code is Code.API_SERVER_DOWN
        assert caught.value.retryable
        await asyncio.to_thread(running.api.start_api)
        assert await kube.nodes(access, deadline=by()) == []
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
