"""By what the things of one cluster are told from everything else on the platform. Pure.

Instances have labels, load balancers and volumes of the extended tier have tags, security groups have a description.
API keys and SSH keys have nothing but a name, which holds a part of the cluster's id.
"""

import hashlib
import re
from collections.abc import Mapping

from kaas.domain.errors import Code, StepError
from kaas.domain.names import CLUSTER_LABEL, CLUSTER_NAME, short
from kaas.domain.ports import External

CSI_TAG = "csi.thecloud.io/cluster"
"""On volumes that a cluster's CSI driver has made."""
CCM_TAG = "kubernetes.io/cluster"
"""On load balancers that a cluster's cloud controller manager has made."""

_DESCRIPTION = f"{CLUSTER_LABEL}="
_DIGEST_DIGITS = 8


def description_of(cluster_id: str) -> str:
    """Give the description by which a security group is a cluster's."""
    return _DESCRIPTION + cluster_id


def cluster_of_description(description: str) -> str:
    """Give the cluster that a description names; empty when it is not one of ours."""
    return description.removeprefix(_DESCRIPTION) if description.startswith(_DESCRIPTION) else ""


def is_name_of(name: str, cluster_id: str) -> bool:
    """Tell whether a name is one that only this cluster gives: `k8s-<cluster>-<part of its id>`."""
    head, _, tail = name.rpartition("-")
    return (
        bool(cluster_id)
        and tail == short(cluster_id)
        and head.startswith("k8s-")
        and CLUSTER_NAME.fullmatch(head[len("k8s-") :]) is not None
    )


def volume_prefix(name_prefix: str, cluster_id: str) -> str:
    """Give the start of the names that a cluster's CSI driver gives to its volumes."""
    digest = hashlib.sha256(f"cluster\0{cluster_id}".encode()).hexdigest()
    return f"{name_prefix}-{digest[:_DIGEST_DIGITS]}-"


def is_port_balancer_of(name: str, cluster_id: str) -> bool:
    """Tell whether a load balancer of the strict tier was named by a cluster's cloud controller manager."""
    return bool(cluster_id) and re.fullmatch(re.escape(cluster_id) + r"\.[A-Za-z0-9-]+\.[0-9]{1,5}", name) is not None


def check_labels(external: External, labels: Mapping[str, str]) -> str:
    """Give the cluster whose label or tag an object carries.

    Raises StepError when there is none, or another than `external` says.
    """
    return check(external, labels.get(CLUSTER_LABEL, ""))


def check(external: External, found: str) -> str:
    """Give `found`, the cluster that an object is marked with; raises StepError when it is not the one expected."""
    if not found or external.cluster_id not in ("", found):
        seen = f"it carries that of cluster {found}" if found else "it carries none"
        whose = f"the mark of cluster {external.cluster_id}" if external.cluster_id else "the mark of a cluster"
        raise not_ours(external, f"{whose} is expected, and {seen}")
    return found


def not_ours(external: External, seen: str) -> StepError:
    """Give the error for something that is left alone because it is not known to be the cluster's."""
    return StepError(
        Code.PLATFORM_REFUSED,
        f"{external.kind} {external.name!r} ({external.id}) is left as it is: {seen}; look at who made it",
    )
