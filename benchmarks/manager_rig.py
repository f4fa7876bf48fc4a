"""What the figures of the cloud controller manager are taken on: kube-apiserver, etcd, devcloud and managers, all real.

devcloud has rows for machines; nodes are objects that nobody but the manager changes.
"""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ccm.names import (
    BALANCER_CLASS,
    MANAGER,
    OLD_REGION_LABEL,
    OLD_TYPE_LABEL,
    OLD_ZONE_LABEL,
    REGION_LABEL,
    TYPE_LABEL,
    UNINITIALIZED_TAINT,
    ZONE_LABEL,
)
from ccm.provider_id import format_provider_id
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.support.ports import free_port
from tests.support.real_api import TOKEN, RealApi, real_api

CLUSTER_ID = "bench"
AT_ONCE = 64
LIMIT_S = 900.0
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{MANAGER}"
_NETWORK = "10.64.0.0/15"
_BALANCERS = "10.65.240.0/20"
_PLENTY = "1000000"
_LOOK_S = 0.05

Json = dict[str, Any]


@dataclass(slots=True)
class ManagerProcess:
    """A running manager."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def metrics(self) -> dict[str, float]:
        """Give its metrics by series."""
        async with httpx.AsyncClient(verify=False, headers=_BEARER) as client:  # noqa: S501 - it signs itself
            answer = await client.get(f"https://127.0.0.1:{self.port}/metrics", timeout=60.0)
        answer.raise_for_status()
        rows = (line.rpartition(" ") for line in answer.text.splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    async def total(self, name: str, *words: str) -> float:
        """Add up the series of a metric whose labels hold all words."""
        found = await self.metrics()
        return sum(
            value
            for series, value in found.items()
            if series.partition("{")[0] == name and all(word in series for word in words)
        )

    async def is_ready(self) -> bool:
        """Say whether it answers that it is ready."""
        if self.process.returncode is not None:
            raise SystemExit(f"the manager ended with {self.process.returncode}; {self.log} says why")
        try:
            async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - it signs itself
                return (await client.get(f"https://127.0.0.1:{self.port}/readyz", timeout=60.0)).is_success
        except httpx.HTTPError:
            return False

    async def kubernetes_writes(self) -> float:
        """Count its writes to Kubernetes without those to the Lease (PUT), and without events and reviews (POST)."""
        verbs = ('method="PATCH"', 'method="DELETE"')
        return sum([await self.total("rest_client_requests_total", verb) for verb in verbs])

    async def stop(self) -> None:
        """Ask it to end and wait for that."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


_BEARER: Mapping[str, str] = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(slots=True)
class Rig:
    """Kubernetes, the platform, and managers on them."""

    folder: Path
    api: RealApi
    cloud: ServedCloud
    kube: httpx.AsyncClient
    platform: httpx.AsyncClient
    managers: list[ManagerProcess] = field(default_factory=list)

    async def start(self, *arguments: str) -> ManagerProcess:
        """Start a manager; it may not be ready yet."""
        port = free_port()
        log = self.folder / f"manager-{len(self.managers)}.log"
        argv = (
            *("-m", "ccm.app", "--kubeconfig", str(self.api.kubeconfig), "--platform-url", self.cloud.base_url),
            *("--api-key-file", str(self.cloud.data_dir / "api-key"), "--cluster-id", CLUSTER_ID),
            *("--secure-port", str(port), *arguments),
        )
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=output, stderr=output)
        made = ManagerProcess(process, port, log)
        self.managers.append(made)
        return made

    async def started(self, *arguments: str) -> ManagerProcess:
        """Start a manager and wait until it is ready."""
        made = await self.start(*arguments)
        await until(made.is_ready, "a manager to be ready")
        return made

    async def send(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask Kubernetes."""
        words = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        content = json.dumps(body).encode() if body is not None else None
        answer = await self.kube.request(
            method, path, content=content, headers={"Content-Type": "application/json", **words}
        )
        answer.raise_for_status()
        return dict(answer.json())

    async def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """Ask the platform."""
        answer = await self.platform.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()["data"] if answer.content else None

    async def make_instances(self, names: Sequence[str]) -> dict[str, Json]:
        """Launch instances; gives their rows by name."""
        wanted = set(names)
        await spread(self._launch(name) for name in names)
        rows = {row["name"]: row for row in await self.ask("GET", "/instances")}
        return {name: row for name, row in rows.items() if name in wanted}

    async def _launch(self, name: str) -> None:
        await self.ask("POST", "/instances", {"name": name, "hostname": name, "image": "any"})

    async def make_nodes(self, rows: Mapping[str, Json], *, is_new: bool) -> None:
        """Make Ready nodes for instances: as a kubelet has just made them, or as the manager leaves them."""
        await spread(self.send("POST", "/api/v1/nodes", _node(name, row, is_new=is_new)) for name, row in rows.items())

    async def make_services(self, count: int, *, balanced: bool) -> None:
        """Make services, of type LoadBalancer or without anything to do for the manager."""
        path = "/api/v1/namespaces/default/services"
        await spread(self.send("POST", path, _service(number, balanced=balanced)) for number in range(count))

    async def calls(self) -> dict[str, int]:
        """Give how many calls the platform had by route since `forget_calls`."""
        return {route: row["count"] for route, row in (await self.ask("GET", "/_devcloud/calls")).items()}

    async def platform_writes(self) -> int:
        """Count the calls since `forget_calls` that change something."""
        return sum(count for route, count in (await self.calls()).items() if not route.startswith("GET "))

    async def forget_calls(self) -> None:
        """Count calls from now on."""
        await self.ask("DELETE", "/_devcloud/calls")

    async def holder(self) -> str:
        """Give who holds the Lease; empty for nobody."""
        answer = await self.kube.get(LEASE)
        return str(answer.json()["spec"].get("holderIdentity") or "") if answer.is_success else ""

    async def balanced(self) -> int:
        """Count the services that have an address."""
        listed = await self.send("GET", "/api/v1/namespaces/default/services")
        return sum(bool(one["status"].get("loadBalancer", {}).get("ingress")) for one in listed["items"])


@contextlib.asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    """Start Kubernetes and the platform, both empty; everything ends with the block."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    arguments = (
        *("--network", _NETWORK, "--lb-addresses", _BALANCERS, "--no-fsync"),
        *("--quota-instances", _PLENTY, "--quota-vcpus", _PLENTY, "--quota-memory-gb", _PLENTY),
    )
    cloud = devcloud_server(folder / "cloud", nodes=(), subprocess=True, arguments=arguments)
    async with contextlib.AsyncExitStack() as stack:
        api = await asyncio.to_thread(stack.enter_context, real_api(folder))
        served = await stack.enter_async_context(cloud)
        trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        kube = httpx.AsyncClient(base_url=api.url, headers=_BEARER, verify=trust, timeout=120.0, limits=_LIMITS)
        made = Rig(
            folder,
            api,
            served,
            await stack.enter_async_context(kube),
            await stack.enter_async_context(served.client(timeout=120.0, limits=_LIMITS)),
        )
        try:
            yield made
        finally:
            for one in made.managers:
                await one.stop()


_LIMITS = httpx.Limits(max_connections=AT_ONCE)


async def spread(work: Any) -> None:
    """Do pieces of work, some at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(piece: Awaitable[object]) -> None:
        async with places:
            await piece

    async with asyncio.TaskGroup() as group:
        for piece in work:
            group.create_task(one(piece))


async def until(look: Callable[[], Awaitable[object]], what: str, *, every_s: float = _LOOK_S) -> None:
    """Wait until something is so; a figure that never comes ends the benchmark."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await look():  # noqa: ASYNC110 - what is waited for is in other processes
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise SystemExit(f"waited {LIMIT_S:g} s for {what}") from None


def _node(name: str, row: Json, *, is_new: bool) -> Json:
    taint = {"key": UNINITIALIZED_TAINT, "value": "true", "effect": "NoSchedule"}
    address = row["private_ip"].partition("/")[0]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **({} if is_new else _labels(row))}},
        "spec": {"taints": [taint]} if is_new else {"providerID": format_provider_id(row["id"])},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        },
    }


def _labels(row: Json) -> dict[str, str]:
    told = {(ZONE_LABEL, OLD_ZONE_LABEL): "zone", (REGION_LABEL, OLD_REGION_LABEL): "region"}
    told |= {(TYPE_LABEL, OLD_TYPE_LABEL): "instance_type"}
    return {key: row[name] for keys, name in told.items() for key in keys}


def _service(number: int, *, balanced: bool) -> Json:
    port = {"name": "web", "port": 80, "targetPort": 8080}
    spec: Json = {"selector": {"app": f"app-{number}"}, "ports": [port]}
    spec |= {"type": "LoadBalancer", "loadBalancerClass": BALANCER_CLASS} if balanced else {"clusterIP": "None"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"service-{number}"}, "spec": spec}
