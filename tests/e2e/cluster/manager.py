"""Our cloud controller manager on a cluster of this host, by the shipped manifests; nodes wait for it to be usable."""

import asyncio
from pathlib import Path

from ccm.names import UNINITIALIZED_TAINT
from tests.e2e.cluster import overlays
from tests.e2e.cluster.credentials import CLUSTER_ID, MANAGER_NAMESPACE, give_credentials
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site

NAME = "thecloud-ccm"
_ROLLOUT_S = 120.0
_INITIALISED_S = 60.0
_LOOK_S = 0.3


async def install(site: Site, *, overlay: str = "devcloud") -> None:
    """Apply the manifests and wait until every node is initialised. Raises ClusterError."""
    await give_credentials(site, MANAGER_NAMESPACE)
    await Kubectl(site).run("apply", "--validate=strict", "-k", str(write_overlay(site, overlay)), timeout_s=120)
    await ready(site)


async def ready(site: Site) -> None:
    """Wait until it is available and no node waits for it any more. Raises ClusterError."""
    kube = Kubectl(site)
    words = ("-n", MANAGER_NAMESPACE, f"--timeout={_ROLLOUT_S:g}s")
    await kube.run("rollout", "status", f"deployment/{NAME}", *words, timeout_s=_ROLLOUT_S + 10)
    try:
        async with asyncio.timeout(_INITIALISED_S):
            while missing := await uninitialised(kube):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise ClusterError(f"not initialised by the cloud controller manager: {', '.join(missing)}") from None


async def uninitialised(kube: Kubectl) -> list[str]:
    """Give the nodes that still carry the taint."""
    return [
        node["metadata"]["name"]
        for node in await kube.items("nodes")
        if any(taint["key"] == UNINITIALIZED_TAINT for taint in node["spec"].get("taints", ()))
    ]


def write_overlay(site: Site, overlay: str) -> Path:
    """Write this machine's overlay on top of a shipped one and give its folder."""
    values = {"TC_PLATFORM_URL": site.inner_url, "TC_CLUSTER_ID": CLUSTER_ID}
    patch = overlays.environment(f"Deployment/{MANAGER_NAMESPACE}/{NAME}", "manager", values)
    return overlays.write(site, f"overlay-ccm-{overlay}", base=f"ccm/overlays/{overlay}", patches=[patch])
