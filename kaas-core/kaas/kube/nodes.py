"""Node objects: what is looked at, cordon, end."""

from collections.abc import Sequence

from kaas.domain.ports import KubeNode
from kaas.kube.client import MERGE_PATCH, Connection, path_of
from kaas.kube.errors import RefusedError
from kaas.kube.wire import Condition, Node

NODES = "/api/v1/nodes"
UNINITIALISED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"
_LONGEST_TEXT = 300


def seen(node: Node) -> KubeNode:
    """Give the part of a Node that is looked at."""
    ready = next((one for one in node.status.conditions or () if one.type == "Ready"), None)
    is_ready = ready is not None and ready.status == "True"
    return KubeNode(
        name=node.metadata.name,
        ready=is_ready,
        provider_id=node.spec.provider_id,
        schedulable=not node.spec.unschedulable,
        initialised=all(taint.key != UNINITIALISED_TAINT for taint in node.spec.taints or ()),
        version=node.status.node_info.kubelet_version,
        message="" if is_ready else _why(ready),
    )


async def read_nodes(connection: Connection, *, deadline: float) -> Sequence[KubeNode]:
    """Give all nodes by name."""
    found = await connection.read_all(NODES, Node, deadline=deadline)
    return sorted((seen(node) for node in found), key=lambda node: node.name)


async def cordon(connection: Connection, name: str, *, deadline: float) -> bool:
    """Let no further pod on a node; False when there is no such node."""
    body = {"spec": {"unschedulable": True}}
    path = NODES + path_of(name)
    try:
        await connection.request("PATCH", path, body=body, content_type=MERGE_PATCH, deadline=deadline)
    except RefusedError as error:
        if error.is_missing:
            return False
        raise
    return True


async def delete_node(connection: Connection, name: str, *, deadline: float) -> None:
    """Delete the Node that is there now, and no other that may take its name meanwhile; none is no error."""
    path = NODES + path_of(name)
    node = await connection.read(path, Node, deadline=deadline)
    if node is not None:
        await connection.delete(path, uid=node.metadata.uid, deadline=deadline)


def _why(ready: Condition | None) -> str:
    if ready is None:
        return "its kubelet has not reported yet"
    return (ready.message or ready.reason or f"Ready is {ready.status}")[:_LONGEST_TEXT]
