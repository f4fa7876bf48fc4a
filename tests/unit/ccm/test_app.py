"""The whole program in this process: real HTTP to a fake API server and to the embedded platform."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ccm.app import build, service_rules
from ccm.controllers.service import ServiceRules
from ccm.desired.wanted import Cluster as ClusterFacts
from ccm.kube.client import KubeClient, RequestObserver, open_client
from ccm.names import FINALIZER, UNINITIALIZED_TAINT
from ccm.program import serve
from ccm.settings import ManagerSettings
from process.life import Stop
from process.settings import read_settings
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.support.fake_api import FakeApi, fake_api

LIMIT_S = 20.0


class Cluster:
    """A cluster as the manager sees it, with the platform behind."""

    def __init__(self, api: FakeApi, cloud: ServedCloud, *flags: str) -> None:
        self.api = api
        self.cloud = cloud
        needed = [f"--platform-url={cloud.base_url}", "--cluster-id=c-1", "--secure-port=0", "--leader-elect=false"]
        self.settings = read_settings(ManagerSettings, [*needed, *flags], {"TC_API_KEY": cloud.api_key})

    @contextlib.asynccontextmanager
    async def managed(self) -> AsyncIterator[None]:
        stop = Stop()

        async def connect(_: ManagerSettings, observer: RequestObserver) -> KubeClient:
            return await open_client(master=self.api.url, user_agent="test", observer=observer)

        running = asyncio.create_task(serve(self.settings, build, stop=stop, connect=connect))
        try:
            yield
        finally:
            stop()
            await running

    async def until(self, look: Callable[[], Any]) -> Any:
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = look()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)

    async def targets(self) -> Any:
        """The targets of the only load balancer."""
        return (await self.platform("GET", "/lb"))[0]["groups"][0]["targets"]

    async def has_listed(self) -> bool:
        """Whether the load balancers were listed since the platform began to count."""
        return "GET /lb" in await self.platform("GET", "/_devcloud/calls")

    async def platform(self, method: str, path: str, **body: Any) -> Any:
        async with self.cloud.client() as client:
            answer = await client.request(method, path, json=body or None)
            answer.raise_for_status()
            return answer.json()["data"] if answer.content else None

    async def join(self, name: str) -> dict[str, Any]:
        """Let the kubelet of an instance register its node, as it does with an external cloud provider."""
        instance = await self.platform("GET", f"/instances/{self.cloud.instances[name]}")
        self.api.put(
            {
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/hostname": name},
                    "annotations": {"alpha.kubernetes.io/provided-node-ip": instance["private_ip"]},
                },
                "spec": {"taints": [{"key": UNINITIALIZED_TAINT, "value": "true", "effect": "NoSchedule"}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
        )
        return dict(instance)

    def node(self, name: str) -> dict[str, Any]:
        return self.api.get("nodes", name) or {}

    def service(self) -> dict[str, Any] | None:
        return self.api.get("services", "web", "shop")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with fake_api() as api, devcloud_server(tmp_path / "cloud", backend="none") as cloud:
        yield Cluster(api, cloud)


def web() -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 8080}],
        },
    }


async def test_a_node_that_joins_is_told_what_its_instance_is_and_loses_its_taint(cluster: Cluster) -> None:
    async with cluster.managed():
        instance = await cluster.join("node-a")
        await cluster.until(lambda: not cluster.node("node-a")["spec"].get("taints"))
        node = cluster.node("node-a")
        assert node["spec"]["providerID"] == f"thecloud://{instance['id']}"
        assert {"type": "InternalIP", "address": instance["private_ip"]} in node["status"]["addresses"]
        assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == instance["zone"]


async def test_a_service_gets_a_load_balancer_with_every_node_and_gives_it_back(cluster: Cluster) -> None:
    for name in ("node-a", "node-b"):
        await cluster.join(name)
    async with cluster.managed():
        await cluster.until(lambda: not any(one["spec"].get("taints") for one in cluster.api.all_of("nodes")))
        cluster.api.put(web())
        ingress = await cluster.until(
            lambda: (cluster.service() or {}).get("status", {}).get("loadBalancer", {}).get("ingress")
        )
        (balancer,) = await cluster.platform("GET", "/lb")
        assert [one["ip"] for one in ingress] == [one["address"] for one in balancer["addresses"]]
        (group,) = balancer["groups"]
        assert {one["instance_id"] for one in group["targets"]} == set(cluster.cloud.instances.values())
        assert [(one["port"], one["target_port"]) for one in group["listeners"]] == [(80, 30080)]

        cluster.api.going("services", "web", "shop")
        await cluster.until(lambda: cluster.service() is None)
        assert await cluster.platform("GET", "/lb") == []


async def test_a_new_start_with_everything_in_place_writes_nothing(cluster: Cluster) -> None:
    await cluster.join("node-a")
    cluster.api.put(web())
    async with cluster.managed():
        await cluster.until(lambda: (cluster.service() or {}).get("status", {}).get("loadBalancer", {}).get("ingress"))
        await cluster.until(cluster.targets)
    before, written = await cluster.platform("GET", "/lb"), len(cluster.api.writes)
    await cluster.platform("DELETE", "/_devcloud/calls")
    async with cluster.managed():
        await cluster.until(cluster.has_listed)
        # Whatever it would write follows at once; of what does not come, nobody is told.
        await asyncio.sleep(0.5)
    assert await cluster.platform("GET", "/lb") == before
    assert len(cluster.api.writes) == written


async def test_only_the_chosen_controllers_run(cluster: Cluster) -> None:
    chosen = Cluster(cluster.api, cluster.cloud, "--controllers=service")
    await chosen.join("node-a")
    chosen.api.put(web())
    async with chosen.managed():
        await chosen.until(lambda: FINALIZER in ((chosen.service() or {})["metadata"].get("finalizers") or ()))
    assert chosen.node("node-a")["spec"]["taints"]


def test_the_options_for_services_reach_the_controller() -> None:
    needed = ["--platform-url=http://127.0.0.1:9", "--cluster-id=c-1"]
    rules = service_rules(read_settings(ManagerSettings, needed, {"TC_API_KEY": "hunter2"}))
    assert rules == ServiceRules(cluster=ClusterFacts(id="c-1"))
    flags = ["--load-balancer-vpc=v-1", "--load-balancer-size=large", "--orphan-grace=60", "--delete-orphans=false"]
    rules = service_rules(read_settings(ManagerSettings, [*needed, *flags], {"TC_API_KEY": "hunter2"}))
    assert rules.cluster == ClusterFacts(id="c-1", vpc_id="v-1", default_size="large")
    assert (rules.sweep.grace_s, rules.sweep.deletes) == (60.0, False)
