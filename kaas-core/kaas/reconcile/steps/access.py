"""How a step gets into a cluster: secrets, its API, its machines."""

from kaas.bootstrap.kubeadm import ClusterConfig, NodeConfig
from kaas.crypto.kubeconfig import conductor_access
from kaas.crypto.pki import Pki
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Node, Role
from kaas.domain.ports import KubeAccess, SshTarget
from kaas.domain.sealing import PKI, SSH_KEY, context_of
from kaas.reconcile.step import Work
from kaas.reconcile.steps.base import Recipe


async def put_secret(work: Work, kind: str, plaintext: bytes) -> None:
    """Seal a secret and store it."""
    sealed = await work.tools.sealed.seal(plaintext, context=context_of(work.snapshot.cluster.id, kind))
    await work.tools.store.put_secret(work.lease, kind, sealed)


async def secret(work: Work, kind: str) -> bytes | None:
    """Give a secret in the clear; None when there is none."""
    sealed = await work.tools.store.secret(work.lease, kind)
    if sealed is None:
        return None
    return await work.tools.sealed.open(sealed, context=context_of(work.snapshot.cluster.id, kind))


async def pki_of(work: Work) -> Pki:
    """Give the cluster's authorities."""
    content = await secret(work, PKI)
    if content is None:
        raise StepError(Code.BUG, "the cluster's PKI is not stored, though the step that makes it is done")
    return Pki.from_bytes(content)


async def kube_access(work: Work) -> KubeAccess:
    """Give access to the cluster's API, good for as long as a step may take."""
    cluster = work.snapshot.cluster
    if not cluster.endpoint:
        raise StepError(Code.API_SERVER_DOWN, "the cluster's API has no address yet")

    async def make() -> KubeAccess:
        return await conductor_access(await pki_of(work), cluster.endpoint)

    return await work.tools.accesses.to(cluster.id, cluster.endpoint, make)


async def ssh_target(work: Work, node: Node) -> SshTarget:
    """Give the way to a machine. Raises StepError when it has not told its host key."""
    private_key = await secret(work, SSH_KEY)
    if private_key is None:
        raise StepError(Code.BUG, "the cluster's SSH key is not stored, though the step that makes it is done")
    if not node.address or not node.ssh_host_key:
        raise StepError(Code.NODE_UNREACHABLE, f"{node.name}: its machine has not told its SSH host key")
    return SshTarget(node.address, node.ssh_host_key, private_key)


def node_of(work: Work, name: str) -> Node:
    """Give a node of the plan."""
    found = work.snapshot.node(name)
    if found is None:
        raise StepError(Code.BUG, f"the plan has node {name}, and the cluster does not")
    return found


def cluster_config(work: Work, recipe: Recipe) -> ClusterConfig:
    """Give what kubeadm is told of the cluster."""
    cluster = work.snapshot.cluster
    return ClusterConfig(
        name=cluster.name,
        version=cluster.spec.version,
        endpoint=cluster.endpoint,
        pod_cidr=cluster.spec.pod_cidr,
        service_cidr=cluster.spec.service_cidr,
        image_repository=recipe.image_repository,
        dns_image_tag=recipe.dns_image_tag,
        etcd_image_tag=recipe.etcd_image_tag,
        proxy_mode=recipe.proxy_mode,
        quirks=recipe.quirks,
    )


def node_config(work: Work, node: Node) -> NodeConfig:
    """Give what kubeadm is told of a node."""
    group = next(one for one in work.snapshot.cluster.spec.groups if one.name == node.group)
    return NodeConfig(
        name=node.name,
        address=node.address,
        control_plane=node.role is Role.CONTROL_PLANE,
        taints=group.taints or None,
        labels=group.labels,
    )
