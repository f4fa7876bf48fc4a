"""Finds out which instance of the platform this host is, and in which zone.

CSI 1.13, NodeGetInfo; platform contract 25.2, first row: the id is the instance's UUID where a source knows it, else
the host name, which the controller maps to an instance. Not here: reading the Node object (`kube`).
"""

import asyncio
import json
import logging
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from csi.errors import CsiError, ErrorKind
from csi.validate import MAX_NODE_ID_BYTES
from node.kube.nodes import UNINITIALIZED_TAINT, NodeObject

_LOG = logging.getLogger(__name__)

PROVIDER_PREFIX = "thecloud://"
INSTANCE_DATA = Path("run/cloud-init/instance-data.json")
DMI_UUID = Path("sys/class/dmi/id/product_uuid")
KUBE_LIMIT_S = 5.0
"""Of each question to the cluster's API."""
ZONE_PAUSE_S = 10.0
"""How long an answer without a zone holds: kubelets ask every few seconds, in clusters without zones for ever."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLACEHOLDER_UUIDS = frozenset(
    {
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
"""What boards report whose maker never set a UUID."""
_MAY_PASS = frozenset({ErrorKind.TIMEOUT, ErrorKind.UNKNOWN_OUTCOME})
_ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this host is, and which source said so."""

    node_id: str
    node_id_source: str
    zone: str
    """Empty when no source knows a zone."""
    zone_source: str


class NodeObjects(Protocol):
    """Reads Node objects; `kube.nodes.KubeNodes`."""

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        """Read one Node. Raises CsiError."""
        ...


class NodeIdentities:
    """Asks the sources in order until they tell id and zone; a failure is asked again at the next question.

    The kubelet asks once, when the plugin registers, and keeps the answer. So no answer is better than one that lacks
    what the cluster is about to know: pods would be kept from this node, or get volumes that it cannot reach.
    """

    def __init__(
        self,
        *,
        node_id: str = "",
        zone: str = "",
        node_name: str = "",
        nodes: NodeObjects | None = None,
        use_dmi: bool = False,
        root: Path = Path("/"),
        host_name: Callable[[], str] = socket.gethostname,
        zone_pause_s: float = ZONE_PAUSE_S,
    ) -> None:
        """Take the sources.

        `node_id`, `zone`: settings that outrule everything; `nodes` with `node_name`: the cluster's Node object;
        `use_dmi`: trust the firmware's UUID; `root`: where run/ and sys/ of the host are.
        """
        self._node_id = node_id
        self._zone = zone
        self._node_name = node_name
        self._nodes = nodes
        self._use_dmi = use_dmi
        self._root = root
        self._host_name = host_name
        self._zone_pause_s = zone_pause_s
        self._asked_at = 0.0
        self._known: NodeIdentity | None = None
        self._asking = asyncio.Lock()

    async def resolve(self, *, deadline: float) -> NodeIdentity:
        """Give this host's identity.

        Raises CsiError PRECONDITION when the Node belongs to another platform, or when no usable source is left;
        UNKNOWN_OUTCOME while the cluster's API does not answer or the Node is not initialised; TimeoutError at the
        deadline.
        """
        async with asyncio.timeout_at(deadline), self._asking:
            now = asyncio.get_running_loop().time()
            # A zone may still be given to the Node.
            if self._known is None or (not self._known.zone and now >= self._asked_at + self._zone_pause_s):
                found = await self._ask(deadline)
                self._asked_at = now
                if found != self._known:
                    _LOG.info(
                        "this node is %s (from %s), zone %s (from %s)",
                        found.node_id,
                        found.node_id_source,
                        found.zone or "unknown",
                        found.zone_source,
                    )
                self._known = found
            return self._known

    async def check(self, *, deadline: float) -> None:
        """Return if this host's identity could be told at least once; raises as `resolve`.

        For probes, which come every few seconds and need not ask a cluster without zones each time.
        """
        if self._known is None:
            await self.resolve(deadline=deadline)

    async def _ask(self, deadline: float) -> NodeIdentity:
        if self._node_id and self._zone:
            return NodeIdentity(self._node_id, "setting", self._zone, "setting")
        node = await self._node_object(deadline)
        cloud_init = await asyncio.to_thread(_cloud_init, self._root / INSTANCE_DATA)
        node_id, id_source = await self._choose_id(node, cloud_init)
        zone, zone_source = self._choose_zone(node, cloud_init)
        return NodeIdentity(node_id, id_source, zone, zone_source)

    async def _node_object(self, deadline: float) -> NodeObject:
        if self._nodes is None or not self._node_name:
            return NodeObject()
        until = min(deadline, asyncio.get_running_loop().time() + KUBE_LIMIT_S)
        try:
            node = await self._nodes.get(self._node_name, deadline=until)
        except CsiError as error:
            if error.kind in _MAY_PASS:
                raise CsiError(
                    ErrorKind.UNKNOWN_OUTCOME,
                    f"instance and zone of this host are not known yet: {error.message}. Ask again; where the "
                    "cluster's API cannot be reached from pods, set --node-id and --zone.",
                ) from error
            # A refusal stays one; the other sources name the same instance, so it is not worth not starting.
            _LOG.warning("the Node object cannot be read, going on without it: %s", error.message)
            return NodeObject()
        if node.is_uninitialized:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"node {self._node_name!r} still has the taint {UNINITIALIZED_TAINT}: the cloud controller manager has "
                "not set its provider id and zone yet. Ask again; if it stays, look at the cloud controller manager.",
            )
        return node

    async def _choose_id(self, node: NodeObject, cloud_init: dict[str, str]) -> tuple[str, str]:
        if self._node_id:
            return self._node_id, "setting"
        if node.provider_id:
            return _instance_of(node.provider_id, self._node_name), "Node.spec.providerID"
        if _is_instance_uuid(cloud_init["instance_id"]):
            return cloud_init["instance_id"].lower(), "cloud-init"
        if self._use_dmi:
            uuid = (await asyncio.to_thread(_first_line, self._root / DMI_UUID)).lower()
            if _is_instance_uuid(uuid):
                return uuid, "DMI product UUID"
        name = self._node_name or self._host_name()
        if not name or name == "localhost" or len(name.encode()) > MAX_NODE_ID_BYTES:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"no source says which instance this host is, and its name {name[:80]!r} does not tell it from others. "
                "Set --node-id, or the kubelet's --provider-id.",
            )
        return name, "Node name" if self._node_name else "host name"

    def _choose_zone(self, node: NodeObject, cloud_init: dict[str, str]) -> tuple[str, str]:
        for zone, source in (
            (self._zone, "setting"),
            (node.zone, "Node label"),
            (cloud_init["availability_zone"], "cloud-init"),
        ):
            if zone and _ZONE.fullmatch(zone):
                return zone, source
            if zone:
                _LOG.warning("zone %r (from %s) is no valid topology value and is ignored", zone[:80], source)
        return "", "no source"


def _instance_of(provider_id: str, node_name: str) -> str:
    instance = provider_id.removeprefix(PROVIDER_PREFIX).lower()
    if not provider_id.startswith(PROVIDER_PREFIX) or not _is_instance_uuid(instance):
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"node {node_name!r} has the provider id {provider_id[:120]!r}; {PROVIDER_PREFIX}<instance UUID> is "
            "needed. This node is not an instance of The Cloud, or its kubelet was started with another platform's id.",
        )
    return instance


def _is_instance_uuid(text: str) -> bool:
    return bool(_UUID.fullmatch(text.lower())) and text.lower() not in _PLACEHOLDER_UUIDS


def _cloud_init(path: Path) -> dict[str, str]:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        data = None  # no cloud-init on this host, or not visible in this container
    section = data.get("v1") if isinstance(data, dict) else None
    facts = section if isinstance(section, dict) else {}
    return {
        key: value if isinstance(value := facts.get(key), str) else "" for key in ("instance_id", "availability_zone")
    }


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""
