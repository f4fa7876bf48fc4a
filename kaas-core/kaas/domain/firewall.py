"""What a cluster's security group lets through: the documented table, as narrow as the cluster wants it. Pure."""

from kaas.domain.model import Access
from kaas.domain.ports import SELF, Rule

API_PORT = 6443
NODE_PORTS = (30000, 32767)
EVERYBODY = "0.0.0.0/0"
_ETCD = (2379, 2380)


def rules_of(access: Access) -> tuple[Rule, ...]:
    """Give the ingress rules of a cluster's security group.

    Its own machines always reach its API and each other, however narrow `access` is. What a platform needs besides
    (ARP, the way of conductors and load balancers to the machines) is the driver's to add.
    """
    inside = EVERYBODY if access.open_node_network else SELF
    return (
        *(Rule("tcp", API_PORT, API_PORT, source, "Kubernetes API") for source in _once(*access.api, SELF)),
        *(
            Rule(protocol, *NODE_PORTS, source, "services of type NodePort")
            for protocol in ("tcp", "udp")
            for source in _once(*access.node_ports, SELF)
        ),
        Rule("udp", 4789, 4789, inside, "VXLAN"),
        Rule("tcp", 179, 179, inside, "BGP"),
        Rule("tcp", 10250, 10250, inside, "kubelet"),
        Rule("tcp", *_ETCD, SELF, "etcd"),
    )


def _once(*sources: str) -> tuple[str, ...]:
    """Give the sources without those that another one holds already."""
    return (EVERYBODY,) if EVERYBODY in sources else tuple(dict.fromkeys(sources))
