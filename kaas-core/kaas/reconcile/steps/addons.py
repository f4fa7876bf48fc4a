"""What is installed into a cluster: its network, access by role, the cloud controller manager and the CSI driver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kaas.domain.errors import Code, StepError
from kaas.domain.model import Cluster, ClusterSpec
from kaas.kube.addons import ccm, cni, csi, rbac
from kaas.kube.addons.platform import PlatformAccess
from kaas.kube.addons.settings import AddonSettings
from kaas.reconcile.step import Work
from kaas.reconcile.steps.access import kube_access
from kaas.reconcile.steps.base import BaseStep
from kaas.reconcile.steps.ground import credential_of

Objects = Sequence[Mapping[str, object]]
SYSTEM = "kube-system"


class Addons(Protocol):
    """Gives the objects of addons. Raises StepError."""

    def network(self, spec: ClusterSpec) -> Objects:
        """Give the pod network."""
        ...

    def access(self) -> Objects:
        """Give what the groups in issued certificates may do."""
        ...

    def cloud(self, cluster: Cluster, api_key: str) -> Objects:
        """Give the cloud controller manager."""
        ...

    def storage(self, cluster: Cluster, api_key: str) -> Objects:
        """Give the CSI driver with its StorageClass."""
        ...

    def namespaces(self, spec: ClusterSpec) -> Sequence[str]:
        """Give where workloads are that a cluster needs to be called ready."""
        ...


@dataclass(frozen=True, slots=True)
class ShippedAddons:
    """The project's own manifests. `url` is the platform's, as machines reach it."""

    settings: AddonSettings
    url: str
    ca_pem: bytes = field(default=b"", repr=False)

    def network(self, spec: ClusterSpec) -> Objects:
        """Give the pod network; nothing for those that are not installed into the cluster."""
        return cni.cni_objects(self.settings, spec.cni, pod_cidr=spec.pod_cidr)

    def access(self) -> Objects:
        """Give the bindings."""
        return rbac.role_objects()

    def cloud(self, cluster: Cluster, api_key: str) -> Objects:
        """Give the cloud controller manager."""
        nodes = sum(group.size for group in cluster.spec.groups)
        return ccm.ccm_objects(self.settings, self._platform(cluster, api_key), nodes=nodes)

    def storage(self, cluster: Cluster, api_key: str) -> Objects:
        """Give the CSI driver."""
        return csi.csi_objects(self.settings, self._platform(cluster, api_key), version=cluster.spec.version)

    def namespaces(self, spec: ClusterSpec) -> Sequence[str]:
        """Give the namespaces of all of them."""
        network = cni.NAMESPACES.get(spec.cni, SYSTEM)
        return tuple(dict.fromkeys((SYSTEM, network, ccm.NAMESPACE, csi.NAMESPACE)))

    def _platform(self, cluster: Cluster, api_key: str) -> PlatformAccess:
        return PlatformAccess(url=self.url, cluster_id=cluster.id, api_key=api_key, ca_pem=self.ca_pem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon(BaseStep):
    """The objects of an addon are applied; that they run is for `Ready` to see, when there are nodes for them."""

    addons: Addons
    prunes: str = ""
    """Name of the addon whose objects of an earlier version are taken away; empty where there can be none."""

    async def objects(self, work: Work) -> Objects:
        """Give what is applied."""
        raise NotImplementedError

    async def apply(self, work: Work) -> None:
        """Apply them, which changes nothing where they are as they should be."""
        objects = await self.objects(work)
        if not objects:
            return
        access = await kube_access(work)
        await work.tools.kube.apply(access, objects, deadline=work.deadline)
        if self.prunes:
            await work.tools.kube.prune(access, self.prunes, objects, deadline=work.deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Addon):
    """The pod network."""

    async def objects(self, work: Work) -> Objects:
        """Give its objects."""
        return self.addons.network(work.snapshot.cluster.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles(Addon):
    """What kubeconfigs may do."""

    async def objects(self, work: Work) -> Objects:
        """Give its objects."""
        return self.addons.access()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud(Addon):
    """The cloud controller manager, with the cluster's own access to the platform."""

    async def objects(self, work: Work) -> Objects:
        """Give its objects."""
        return self.addons.cloud(work.snapshot.cluster, await _api_key(work))


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage(Addon):
    """The CSI driver, with the cluster's own access to the platform."""

    async def objects(self, work: Work) -> Objects:
        """Give its objects."""
        return self.addons.storage(work.snapshot.cluster, await _api_key(work))


async def _api_key(work: Work) -> str:
    secret = (await credential_of(work)).get("secret")
    if not secret:
        raise StepError(Code.BUG, "the cluster's access to the platform is not stored, though its step is done")
    return secret
