"""Bodies of JSON merge patches (RFC 7386) for the single fields that a controller writes. Pure.

A list in a merge patch replaces the whole list. Where others write into it too (taints, finalizers) the patch must
carry the resource version that it was made from, so that the server refuses it when somebody else was faster.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ccm.kube.model import Ingress, NodeAddress, Taint

Body: TypeAlias = dict[str, Any]


def metadata(
    *,
    labels: Mapping[str, str | None] | None = None,
    annotations: Mapping[str, str | None] | None = None,
    finalizers: Sequence[str] | None = None,
    resource_version: str = "",
) -> Body:
    """Set labels and annotations (None takes one away), replace the finalizers; with a version, only if it still holds.

    What is left out stays as it is, and so do labels and annotations that are not named.
    """
    changes: Body = {}
    if labels:
        changes["labels"] = dict(labels)
    if annotations:
        changes["annotations"] = dict(annotations)
    if finalizers is not None:
        changes["finalizers"] = list(finalizers)
    if resource_version:
        changes["resourceVersion"] = resource_version
    return {"metadata": changes} if changes else {}


def with_finalizer(found: Sequence[str], finalizer: str) -> tuple[str, ...]:
    """Give the finalizers with this one; in their order, each once."""
    return tuple(found) if finalizer in found else (*found, finalizer)


def without_finalizer(found: Sequence[str], finalizer: str) -> tuple[str, ...]:
    """Give the finalizers without this one."""
    return tuple(one for one in found if one != finalizer)


def taints(wanted: Iterable[Taint]) -> Body:
    """Replace a node's taints; needs `metadata(resource_version=...)` merged in."""
    return {"spec": {"taints": msgspec.to_builtins(list(wanted))}}


def provider_id(wanted: str) -> Body:
    """Set a node's provider id, which the server takes once."""
    return {"spec": {"providerID": wanted}}


def addresses(wanted: Iterable[NodeAddress]) -> Body:
    """Replace a node's addresses; for the subresource `status`."""
    return {"status": {"addresses": msgspec.to_builtins(list(wanted))}}


def ingress(wanted: Iterable[Ingress]) -> Body:
    """Replace the points at which a service is reached, or take them away; for the subresource `status`."""
    points = [_point(one) for one in wanted]
    return {"status": {"loadBalancer": {"ingress": points or None}}}


def _point(one: Ingress) -> Body:
    point: Body = msgspec.to_builtins(one)
    if one.ports is not None:
        # The protocol is required, also where it is the usual one.
        point["ports"] = [msgspec.to_builtins(port) | {"protocol": port.protocol} for port in one.ports]
    return point


def merged(*bodies: Mapping[str, Any]) -> Body:
    """Make one patch of several that speak of different fields; raises ValueError where two speak of the same one."""
    result: Body = {}
    for body in bodies:
        _take_in(result, body, "")
    return result


def _take_in(result: Body, body: Mapping[str, Any], where: str) -> None:
    for key, value in body.items():
        at = f"{where}.{key}" if where else key
        if key not in result:
            result[key] = dict(value) if isinstance(value, Mapping) else value
        elif isinstance(value, Mapping) and isinstance(result[key], dict):
            result[key] = dict(result[key])
            _take_in(result[key], value, at)
        elif result[key] != value:
            raise ValueError(f"two parts of a patch set {at} to different values")
