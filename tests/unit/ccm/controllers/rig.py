"""What the node controllers run on in tests: a real HTTP API server and a platform in memory, on a set clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ccm.controllers.node_ports import NoMetrics
from ccm.kube.client import KubeClient, open_client
from ccm.kube.model import Node
from ccm.kube.store import Store
from ccm.model import Instance, InstanceState
from ccm.names import UNINITIALIZED_TAINT
from tests.support.fake_api import FakeApi, fake_api
from tests.support.fake_api_faults import Request
from tests.support.fake_cloud import FakeCloud

NEW = {"key": UNINITIALIZED_TAINT, "value": "true", "effect": "NoSchedule"}


def iid(number: int) -> str:
    """The id of the instance of this number."""
    return f"{number:08x}-0000-4000-a000-{number:012d}"


def ip_of(number: int) -> str:
    return f"10.0.{number // 250}.{number % 250 + 1}"


def instance(number: int, state: InstanceState = InstanceState.RUNNING, **changed: Any) -> Instance:
    values = {
        "id": iid(number),
        "name": f"n{number}",
        "hostname": f"n{number}",
        "state": state,
        "private_addresses": (ip_of(number),),
        "zone": "zone-a",
        "region": "region-1",
        "instance_type": "basic-2",
    }
    return Instance(**{**values, **changed})


def wire_node(
    number: int,
    *,
    ready: str = "True",
    provider_id: str | None = None,
    taints: list[dict[str, str]] | None = None,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    addresses: list[dict[str, str]] | None = None,
    name: str = "",
    pod_cidrs: list[str] | None = None,
    conditions: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """A Node as it stands in the API; with an instance unless `provider_id` is empty."""
    provider_id = f"thecloud://{iid(number)}" if provider_id is None else provider_id
    reported = [{"type": "InternalIP", "address": ip_of(number)}, {"type": "Hostname", "address": f"n{number}"}]
    spec: dict[str, Any] = {"taints": taints} if taints else {}
    spec |= {"providerID": provider_id} if provider_id else {}
    spec |= {"podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs} if pod_cidrs else {}
    status = [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}] if ready else []
    return {
        "kind": "Node",
        "metadata": {"name": name or f"n{number}", "annotations": annotations or {}, "labels": labels or {}},
        "spec": spec,
        "status": {
            "addresses": reported if addresses is None else addresses,
            "conditions": [*status, *(conditions or [])],
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        },
    }


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Said:
    """Events as (type, reason, node, message)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str, str]] = []

    def normal(self, obj: Node, reason: str, message: str) -> None:
        self.all.append(("Normal", reason, obj.metadata.name, message))

    def warning(self, obj: Node, reason: str, message: str) -> None:
        self.all.append(("Warning", reason, obj.metadata.name, message))

    def reasons(self, name: str = "") -> list[str]:
        return [reason for _, reason, node, _ in self.all if name in ("", node)]


class Counted(NoMetrics):
    """What was counted."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.stopped: list[str] = []
        self.ages_s: list[float] = []

    def node_initialized(self, age_s: float) -> None:
        self.ages_s.append(age_s)

    def node_written(self, what: str) -> None:
        self.written.append(what)

    def deletions_stopped(self, reason: str) -> None:
        self.stopped.append(reason)


@dataclass
class Rig:
    api: FakeApi
    kube: KubeClient
    cloud: FakeCloud
    clock: Clock
    store: Store[Node] = field(default_factory=Store[Node])
    events: Said = field(default_factory=Said)
    metrics: Counted = field(default_factory=Counted)

    def put(self, *wires: dict[str, Any]) -> None:
        """Have nodes in the API, and the cache as new as that."""
        for wire in wires:
            self.api.put(wire)
        self.watch()

    def watch(self) -> None:
        """Bring the cache up to the API, as the reflector does."""
        nodes = [msgspec.convert(wire, Node) for wire in self.api.all_of("nodes")]
        self.store.replace({node.key: node for node in nodes})

    def wire(self, number: int) -> dict[str, Any] | None:
        return self.api.get("nodes", f"n{number}")

    def taints(self, number: int) -> list[str]:
        wire = self.wire(number)
        assert wire is not None
        return [taint["key"] for taint in wire["spec"].get("taints") or []]

    def names(self) -> set[str]:
        return {wire["metadata"]["name"] for wire in self.api.all_of("nodes")}

    def set_ready(self, number: int, ready: str) -> None:
        wire = self.wire(number)
        assert wire is not None
        others = [one for one in wire["status"]["conditions"] if one["type"] != "Ready"]
        wire["status"]["conditions"] = [*others, {"type": "Ready", "status": ready}]
        self.put(wire)

    @property
    def writes(self) -> list[Request]:
        return self.api.writes


@asynccontextmanager
async def running_rig() -> AsyncIterator[Rig]:
    clock = Clock()
    async with fake_api() as api, await open_client(master=api.url) as kube:
        yield Rig(api, kube, FakeCloud(clock=clock), clock)


def in_time(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds
