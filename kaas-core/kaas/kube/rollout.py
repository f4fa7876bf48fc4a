"""Whether the workloads of a namespace are there, and if not, what a person would want to know."""

from collections.abc import Iterable, Sequence

from kaas.kube.client import Connection, path_of
from kaas.kube.wire import ContainerStatus, Pod, Workload

_MOST_PODS = 5
"""So many pods are named; the first ones tell what is wrong."""
_LONGEST_TEXT = 300
_ORDINARY = frozenset({"", "ContainerCreating", "PodInitializing"})


def deployment(one: Workload) -> str:
    """Say what a Deployment still lacks; empty when nothing."""
    want, has = (1 if one.spec.replicas is None else one.spec.replicas), one.status
    if has.observed_generation < one.metadata.generation:
        return "its controller has not seen it yet"
    if has.updated_replicas < want:
        return f"{has.updated_replicas} of {want} pods are of its newest version" + _stuck(one)
    if has.replicas > has.updated_replicas:
        return f"{has.replicas - has.updated_replicas} pods of its old version are still there"
    if has.available_replicas < want:
        return f"{has.available_replicas} of {want} pods are available" + _stuck(one)
    return ""


def daemon_set(one: Workload) -> str:
    """Say what a DaemonSet still lacks; empty when nothing."""
    has = one.status
    if has.observed_generation < one.metadata.generation:
        return "its controller has not seen it yet"
    want = has.desired_number_scheduled
    if one.spec.update_strategy.type != "OnDelete" and has.updated_number_scheduled < want:
        return f"{has.updated_number_scheduled} of {want} pods are of its newest version"
    if has.number_available < want:
        return f"{has.number_available} of {want} pods are available"
    return ""


def stateful_set(one: Workload) -> str:
    """Say what a StatefulSet still lacks; empty when nothing."""
    want, has = (1 if one.spec.replicas is None else one.spec.replicas), one.status
    if has.observed_generation < one.metadata.generation:
        return "its controller has not seen it yet"
    if has.ready_replicas < want:
        return f"{has.ready_replicas} of {want} pods are ready"
    if one.spec.update_strategy.type != "OnDelete" and has.updated_replicas < want:
        return f"{has.updated_replicas} of {want} pods are of its newest version"
    return ""


def stuck_pods(pods: Iterable[Pod]) -> list[str]:
    """Say of pods why they do not run, where they tell it themselves."""
    said = [f"pod {pod.metadata.where}: {why[:_LONGEST_TEXT]}" for pod in pods if (why := _why(pod))]
    return said[:_MOST_PODS]


async def missing(connection: Connection, namespace: str, *, deadline: float) -> Sequence[str]:
    """Give what is not there yet; empty when all is. Pods are looked at only if something is missing."""
    found: list[str] = []
    for plural, kind, lacks in (
        ("deployments", "Deployment", deployment),
        ("daemonsets", "DaemonSet", daemon_set),
        ("statefulsets", "StatefulSet", stateful_set),
    ):
        path = path_of("apis", "apps", "v1", "namespaces", namespace, plural)
        workloads = await connection.read_all(path, Workload, deadline=deadline)
        found += [f"{kind} {one.metadata.where}: {why}" for one in workloads if (why := lacks(one))]
    if found:
        pods = path_of("api", "v1", "namespaces", namespace, "pods")
        found += stuck_pods(await connection.read_all(pods, Pod, deadline=deadline))
    return found


def _stuck(one: Workload) -> str:
    for condition in one.status.conditions or ():
        if condition.type in {"ReplicaFailure", "Progressing"} and (condition.status == "True") == (
            condition.type == "ReplicaFailure"
        ):
            return f" ({(condition.message or condition.reason or '')[:_LONGEST_TEXT]})"
    return ""


def _why(pod: Pod) -> str:
    statuses: tuple[ContainerStatus, ...] = (
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    )
    for status in statuses:
        waiting = status.state.waiting
        if waiting is not None and (waiting.reason or "") not in _ORDINARY:
            return f"container {status.name} waits: {waiting.reason}" + (
                f": {waiting.message}" if waiting.message else ""
            )
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"it finds no node: {condition.message or condition.reason or ''}"
    return ""
