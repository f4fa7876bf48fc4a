"""The network of pods.

- bridge: a bridge on each node with addresses of a range that the platform routes to the machine, as devcloud does.
  There is nothing to install into the cluster: each node gets its own file (`bridge_conflist`).
- flannel: VXLAN; the objects are made here, the images are the operator's choice.
- calico, cilium: not part of this project. The operator supplies the manifests of the version that they want to run;
  without them a cluster with such a network is refused. A text `${KAAS_POD_CIDR}` in them becomes the cluster's range.
- none: whoever makes the cluster installs a network, and nodes are not ready before.
"""

import ipaddress
import json
from collections.abc import Mapping

from kaas.domain.errors import Code, Problem, StepError
from kaas.domain.model import Cni
from kaas.domain.ports import RemoteFile
from kaas.kube.addons import flannel
from kaas.kube.addons.marks import Manifest, filled, labelled
from kaas.kube.addons.settings import AddonSettings

ADDON = "cni"
BRIDGE_CONFLIST = "/etc/cni/net.d/10-pods.conflist"
"""Where a node's file of the bridge goes."""
POD_CIDR_MARK = "${KAAS_POD_CIDR}"
_SUPPLIED = frozenset({Cni.CALICO, Cni.CILIUM})
NAMESPACES: Mapping[Cni, str] = {
    Cni.FLANNEL: flannel.NAMESPACE,
    Cni.CALICO: "kube-system",
    Cni.CILIUM: "kube-system",
}
"""Where the workloads of a network are; the others have none."""


def cni_problem(settings: AddonSettings, cni: Cni) -> Problem | None:
    """Say why clusters with a network cannot be made here; None when they can."""
    if _is_offered(settings, cni):
        return None
    offered = ", ".join(one for one in Cni if _is_offered(settings, one))
    lacks = (
        "has named no images for it"
        if cni is Cni.FLANNEL
        else ("has configured no manifests for it, and it is not part of this service")
    )
    return Problem("cni", f"{cni} is not offered here: the service's operator {lacks}; offered are {offered}")


def cni_objects(settings: AddonSettings, cni: Cni, *, pod_cidr: str) -> list[Manifest]:
    """Give the objects of a network; none for bridge and none. Raises StepError (NOT_OFFERED)."""
    if problem := cni_problem(settings, cni):
        raise StepError(Code.NOT_OFFERED, problem.message)
    if cni is Cni.FLANNEL and settings.flannel is not None:
        return labelled(ADDON, flannel.objects(settings.flannel, pod_cidr=pod_cidr))
    given = settings.cni_manifests.get(cni, ()) if cni in _SUPPLIED else ()
    return labelled(ADDON, filled(list(given), {POD_CIDR_MARK: pod_cidr}))


def bridge_conflist(pod_range: str) -> RemoteFile:
    """Give the file of a node whose pods have addresses of `pod_range`; nothing is hidden behind the node's address.

    Raises StepError (BUG) for what is no range.
    """
    try:
        subnet = str(ipaddress.ip_network(pod_range))
    except ValueError as error:
        raise StepError(Code.BUG, f"the pods' range of a node is {pod_range!r}, which is none: {error}") from error
    content = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return RemoteFile(json.dumps(content, indent=2).encode(), mode=0o644)


def _is_offered(settings: AddonSettings, cni: Cni) -> bool:
    if cni in _SUPPLIED:
        return bool(settings.cni_manifests.get(cni))
    return cni is not Cni.FLANNEL or settings.flannel is not None
