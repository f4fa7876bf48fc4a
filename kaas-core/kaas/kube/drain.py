"""Emptying a node: cordon, then evictions, which the API refuses as long as a disruption budget does not allow them."""

import asyncio
from collections.abc import Sequence

from kaas.domain.errors import StepError
from kaas.kube import nodes
from kaas.kube.client import Connection, path_of
from kaas.kube.errors import CONFLICT, TOO_MANY_REQUESTS, RefusedError
from kaas.kube.wire import Pod

_PODS = "/api/v1/pods"
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = frozenset({"Succeeded", "Failed"})


def stays(pod: Pod) -> bool:
    """Whether a pod is left alone: it ends with the node, or has ended already."""
    meta = pod.metadata
    is_daemon = any(owner.kind == "DaemonSet" and owner.controller for owner in meta.owner_references or ())
    return is_daemon or _MIRROR in (meta.annotations or {}) or pod.status.phase in _ENDED


async def drain(connection: Connection, node: str, *, pause_s: float, deadline: float) -> Sequence[str]:
    """Cordon a node and evict its pods until none is left or the time is up; give what is left, as sentences.

    Pods of DaemonSets, mirror pods and ended ones are no concern. A node that is not there is empty.
    """
    if not await nodes.cordon(connection, node, deadline=deadline):
        return ()
    clock = asyncio.get_running_loop().time
    left: Sequence[str] | None = None
    while True:
        try:
            left = await _evict_all(connection, node, deadline=deadline)
        except StepError:
            # The time was up in the middle of a round; what the one before saw is the answer.
            if left is None or clock() < deadline:
                raise
            return left
        # The pause comes out of the caller's time too, and so does the round after it.
        if not left or clock() + 2 * pause_s >= deadline:
            return left
        await asyncio.sleep(pause_s)


async def _evict_all(connection: Connection, node: str, *, deadline: float) -> Sequence[str]:
    query = {"fieldSelector": f"spec.nodeName={node}"}
    pods = await connection.read_all(_PODS, Pod, query=query, deadline=deadline)
    going = [pod for pod in pods if not stays(pod)]
    return [why for pod in going if (why := await _evict(connection, pod, deadline=deadline))]


async def _evict(connection: Connection, pod: Pod, *, deadline: float) -> str:
    """Evict a pod, and say why it is still there; empty when it is not."""
    meta = pod.metadata
    if meta.deletion_timestamp:
        return f"pod {meta.where}: it is ending, since {meta.deletion_timestamp}"
    path = path_of("api", "v1", "namespaces", meta.namespace, "pods", meta.name, "eviction")
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta.name, "namespace": meta.namespace},
        # One of the same name may run elsewhere by now.
        "deleteOptions": {"preconditions": {"uid": meta.uid}},
    }
    try:
        await connection.request("POST", path, body=body, waits_if_told=False, deadline=deadline)
    except RefusedError as error:
        if error.is_missing or error.status == CONFLICT:
            return ""
        if error.status == TOO_MANY_REQUESTS:
            return f"pod {meta.where}: its disruption budget does not allow the eviction: {error.detail}"
        raise
    return f"pod {meta.where}: it is ending"
