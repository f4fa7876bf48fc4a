"""Changing a node without losing what others change at the same time: compute, patch with preconditions, read again."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ccm.controllers.node_ports import NodeClient
from ccm.kube.errors import ApiError
from ccm.kube.kinds import NODES
from ccm.kube.model import Node, Taint
from ccm.kube.patch import merged

_ATTEMPTS = 5

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edited:
    """A node as it is after an edit."""

    node: Node
    is_written: bool


async def edit(
    kube: NodeClient, node: Node, change: Callable[[Node], Body | None], *, subresource: str = "", deadline: float
) -> Edited | None:
    """Patch a node by what `change` makes of its newest state; None from it means there is nothing to do.

    The patch holds only if the node is as `change` saw it: a list (taints) is replaced whole, so a taint that somebody
    adds meanwhile would be lost. Gives the node as it is afterwards, None when it is gone or another one has its name.
    Raises KubeError.
    """
    current: Node | None = node
    for attempt in range(_ATTEMPTS):
        if current is None or current.metadata.uid != node.metadata.uid:
            return None
        body = change(current)
        if body is None:
            return Edited(current, is_written=False)
        name = current.metadata.name
        try:
            body = _guarded(body, current)
            after = await kube.patch(NODES, name, subresource=subresource, body=body, deadline=deadline)
        except ApiError as failure:
            if not failure.is_conflict or attempt == _ATTEMPTS - 1:
                raise
        else:
            return None if after is None else Edited(after, is_written=True)
        current = await kube.get(NODES, name, deadline=deadline)
    return None


def with_taint(node: Node, taint: Taint) -> tuple[Taint, ...] | None:
    """Give a node's taints with this one more; None when it has it."""
    if any(one.key == taint.key and one.effect == taint.effect for one in node.taints):
        return None
    return (*node.taints, taint)


def without_taint(node: Node, key: str) -> tuple[Taint, ...] | None:
    """Give a node's taints without any of this key; None when there is none."""
    rest = tuple(one for one in node.taints if one.key != key)
    return rest if len(rest) != len(node.taints) else None


def loop_time() -> float:
    """Give the running loop's time, which deadlines are measured in."""
    return asyncio.get_running_loop().time()


def _guarded(body: Body, node: Node) -> dict[str, Any]:
    guard = {"metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version}}
    return merged(body, guard)
