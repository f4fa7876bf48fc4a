"""Node objects: what they say about the machine behind them, and the removal of one taint."""

from dataclasses import dataclass

from csi.errors import CsiError, ErrorKind
from node.kube.api import Json, KubeApi, Subject, at, quoted, text

ZONE_LABEL = "topology.kubernetes.io/zone"
UNINITIALIZED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a Node; empty texts for what is no taint, so that places in the list stay what they are."""

    key: str
    effect: str = ""


@dataclass(frozen=True, slots=True)
class NodeObject:
    """What a Node object says about the machine behind it; empty texts where it says nothing."""

    provider_id: str = ""
    zone: str = ""
    taints: tuple[Taint, ...] = ()
    """In the order of the object."""
    is_unschedulable: bool = False
    is_being_deleted: bool = False

    @property
    def is_uninitialized(self) -> bool:
        """Whether the cloud controller manager has yet to set provider id and zone."""
        return self.has_taint(UNINITIALIZED_TAINT)

    def has_taint(self, key: str) -> bool:
        """Whether there is a taint of this key, with any effect."""
        return any(taint.key == key for taint in self.taints)


class KubeNodes:
    """Node objects of the cluster; errors as `KubeApi` raises them."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        """Read one Node. Raises CsiError PRECONDITION as well when the cluster has none of this name."""
        node = await self.find(name, deadline=deadline)
        if node is None:
            raise _missing(name)
        return node

    async def find(self, name: str, *, deadline: float) -> NodeObject | None:
        """Read one Node; None when the cluster has none of this name."""
        found = await self._api.get(_subject(name, "get"), deadline=deadline)
        return None if found is None else _read(found)

    async def remove_taint(self, name: str, node: NodeObject, key: str, *, deadline: float) -> bool:
        """Take every taint of this key from a Node, given as it was read.

        Gives False, and changes nothing, when its taints were changed meanwhile: read it again. Raises CsiError
        PRECONDITION when the Node is gone.
        """
        places = [place for place, taint in enumerate(node.taints) if taint.key == key]
        operations: list[Json] = []
        # From the end, so that the places of those before stay right. The tests keep a taint that has moved up, or the
        # list as somebody else has just written it, from being taken for ours.
        for place in reversed(places):
            operations.append({"op": "test", "path": f"/spec/taints/{place}/key", "value": key})
            operations.append({"op": "remove", "path": f"/spec/taints/{place}"})
        if not operations:
            return True
        is_done = await self._api.patch(_subject(name, "patch"), operations, deadline=deadline)
        if is_done is None:
            raise _missing(name)
        return is_done


def _subject(name: str, verb: str) -> Subject:
    return Subject(f"/api/v1/nodes/{quoted(name)}", f"node {name!r}", f"`{verb}` on nodes")


def _missing(name: str) -> CsiError:
    return CsiError(ErrorKind.PRECONDITION, f"the cluster has no node {name!r}; check --node-name (NODE_NAME)")


def _read(node: Json) -> NodeObject:
    taints = at(node, "spec", "taints")
    return NodeObject(
        provider_id=text(node, "spec", "providerID"),
        zone=text(node, "metadata", "labels", ZONE_LABEL),
        taints=tuple(Taint(text(taint, "key"), text(taint, "effect")) for taint in taints)
        if isinstance(taints, list)
        else (),
        is_unschedulable=at(node, "spec", "unschedulable") is True,
        is_being_deleted=bool(text(node, "metadata", "deletionTimestamp")),
    )
