"""Giving back what a cluster's inside has made on the platform, while those who can give it back still run."""

from collections.abc import Sequence

from kaas.kube.client import Connection, path_of
from kaas.kube.wire import Object, Pod, Service, Volume, Workload

_SERVICES = "/api/v1/services"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_PODS = "/api/v1/pods"
_STATEFUL_SETS = "/apis/apps/v1/statefulsets"
_DELETE = "Delete"


async def release(connection: Connection, *, volumes: bool, deadline: float) -> Sequence[str]:
    """Ask for the end of load balancers, and of claims with `volumes`, and say what is not gone yet.

    It does not wait: called again, it asks again for what came meanwhile and says what is left. A volume with another
    reclaim policy than Delete loses its claim, and is none of what goes.
    """
    left = await _load_balancers(connection, deadline=deadline)
    if volumes:
        left += await _claims(connection, deadline=deadline)
        left += await _volumes(connection, deadline=deadline)
    return left


async def disposable(connection: Connection, *, deadline: float) -> Sequence[str]:
    """Give the ids of the platform's volumes that may go with their claims: those with the reclaim policy Delete."""
    return [
        volume.spec.csi.volume_handle
        for volume in await connection.read_all(_VOLUMES, Volume, deadline=deadline)
        if volume.spec.csi is not None and volume.spec.persistent_volume_reclaim_policy == _DELETE
    ]


async def _load_balancers(connection: Connection, *, deadline: float) -> list[str]:
    left = []
    for service in await connection.read_all(_SERVICES, Service, deadline=deadline):
        if service.spec.type != "LoadBalancer":
            continue
        meta = service.metadata
        if not meta.deletion_timestamp:
            path = path_of("api", "v1", "namespaces", meta.namespace, "services", meta.name)
            await connection.delete(path, uid=meta.uid, deadline=deadline)
        left.append(f"Service {meta.where}: its load balancer is being deleted")
    return left


async def _claims(connection: Connection, *, deadline: float) -> list[str]:
    claims = await connection.read_all(_CLAIMS, Object, deadline=deadline)
    if not claims:
        return []
    # Who makes claims goes first, or a claim that is deleted comes back.
    for one in await connection.read_all(_STATEFUL_SETS, Workload, deadline=deadline):
        meta = one.metadata
        if one.spec.volume_claim_templates and not meta.deletion_timestamp:
            path = path_of("apis", "apps", "v1", "namespaces", meta.namespace, "statefulsets", meta.name)
            await connection.delete(path, uid=meta.uid, background=True, deadline=deadline)
    for claim in claims:
        meta = claim.metadata
        if not meta.deletion_timestamp:
            path = path_of("api", "v1", "namespaces", meta.namespace, "persistentvolumeclaims", meta.name)
            await connection.delete(path, uid=meta.uid, deadline=deadline)
    await _delete_users(connection, {(one.metadata.namespace, one.metadata.name) for one in claims}, deadline=deadline)
    return [f"PersistentVolumeClaim {one.metadata.where}: it is being deleted" for one in claims]


async def _delete_users(connection: Connection, claims: set[tuple[str, str]], *, deadline: float) -> None:
    """Delete the pods that mount claims: a claim stays as long as one runs, and none starts with one that goes."""
    for pod in await connection.read_all(_PODS, Pod, deadline=deadline):
        meta = pod.metadata
        mounted = {
            (meta.namespace, volume.persistent_volume_claim.claim_name)
            for volume in pod.spec.volumes or ()
            if volume.persistent_volume_claim is not None
        }
        if mounted & claims and not meta.deletion_timestamp:
            path = path_of("api", "v1", "namespaces", meta.namespace, "pods", meta.name)
            await connection.delete(path, uid=meta.uid, deadline=deadline)


async def _volumes(connection: Connection, *, deadline: float) -> list[str]:
    return [
        f"PersistentVolume {volume.metadata.name}: the platform's volume is being deleted ({volume.status.phase})"
        for volume in await connection.read_all(_VOLUMES, Volume, deadline=deadline)
        if volume.spec.csi is not None and volume.spec.persistent_volume_reclaim_policy == _DELETE
    ]
