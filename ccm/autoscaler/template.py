"""What a new node of a group will look like, as a serialised Kubernetes Node."""

from collections.abc import Mapping

from ccm.autoscaler.model import GROUP_LABEL, NodeGroup
from ccm.names import OLD_REGION_LABEL, OLD_TYPE_LABEL, OLD_ZONE_LABEL, REGION_LABEL, TYPE_LABEL, ZONE_LABEL
from ccm.pb import kubernetes_parts_pb2 as k8s

_CONDITIONS = {
    "Ready": "True",
    "MemoryPressure": "False",
    "DiskPressure": "False",
    "PIDPressure": "False",
    "NetworkUnavailable": "False",
}
_PODS = "110"
"""Most pods on a node unless the template says otherwise: the kubelet's own default."""


def template_node(group: NodeGroup) -> bytes:
    """Give the Node that a new machine of the group becomes, as a simulation of the scheduler needs it."""
    template = group.template
    name = f"{group.name}-template"
    capacity = {"pods": _PODS, **template.capacity}
    node = k8s.Node(
        metadata=k8s.ObjectMeta(name=name, labels={**_labels(group, name), **template.labels}),
        spec=k8s.NodeSpec(
            taints=[k8s.Taint(key=one.key, value=one.value, effect=one.effect) for one in template.taints]
        ),
        status=k8s.NodeStatus(
            capacity=_quantities(capacity),
            allocatable=_quantities({**capacity, **template.allocatable}),
            conditions=[k8s.NodeCondition(type=kind, status=status) for kind, status in _CONDITIONS.items()],
        ),
    )
    return node.SerializeToString(deterministic=True)


def _labels(group: NodeGroup, name: str) -> Mapping[str, str]:
    """Give the labels that every node of the group gets from the kubelet and the node controller."""
    template = group.template
    labels = {
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        GROUP_LABEL: group.name,
        TYPE_LABEL: template.instance_type,
        OLD_TYPE_LABEL: template.instance_type,
    }
    if template.zone:
        labels |= {ZONE_LABEL: template.zone, OLD_ZONE_LABEL: template.zone}
    if template.region:
        labels |= {REGION_LABEL: template.region, OLD_REGION_LABEL: template.region}
    return labels


def _quantities(amounts: Mapping[str, str]) -> dict[str, k8s.Quantity]:
    return {resource: k8s.Quantity(string=amount) for resource, amount in amounts.items()}
