"""The APIs of the simulated clusters."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import SELF, KubeAccess, KubeNode
from kaas.drivers.simulator.faults import Rule
from kaas.drivers.simulator.records import Balancer, Brain, Machine, NodeObject, SecurityGroup, Volume
from kaas.drivers.simulator.world import World
from kaas.kube.addons.marks import ADDON_LABEL

Answer = TypeVar("Answer")
ADMINS = frozenset({"kubeadm:cluster-admins", "system:masters"})
_CCM = ("ccm", "cloud-controller")
_CNI = ("calico", "flannel", "cilium", "bridge", "cni")


class SimulatedKube:
    """A `Kube`: answers while etcd has a quorum behind the address, to certificates of the cluster's own CA only."""

    def __init__(self, world: World, *, refused: Callable[[KubeAccess], None] = lambda _: None) -> None:
        self._world = world
        self._refused = refused

    async def is_ready(self, access: KubeAccess, *, deadline: float) -> bool:
        """Tell whether it answers."""
        return not await self.readiness(access, deadline=deadline)

    async def readiness(self, access: KubeAccess, *, deadline: float) -> str:
        """Say why it does not answer."""
        try:
            await self._call("readyz", access, "", lambda _: None, deadline=deadline)
        except StepError as error:
            if error.code is Code.API_SERVER_DOWN:
                return error.message
            raise
        return ""

    async def nodes(self, access: KubeAccess, *, deadline: float) -> Sequence[KubeNode]:
        """Give the nodes."""

        def act(brain: Brain) -> list[KubeNode]:
            if brain.has(*_CCM) and any(not node.initialised for node in brain.nodes.values()):
                for node in brain.nodes.values():
                    node.initialised = True
                self._world.ground.put(brain)
            return [self._seen(brain, name, node) for name, node in sorted(brain.nodes.items())]

        return await self._call("nodes", access, "", act, deadline=deadline)

    async def apply(self, access: KubeAccess, objects: Sequence[Mapping[str, object]], *, deadline: float) -> None:
        """Remember the objects."""

        def act(brain: Brain) -> None:
            for item in objects:
                brain.objects[_key(item)] = {"apiVersion": item.get("apiVersion"), "addon": _addon_of(item)}
            self._world.ground.put(brain)

        what = ",".join(sorted({str(item.get("kind")) for item in objects}))
        await self._call("apply", access, what, act, deadline=deadline)

    async def prune(
        self, access: KubeAccess, addon: str, objects: Sequence[Mapping[str, object]], *, deadline: float
    ) -> Sequence[str]:
        """Forget objects of an addon that are no part of it any more."""

        def act(brain: Brain) -> list[str]:
            kept = {_key(item) for item in objects}
            gone = [key for key, one in brain.objects.items() if one.get("addon") == addon and key not in kept]
            for key in gone:
                del brain.objects[key]
            self._world.ground.put(brain)
            return gone

        return await self._call("prune", access, addon, act, deadline=deadline)

    async def rolled_out(self, access: KubeAccess, namespace: str, *, deadline: float) -> Sequence[str]:
        """Give what is not there yet."""

        def act(brain: Brain) -> list[str]:
            if any(self._seen(brain, name, node).ready for name, node in brain.nodes.items()):
                return list(brain.not_rolled_out)
            return [f"no node of {namespace} is Ready"]

        return await self._call("rolled_out", access, namespace, act, deadline=deadline)

    async def create_bootstrap_token(self, access: KubeAccess, token: str, *, ttl_s: float, deadline: float) -> None:
        """Make a token."""

        def act(brain: Brain) -> None:
            brain.tokens[token] = self._world.clock() + ttl_s
            self._world.ground.put(brain)

        await self._call("create_bootstrap_token", access, "", act, deadline=deadline)

    async def delete_bootstrap_tokens(self, access: KubeAccess, *, deadline: float) -> None:
        """Remove all tokens."""

        def act(brain: Brain) -> None:
            brain.tokens.clear()
            self._world.ground.put(brain)

        await self._call("delete_bootstrap_tokens", access, "", act, deadline=deadline)

    async def drain(self, access: KubeAccess, node: str, *, deadline: float) -> Sequence[str]:
        """Cordon, and evict what lets itself be evicted."""

        def act(brain: Brain) -> list[str]:
            if (found := brain.nodes.get(node)) is None:
                return []
            found.schedulable = False
            self._world.ground.put(brain)
            return [f"pod default/stuck on {node}: its budget allows no disruption"] if node in brain.stuck_pods else []

        return await self._call("drain", access, node, act, deadline=deadline)

    async def delete_node(self, access: KubeAccess, node: str, *, deadline: float) -> None:
        """Delete a Node object."""

        def act(brain: Brain) -> None:
            brain.nodes.pop(node, None)
            self._world.ground.put(brain)

        await self._call("delete_node", access, node, act, deadline=deadline)

    async def disposable_volumes(self, access: KubeAccess, *, deadline: float) -> Sequence[str]:
        """Give the volumes of claims, without those that are to be kept."""

        def act(brain: Brain) -> list[str]:
            goes = set(brain.claims) - set(brain.retained)
            return [one.id for one in self._world.ground.all(Volume, cluster=brain.cluster) if one.name in goes]

        return await self._call("disposable_volumes", access, "", act, deadline=deadline)

    async def release_outside(self, access: KubeAccess, *, volumes: bool, deadline: float) -> Sequence[str]:
        """Delete Services and claims; what they have outside goes only while drivers run and have their credential."""

        def act(brain: Brain) -> list[str]:
            works = any(self._seen(brain, name, node).ready for name, node in brain.nodes.items())
            left = []
            if works and brain.has(*_CCM):
                self._let_go(Balancer, brain, brain.services)
                brain.services.clear()
            left += [f"Service {name}: its load balancer is still there" for name in brain.services]
            if volumes:
                if works and brain.has("csi"):
                    self._let_go(Volume, brain, [name for name in brain.claims if name not in brain.retained])
                    brain.claims.clear()
                left += [f"PersistentVolumeClaim {name}: its volume is still there" for name in brain.claims]
            self._world.ground.put(brain)
            return left

        return await self._call("release_outside", access, "", act, deadline=deadline)

    def _let_go(self, kind: type[Balancer] | type[Volume], brain: Brain, names: Sequence[str]) -> None:
        for name in names:
            for thing in self._world.ground.all(kind, cluster=brain.cluster, name=name):
                self._world.ground.remove(thing)

    def _seen(self, brain: Brain, name: str, node: NodeObject) -> KubeNode:
        machine, now, timing = self._world.machine(node.machine_id), self._world.clock(), self._world.timing
        message = ""
        if machine is None or ((down := machine.down_since()) is not None and now >= down + timing.node_grace_s):
            message = "kubelet stopped posting node status"
        elif not (brain.has(*_CNI) or any(path.startswith("/etc/cni/net.d/") for path in machine.files)):
            message = "container runtime network not ready: cni plugin not initialized"
        elif not self._is_let_in(machine):
            message = "the security group does not let the node's own network through"
        elif now < node.joined_at + timing.node_ready_s:
            message = "kubelet is starting"
        return KubeNode(
            name=name,
            ready=not message,
            provider_id=f"thecloud:///{node.machine_id}" if node.initialised else "",
            schedulable=node.schedulable,
            initialised=node.initialised,
            version=node.version,
            message=message,
        )

    def _is_let_in(self, machine: Machine) -> bool:
        group = self._world.ground.get(SecurityGroup, machine.security_group_id)
        return group is not None and (
            machine.address in group.members or not any(source == SELF for _, _, _, source in group.rules)
        )

    async def _call(
        self, method: str, access: KubeAccess, what: str, act: Callable[[Brain], Answer], *, deadline: float
    ) -> Answer:
        host = urlsplit(access.server).hostname or ""

        def through(_: Rule | None) -> Answer:
            found = self._world.server(host)
            if found is None:
                raise StepError(Code.API_SERVER_DOWN, f"{access.server}: nothing answers")
            if problem := _problem(access, found[1], self._world.clock()):
                self._refused(access)
                raise StepError(Code.API_SERVER_DOWN, f"{access.server}: {problem}")
            return act(found[1])

        return await self._world.call(f"kube.{method}", what or host, through, deadline=deadline)


def _key(item: Mapping[str, object]) -> str:
    metadata = item.get("metadata")
    found = metadata if isinstance(metadata, Mapping) else {}
    return f"{item.get('kind')}/{found.get('namespace', '')}/{found.get('name', '')}"


def _addon_of(item: Mapping[str, object]) -> object:
    metadata = item.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return labels.get(ADDON_LABEL) if isinstance(labels, Mapping) else None


def _problem(access: KubeAccess, brain: Brain, now: float) -> str:
    if access.ca_pem.strip() != brain.ca_pem.strip():
        return "its certificate is not one of the CA that is asked for"
    try:
        authority = x509.load_pem_x509_certificate(brain.ca_pem)
        client = x509.load_pem_x509_certificate(access.client_cert_pem)
        client.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        return f"the client's certificate is not one of the cluster's CA ({type(error).__name__})"
    if not client.not_valid_before_utc <= datetime.fromtimestamp(now, UTC) <= client.not_valid_after_utc:
        return "the client's certificate is not valid now"
    groups = {str(one.value) for one in client.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    return "" if groups & ADMINS else f"the client's groups {sorted(groups)} may do nothing"
