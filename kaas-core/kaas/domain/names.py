"""Names and marks that clusters leave on things outside; deterministic, so that a lost answer can be looked up."""

import re

CLUSTER_LABEL = "kaas-cluster"
"""Label on everything outside that exists for a cluster; its value is the cluster's id."""
NODE_LABEL = "kaas-node"
ROLE_LABEL = "kaas-role"
FIELD_MANAGER = "kaas"
SYSTEM_NAMESPACE = "kaas-system"
CLUSTER_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
"""A DNS label, short enough for the names that are made from it."""
GROUP_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


def short(cluster_id: str) -> str:
    """Give the part of an id that names carry, since two tenants may have clusters of one name."""
    return cluster_id.replace("-", "")[:8]


def security_group(cluster: str) -> str:
    """Name a cluster's security group as the seed does."""
    return f"sg-{cluster}"


def key_pair(cluster: str, cluster_id: str) -> str:
    """Name a cluster's key pair; the platform wants names unique in a tenant."""
    return f"k8s-{cluster}-{short(cluster_id)}"


def endpoint(cluster: str, cluster_id: str) -> str:
    """Name the load balancer before a cluster's API."""
    return f"k8s-{cluster}-{short(cluster_id)}-api"


def credential(cluster: str, cluster_id: str) -> str:
    """Name a cluster's own access to the platform."""
    return f"k8s-{cluster}-{short(cluster_id)}"


def stem(cluster: str, group: str) -> str:
    """Give what the names of all nodes of a group begin with."""
    return f"{cluster}-{group}"


def node(cluster: str, group: str, number: int) -> str:
    """Name a node; numbers only grow."""
    return f"{stem(cluster, group)}-{number}"


def clusters_behind(text: str) -> frozenset[str]:
    """Give the names of all clusters that could have a group of this stem: every part that ends before a hyphen."""
    return frozenset(text[:place] for place, letter in enumerate(text) if letter == "-" and place)
