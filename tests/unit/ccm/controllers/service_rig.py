"""What the service controller runs on in tests: a real HTTP API server, a platform in memory, a set clock.

The caches are brought up to the API by hand (`watch`), so that a test decides what a pass has seen; `settle` does what
queue and watches do together, without their times. `Reaper` kills the controller before or after any request.
"""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ccm.controllers.orphans import SweepRules
from ccm.controllers.progress import Patience
from ccm.controllers.service import ServiceController, ServiceRules
from ccm.desired.wanted import Cluster
from ccm.kube.client import KubeClient, open_client
from ccm.kube.errors import KubeError
from ccm.kube.kinds import SECRETS, Kind
from ccm.kube.model import Node, Secret, Service
from ccm.kube.store import Store
from ccm.model import Balancer
from ccm.names import BALANCER_PREFIX, FINALIZER
from ccm.ports import Cloud, CloudError
from tests.support.fake_api import FakeApi, fake_api
from tests.support.fake_api_objects import Objects
from tests.support.fake_cloud import CLUSTER_ID, FakeCloud
from tests.unit.ccm.controllers.rig import Clock, instance, wire_node

WEB = "default/web"
PATIENCE = Patience(first_pause_s=1.0, longest_pause_s=30.0, slow_after_s=120.0, hopeless_after_s=900.0)
SWEEP = SweepRules(first_after_s=600.0, every_s=300.0, grace_s=1800.0, confirmations=3)


class KilledError(BaseException):
    """The process ended here: nobody handles it."""


class Reaper:
    """Counts the requests that pass by, and kills at one of them: before it is sent, or after it was carried out."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.kill_at = -1
        self.is_after = False
        self.is_dead = False

    async def do(self, what: str, request: Any) -> Any:
        at = len(self.passed)
        self.passed.append(what)
        is_last = at == self.kill_at
        if self.is_dead or (is_last and not self.is_after):
            self.is_dead = True
            request.close()
            raise KilledError(what)
        found = await request
        if is_last:
            self.is_dead = True
            raise KilledError(what)
        return found


class Reaped:
    """An object whose coroutine methods pass a reaper."""

    def __init__(self, inner: Any, reaper: Reaper, name: str) -> None:
        self._inner, self._reaper, self._name = inner, reaper, name

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._reaper.do(f"{self._name}.{method}", getattr(self._inner, method)(*args, **kwargs))

        return call


class Said:
    """Events as (type, reason, service or node, message)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str, str]] = []

    def normal(self, obj: Node | Service, reason: str, message: str) -> None:
        self.all.append(("Normal", reason, obj.key, message))

    def warning(self, obj: Node | Service, reason: str, message: str) -> None:
        self.all.append(("Warning", reason, obj.key, message))

    def reasons(self, key: str = "") -> list[str]:
        return [reason for _, reason, service, _ in self.all if key in ("", service)]

    def text(self, reason: str) -> str:
        return next(text for _, one, _, text in self.all if one == reason)


def wire_service(
    name: str = "web",
    *,
    namespace: str = "default",
    ports: Mapping[int, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    **spec: Any,
) -> dict[str, Any]:
    """A service as it stands in the API; annotations without our prefix get it."""
    own = {key if "/" in key else BALANCER_PREFIX + key: value for key, value in (annotations or {}).items()}
    listed = [
        {"name": f"p{port}", "port": port, "protocol": protocol, "nodePort": 30000 + port % 2700, "targetPort": port}
        for port, protocol in (ports or {80: "TCP"}).items()
    ]
    values = {"type": "LoadBalancer", "ports": listed, "sessionAffinity": "None", "externalTrafficPolicy": "Cluster"}
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": own, "creationTimestamp": created},
        "spec": {**values, **spec},
        "status": {"loadBalancer": {}},
    }


def tls_secret(name: str, certificate: str, key: str = "private") -> dict[str, Any]:
    data = {"tls.crt": certificate, "tls.key": key}
    encoded = {part: base64.b64encode(text.encode()).decode() for part, text in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": encoded}


@dataclass
class ServiceRig:
    api: FakeApi
    kube: KubeClient
    cloud: FakeCloud
    clock: Clock
    events: Said = field(default_factory=Said)
    reaper: Reaper = field(default_factory=Reaper)
    controller: ServiceController = field(init=False)
    services: Store[Service] = field(init=False)
    nodes: Store[Node] = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def reset(self) -> None:
        """Have an empty cluster and an empty platform."""
        self.api.objects = Objects()
        self.api.requests.clear()
        self.cloud = FakeCloud(clock=self.clock)
        self.events = Said()
        self.restart()

    def restart(self, **changed: Any) -> None:
        """Begin anew as another process does: nothing is remembered, everything is seen once."""
        self.reaper = Reaper()
        self.services, self.nodes = Store(), Store()
        ports = self.cloud.ports
        kube: Any = Reaped(self.kube, self.reaper, "kube")
        balancers: Any = Reaped(ports.balancers, self.reaper, "balancers")
        certificates: Any = Reaped(ports.certificates, self.reaper, "certificates")

        async def read_secret(namespace: str, name: str, deadline: float) -> Secret | None:
            kind: Kind[Secret] = SECRETS
            found: Secret | None = await kube.get(kind, name, namespace, deadline=deadline)
            return found

        rules = {"cluster": Cluster(id=CLUSTER_ID), "patience": PATIENCE, "sweep": SWEEP, **changed}
        self.watch()
        self.controller = ServiceController(
            services=self.services,
            nodes=self.nodes,
            client=kube,
            read_secret=read_secret,
            cloud=Cloud(ports.instances, balancers, certificates),
            recorder=self.events,
            rules=ServiceRules(**rules),
            clock=self.clock,
        )
        self.services.subscribe(self.controller.on_service)
        self.nodes.subscribe(self.controller.fleet.on_node)

    # The cluster

    def put(self, *wires: dict[str, Any]) -> None:
        """Have objects in the API, and the caches as new as that."""
        for wire in wires:
            self.api.put(wire)
        self.watch()

    def add_nodes(self, *numbers: int) -> None:
        """Have nodes with their instances."""
        for number in numbers:
            self.cloud.instances.put(instance(number))
        self.put(*(wire_node(number) for number in numbers))

    def watch(self) -> None:
        """Bring the caches up to the API, as the reflectors do."""
        self._watch("services", self.services, Service)
        self._watch("nodes", self.nodes, Node)

    def _watch(self, plural: str, store: Any, kind: type[Any]) -> None:
        seen = {one.key: one for one in store.values()}
        found: dict[str, Any] = {}
        for (kept_plural, namespace, name), wire in self.api.objects.kept.items():
            if kept_plural == plural:
                key = f"{namespace}/{name}" if namespace else name
                old, version = seen.get(key), wire["metadata"]["resourceVersion"]
                is_old = old is not None and old.metadata.resource_version == version
                found[key] = old if is_old else msgspec.convert(wire, kind)
        store.replace(found)

    def edit(self, name: str, body: dict[str, Any], namespace: str = "default") -> None:
        """Merge-patch a service as a user does."""
        self.api.patch("services", name, body, namespace)
        self.watch()

    def annotate(self, name: str, /, **annotations: str | None) -> None:
        """Set annotations of ours; `_` stands for `-`."""
        named = {BALANCER_PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
        self.edit(name, {"metadata": {"annotations": named}})

    def remove(self, name: str, namespace: str = "default") -> None:
        """Delete a service as a user does."""
        self.api.going("services", name, namespace)
        self.watch()

    # What happens

    async def sync(self, key: str = WEB) -> float | None:
        """Do one pass, and have the caches see what it wrote."""
        try:
            return await self.controller.reconcile(key)
        finally:
            self.watch()

    async def settle(self, *keys: str, rounds: int = 12) -> None:
        """Do passes over everything that is in the queue, as often as they ask for it."""
        queue = self.controller.queue
        for key in keys:
            queue.add(key)
        again: set[str] = set()
        for _ in range(rounds):
            for key in again:
                queue.add(key)
            again.clear()
            while len(queue):
                key = await queue.get()
                try:
                    if await self.controller.reconcile(key) is not None:
                        again.add(key)
                except (CloudError, KubeError):
                    again.add(key)
                finally:
                    queue.done(key)
                self.watch()
            if not again and not len(queue):
                return

    def nodes_settled(self) -> None:
        """Have the fleet's signal come, as it does once nodes are quiet."""
        self.controller.on_fleet()

    # What there is

    def wire(self, name: str = "web", namespace: str = "default") -> dict[str, Any]:
        found = self.api.get("services", name, namespace)
        assert found is not None
        return found

    def uid(self, name: str = "web", namespace: str = "default") -> str:
        return str(self.wire(name, namespace)["metadata"]["uid"])

    def finalizers(self, name: str = "web", namespace: str = "default") -> list[str]:
        return list(self.wire(name, namespace)["metadata"].get("finalizers") or [])

    def is_held(self, name: str = "web") -> bool:
        return FINALIZER in self.finalizers(name)

    def ingress(self, name: str = "web", namespace: str = "default") -> list[dict[str, Any]]:
        return list(self.wire(name, namespace)["status"].get("loadBalancer", {}).get("ingress") or [])

    def said(self, name: str = "web") -> dict[str, str]:
        """The annotations of ours, without the prefix."""
        own = self.wire(name)["metadata"].get("annotations") or {}
        return {key.removeprefix(BALANCER_PREFIX): text for key, text in own.items() if key.startswith(BALANCER_PREFIX)}

    def balancers(self) -> list[Balancer]:
        return list(self.cloud.balancers.all.values())

    @property
    def only(self) -> Balancer:
        (found,) = self.balancers()
        return found

    @property
    def kube_writes(self) -> int:
        return len(self.api.writes)

    def quiet(self) -> "Counts":
        """Count from here."""
        return Counts(self, len(self.cloud.writes), len(self.cloud.calls), len(self.api.writes), len(self.events.all))


@dataclass
class Counts:
    """What has happened since a moment."""

    rig: ServiceRig
    _cloud_writes: int
    _cloud_calls: int
    _kube_writes: int
    _events: int

    @property
    def cloud_writes(self) -> list[str]:
        return [point for point, _ in self.rig.cloud.writes[self._cloud_writes :]]

    @property
    def cloud_calls(self) -> list[str]:
        return [point for point, _ in self.rig.cloud.calls[self._cloud_calls :]]

    @property
    def kube_writes(self) -> list[Any]:
        return [one.body for one in self.rig.api.writes[self._kube_writes :]]

    @property
    def events(self) -> list[str]:
        return [reason for _, reason, _, _ in self.rig.events.all[self._events :]]


@asynccontextmanager
async def running_service_rig(*nodes: int) -> AsyncIterator[ServiceRig]:
    """Have a service controller, a platform, and nodes of these numbers."""
    clock = Clock()
    async with fake_api() as api, await open_client(master=api.url) as kube:
        rig = ServiceRig(api, kube, FakeCloud(clock=clock), clock)
        rig.add_nodes(*nodes)
        yield rig


async def made(rig: ServiceRig, **changed: object) -> None:
    """Have the service `web` with a load balancer that works."""
    rig.put(wire_service(**changed))  # type: ignore[arg-type]
    await rig.settle(WEB)
