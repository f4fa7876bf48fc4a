"""Services of type LoadBalancer as somebody outside of the cluster sees them, and what the platform has for them."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from ccm.names import BALANCER_PREFIX, FINALIZER
from tests.e2e.balancers import (
    address_of,
    addresses,
    answers,
    balancer_of,
    nothing_balanced,
    of_namespace,
    only_healthy,
    refuses,
)
from tests.e2e.cluster import manager, platform
from tests.e2e.cluster.credentials import MANAGER_NAMESPACE
from tests.e2e.objects import balanced, echo_pod
from tests.e2e.outside import outside
from tests.e2e.world import World
from tests.support.certificates import MISSING_OPENSSL, make_certificate

APP = "echo"
HOST = "shop.example.com"
CERTIFICATES_ROLE = "thecloud-ccm-certificates"
REQUESTS = 12
"""So many, one after the other, that a target which gets some of them is noticed."""
DNS_APP = {"k8s-app": "kube-dns"}
API_NAME, API_ADDRESS = "kubernetes.default.svc.cluster.local", "10.96.0.1"


async def test_tcp_reaches_a_pod_from_outside_and_the_load_balancer_goes_with_the_service(world: World) -> None:
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("echo", APP))
        await world.apply(balanced("web", APP))
        address = await address_of(world, "web")
        seen = await answers(world, client, f"http://{address}/path")
        assert (seen["pod"], seen["request"]) == ("echo", "GET /path HTTP/1.1")
        made = await balancer_of(world, "web")
        assert [one["address"] for one in made["addresses"]] == [address]
        assert FINALIZER in (await world.get("service", "web"))["metadata"]["finalizers"]
        await world.delete("service", "web")
        assert await of_namespace(world, world.namespace) == []
        await refuses(world, client, f"http://{address}/")


async def test_a_service_that_becomes_another_type_loses_its_load_balancer(world: World) -> None:
    async with nothing_balanced(world):
        await world.apply(balanced("web", APP))
        await address_of(world, "web")
        patch = '{"spec":{"type":"ClusterIP"}}'
        await world.kube.run("patch", "service", "web", "-n", world.namespace, "-p", patch)

        async def let_go() -> bool:
            service = await world.get("service", "web")
            return FINALIZER not in service["metadata"].get("finalizers", []) and not await addresses(world, "web")

        await world.until(let_go, "the service to be let go")
        assert await of_namespace(world, world.namespace) == []
        left = (await world.get("service", "web"))["metadata"].get("annotations", {})
        assert not [key for key in left if key.startswith(BALANCER_PREFIX)]


async def test_udp_reaches_the_cluster_dns_from_outside(world: World) -> None:
    name = world.namespace
    service = balanced(name, "", selector=DNS_APP, ports=[{"name": "dns", "port": 53, "protocol": "UDP"}])
    system = World(world.site, world.kube, "kube-system")
    async with outside(world.site) as client:
        await system.apply(service)
        try:
            address = await address_of(system, name)

            async def answer() -> str:
                return await client.dig(address, API_NAME)

            assert await world.until(answer, "the cluster's DNS to answer") == API_ADDRESS
        finally:
            await system.delete("service", name)
    assert not [
        one for one in await of_namespace(world, "kube-system") if f"kube-system/{name}" in one["tags"].values()
    ]


@pytest.mark.skipif(bool(MISSING_OPENSSL), reason=MISSING_OPENSSL)
async def test_https_ends_at_the_load_balancer_with_the_certificate_of_a_secret(world: World, tmp_path: Path) -> None:
    make_certificate(tmp_path, f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    async with nothing_balanced(world), outside(world.site) as client:
        await world.apply(_certificates_binding(world), _tls_secret("shop", tmp_path))
        await _may_read_secrets(world)
        await world.start(echo_pod("echo", APP))
        annotations = {"protocol": "https", "tls-cert": "secret:shop"}
        await world.apply(balanced("shop", APP, port=443, annotations=annotations))
        address = await address_of(world, "shop")
        trust = ("--cacert", str(tmp_path / "ca.crt"), "--resolve", f"{HOST}:443:{address}")
        seen = await answers(world, client, f"https://{HOST}/", *trust)
        assert seen["headers"]["x-forwarded-for"] == client.address
        assert seen["headers"]["x-forwarded-proto"] == "https"
        assert await client.ask(f"https://{HOST}/", *trust[2:]) is None, "nobody else signed this certificate"
        (ingress,) = (await world.get("service", "shop"))["status"]["loadBalancer"]["ingress"]
        assert ingress["ipMode"] == "Proxy", "pods must not go around what ends TLS"
    mine = f"{world.namespace}/shop"
    every = await platform.call(world.site, "GET", "/certificates") or []
    assert not [one["name"] for one in every if mine in one["tags"].values()]


async def test_a_secret_that_nobody_allowed_is_not_read_and_the_service_says_so(world: World) -> None:
    async with nothing_balanced(world):
        annotations = {"protocol": "https", "tls-cert": "secret:shop"}
        await world.apply(balanced("shop", APP, port=443, annotations=annotations))
        await world.event("Service", "shop", "SyncLoadBalancerFailed", "secrets", "forbidden")
        assert await of_namespace(world, world.namespace) == []
        assert await addresses(world, "shop") == []


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_pod_learns_the_clients_address_from_the_proxy_protocol(world: World, version: str) -> None:
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("echo", APP))
        await world.apply(balanced("web", APP, annotations={"proxy-protocol": version}))
        seen = await answers(world, client, f"http://{await address_of(world, 'web')}/")
        assert seen["proxied"] == client.address
        assert seen["peer"] != client.address


async def test_local_traffic_shows_the_client_and_goes_only_to_nodes_with_a_pod(world: World) -> None:
    features = (await platform.call(world.site, "GET", "/capabilities"))["features"]
    if "lb.transparent" not in features:
        pytest.skip("this kernel cannot match sockets (xt_socket), so that the platform keeps no client's address")
    node = world.site.workers[0]
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("echo", APP, node=node))
        await world.apply(balanced("web", APP, externalTrafficPolicy="Local"))
        url = f"http://{await address_of(world, 'web')}/"
        await only_healthy(world, "web", node)
        seen = [await client.ask(url) for _ in range(REQUESTS)]
        # A node without a pod drops what it gets: a single one that went there would have had no answer.
        assert [one and (one["pod"], one["peer"]) for one in seen] == [("echo", client.address)] * REQUESTS


async def test_the_health_check_follows_a_pod_to_another_node(world: World) -> None:
    first, second = world.site.workers[:2]
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("one", APP, node=first))
        # By the PROXY protocol, which works also where the kernel cannot keep clients' addresses.
        annotations = {"proxy-protocol": "v2"}
        await world.apply(balanced("web", APP, annotations=annotations, externalTrafficPolicy="Local"))
        url = f"http://{await address_of(world, 'web')}/"
        assert (await answers(world, client, url))["pod"] == "one"
        await world.start(echo_pod("two", APP, node=second))
        await world.delete("pod", "one")
        await only_healthy(world, "web", second)
        seen = [await client.ask(url) for _ in range(REQUESTS)]
        assert [one and one["pod"] for one in seen] == ["two"] * REQUESTS


async def test_source_ranges_refuse_everybody_else(world: World) -> None:
    async with nothing_balanced(world), outside(world.site) as friend, outside(world.site) as stranger:
        await world.start(echo_pod("echo", APP))
        await world.apply(balanced("web", APP, loadBalancerSourceRanges=[f"{friend.address}/32"]))
        url = f"http://{await address_of(world, 'web')}/"
        assert (await answers(world, friend, url))["pod"] == "echo"
        assert await stranger.ask(url) is None
        patch = json.dumps({"spec": {"loadBalancerSourceRanges": [f"{stranger.address}/32"]}})
        await world.kube.run("patch", "service", "web", "-n", world.namespace, "-p", patch)
        assert (await answers(world, stranger, url))["pod"] == "echo"
        await refuses(world, friend, url)


async def test_two_services_share_an_address_when_both_say_so(world: World) -> None:
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("first", "first"), echo_pod("second", "second"))
        names = ("older", "newer")
        shared = {mine: {"share-with": f"{world.namespace}/{other}"} for mine, other in (names, names[::-1])}
        await world.apply(balanced("older", "first", port=80, annotations=shared["older"]))
        address = await address_of(world, "older")
        # The older one has the load balancer, and ages are counted in whole seconds.
        await asyncio.sleep(1.1)
        await world.apply(balanced("newer", "second", port=8443, annotations=shared["newer"]))
        assert await address_of(world, "newer") == address
        assert (await answers(world, client, f"http://{address}/"))["pod"] == "first"
        assert (await answers(world, client, f"http://{address}:8443/"))["pod"] == "second"
        assert len(await of_namespace(world, world.namespace)) == 1
        await world.delete("service", "newer")
        await refuses(world, client, f"http://{address}:8443/")
        assert (await answers(world, client, f"http://{address}/"))["pod"] == "first"


async def test_nobody_shares_an_address_that_its_owner_does_not_offer(world: World) -> None:
    async with nothing_balanced(world):
        await world.apply(balanced("owner", APP))
        mine = await address_of(world, "owner")
        annotations = {"share-with": f"{world.namespace}/owner"}
        await world.apply(balanced("guest", APP, port=81, annotations=annotations))
        await world.event("Service", "guest", "LoadBalancerNotShared", "does not name")
        assert await address_of(world, "guest") != mine


async def test_an_unknown_annotation_is_told_and_changes_nothing(world: World) -> None:
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("echo", APP))
        await world.apply(balanced("web", APP))
        url = f"http://{await address_of(world, 'web')}/"
        await answers(world, client, url)
        before = await balancer_of(world, "web")
        word = f"{BALANCER_PREFIX}protocoll=http"
        await world.kube.run("annotate", "service", "web", "-n", world.namespace, word)
        await world.event("Service", "web", "InvalidAnnotation", "protocoll")
        after = await balancer_of(world, "web")
        assert after["version"] == before["version"]
        assert (await answers(world, client, url))["pod"] == "echo"


@pytest.mark.disruptive
async def test_a_restart_of_the_manager_writes_nothing(world: World) -> None:
    async with nothing_balanced(world), outside(world.site) as client:
        await world.start(echo_pod("echo", APP))
        names = [f"web-{number}" for number in range(3)]
        await world.apply(*(balanced(name, APP) for name in names))
        urls = [f"http://{await address_of(world, name)}/" for name in names]
        for url in urls:
            await answers(world, client, url)
        before = await _written(world, names)
        await world.kube.run("rollout", "restart", f"deployment/{manager.NAME}", "-n", MANAGER_NAMESPACE)
        await manager.ready(world.site)
        # A service that comes after the restart is served after those that were there.
        await world.apply(balanced("last", APP))
        await address_of(world, "last")
        assert await _written(world, names) == before
        for url in urls:
            assert (await answers(world, client, url))["pod"] == "echo"


async def _written(world: World, names: list[str]) -> list[tuple[int, str]]:
    """Give what grows with every write to the load balancers and to the services themselves."""
    return [
        (
            (await balancer_of(world, name))["version"],
            (await world.get("service", name))["metadata"]["resourceVersion"],
        )
        for name in names
    ]


def _certificates_binding(world: World) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": CERTIFICATES_ROLE, "namespace": world.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CERTIFICATES_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": manager.NAME, "namespace": MANAGER_NAMESPACE}],
    }


def _tls_secret(name: str, folder: Path) -> dict[str, object]:
    files = {"tls.crt": folder / "ca.crt", "tls.key": folder / "key"}
    data = {key: base64.b64encode(file.read_bytes()).decode() for key, file in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}


async def _may_read_secrets(world: World) -> None:
    """Wait until the API server knows of the binding."""
    account = f"system:serviceaccount:{MANAGER_NAMESPACE}:{manager.NAME}"

    async def allowed() -> bool:
        words = ("auth", "can-i", "get", "secrets", f"--as={account}", "-n", world.namespace)
        return (await world.kube.try_run(*words)).exit_code == 0

    await world.until(allowed, "the manager to be allowed to read Secrets of the namespace")
