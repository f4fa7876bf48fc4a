"""Applying a set of objects: in an order in which each finds what it needs, and taking away what is no longer in it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from kaas.domain.errors import Code, StepError
from kaas.kube.addons.marks import ADDON_LABEL
from kaas.kube.client import METADATA_ONLY, Connection, path_of
from kaas.kube.discovery import Discovery, Resource
from kaas.kube.wire import Crd, Object

Manifest = Mapping[str, object]
_CRD = "CustomResourceDefinition"
_LOOK_S = 0.1
_RANKS = (
    frozenset({"Namespace"}),
    frozenset({_CRD}),
    frozenset({"ServiceAccount", "Role", "ClusterRole"}),
    frozenset({"RoleBinding", "ClusterRoleBinding"}),
)
_LAST = frozenset({"Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob", "Pod"})
"""What starts pods comes when their settings are there, or the first start fails."""
_NEVER_PRUNED = frozenset({"Namespace", _CRD})
"""With them goes what users have put there."""
_PRUNED = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "StatefulSet"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("scheduling.k8s.io/v1", "PriorityClass"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("storage.k8s.io/v1", "CSIDriver"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    ("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass"),
)
"""Kinds that addons are made of; those of the objects at hand are looked through too."""


def ordered(objects: Iterable[Manifest]) -> list[Manifest]:
    """Put objects in order: Namespaces, CRDs, roles, bindings, the rest, workloads; within a rank as they came."""
    return sorted(objects, key=_rank)


def name_of(manifest: Manifest) -> str:
    """Give the name of an object. Raises StepError (ADDON_FAILED) when it has none."""
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name or not manifest.get("kind") or not manifest.get("apiVersion"):
        raise StepError(
            Code.ADDON_FAILED,
            f"a manifest of kind {manifest.get('kind')!r} cannot be applied: it needs apiVersion, kind and a name",
        )
    return name


def namespace_of(manifest: Manifest) -> str:
    """Give the namespace that an object names; empty when it names none."""
    metadata = manifest.get("metadata")
    found = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, str) else ""


def what_of(manifest: Manifest) -> str:
    """Give kind, namespace and name of an object, for a person."""
    namespace = namespace_of(manifest)
    return (
        f"{manifest.get('kind')} {namespace}/{name_of(manifest)}"
        if namespace
        else (f"{manifest.get('kind')} {name_of(manifest)}")
    )


async def apply(connection: Connection, objects: Sequence[Manifest], *, deadline: float) -> None:
    """Apply all objects; new kinds are waited for before the first object that may be of them.

    Raises StepError: the objects before the one that it names are applied.
    """
    places = Discovery(connection, deadline=deadline)
    waiting: list[str] = []
    for manifest in ordered(objects):
        if waiting and manifest["kind"] != _CRD:
            await _established(connection, waiting, deadline=deadline)
            places.forget()
            waiting.clear()
        resource = await _place(places, manifest)
        path = resource.path(name_of(manifest), namespace_of(manifest) or "default")
        await connection.apply(path, manifest, what=what_of(manifest), deadline=deadline)
        if manifest["kind"] == _CRD:
            waiting.append(name_of(manifest))
    if waiting:
        await _established(connection, waiting, deadline=deadline)


async def prune(connection: Connection, addon: str, objects: Sequence[Manifest], *, deadline: float) -> Sequence[str]:
    """Delete what carries the label of an addon and is not among its objects, and give what was deleted.

    Namespaces and CRDs stay, because what users have put there would go with them.
    """
    places = Discovery(connection, deadline=deadline)
    kept: dict[Resource, set[tuple[str, str]]] = {}
    for api_version, kind in _PRUNED:
        if resource := await places.find(api_version, kind):
            kept.setdefault(resource, set())
    for manifest in objects:
        if manifest.get("kind") not in _NEVER_PRUNED:
            resource = await _place(places, manifest)
            namespace = (namespace_of(manifest) or "default") if resource.is_namespaced else ""
            kept.setdefault(resource, set()).add((namespace, name_of(manifest)))
    gone = []
    for resource, names in kept.items():
        query = {"labelSelector": f"{ADDON_LABEL}={addon}"}
        found = await connection.read_all(resource.path(), Object, query=query, accept=METADATA_ONLY, deadline=deadline)
        for one in found:
            meta = one.metadata
            if (meta.namespace, meta.name) in names:
                continue
            path = resource.path(meta.name, meta.namespace)
            if await connection.delete(path, uid=meta.uid, background=True, deadline=deadline):
                gone.append(f"{resource.kind} {meta.where}")
    return gone


async def _place(places: Discovery, manifest: Manifest) -> Resource:
    name_of(manifest)
    return await places.resource(str(manifest["apiVersion"]), str(manifest["kind"]))


async def _established(connection: Connection, names: Sequence[str], *, deadline: float) -> None:
    clock = asyncio.get_running_loop().time
    for name in names:
        path = path_of("apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions", name)
        while True:
            found = await connection.read(path, Crd, deadline=deadline)
            conditions = {one.type: one for one in (found and found.status.conditions) or ()}
            established, accepted = conditions.get("Established"), conditions.get("NamesAccepted")
            if established and established.status == "True":
                break
            is_refused = accepted is not None and accepted.status == "False"
            if is_refused or clock() + _LOOK_S >= deadline:
                seen = (accepted.message if accepted and is_refused else "") or "it is not Established yet"
                raise StepError(Code.ADDON_FAILED, f"{connection.what('GET', path)}: the kind is not served: {seen}")
            await asyncio.sleep(_LOOK_S)


def _rank(manifest: Manifest) -> int:
    kind = str(manifest.get("kind"))
    for rank, kinds in enumerate(_RANKS):
        if kind in kinds:
            return rank
    return len(_RANKS) + (kind in _LAST)
