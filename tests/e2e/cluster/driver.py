"""Our driver on a cluster of this host: the shipped manifests, nothing else.

The overlay written here adds only what differs from machine to machine: where the platform listens and keeps its disks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from csi.driver import DRIVER_NAME
from tests.e2e.cluster import inventory, overlays
from tests.e2e.cluster.assets import Assets
from tests.e2e.cluster.credentials import CLUSTER_ID, NAMESPACE, give_credentials
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site

_ROLLOUT_S = 180.0
_REGISTERED_S = 60.0


async def install(site: Site, assets: Assets, *, overlay: str = "devcloud") -> None:
    """Apply the manifests and wait until the driver serves on every node. Raises ClusterError."""
    await install_prerequisites(site, assets)
    await Kubectl(site).run("apply", "--validate=strict", "-k", str(write_overlay(site, overlay)), timeout_s=120)
    await ready(site)


async def install_prerequisites(site: Site, assets: Assets) -> None:
    """Give the cluster what an administrator does before the driver: CRDs, namespace, Secret. Raises ClusterError."""
    kube = Kubectl(site)
    files = [word for file in sorted(assets.snapshot_crds.glob("*.yaml")) for word in ("-f", str(file))]
    await kube.run("apply", *files)
    await kube.run("wait", "--for=condition=Established", "--timeout=30s", *files)
    if not _before(site).exists():
        _before(site).write_text("\n".join(sorted(await inventory.names(kube))))
    await give_credentials(site, NAMESPACE)


def cluster_before(site: Site) -> frozenset[str]:
    """Give what `inventory.names` said before the driver was there for the first time."""
    return frozenset(_before(site).read_text().splitlines())


def _before(site: Site) -> Path:
    return site.folder / "before-the-driver"


async def ready(site: Site) -> None:
    """Wait until every program of the driver is available and every node has registered it."""
    kube = Kubectl(site)
    words = ("-n", NAMESPACE, f"--timeout={_ROLLOUT_S:g}s")
    for what in ("daemonset/thecloud-csi-node", "deployment/thecloud-csi-controller"):
        await kube.run("rollout", "status", what, *words, timeout_s=_ROLLOUT_S + 10)
    try:
        async with asyncio.timeout(_REGISTERED_S):
            while missing := set(site.nodes) - {node for node, count in (await registered(kube)).items() if count}:
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise ClusterError(f"the driver is not registered, or without a count, on {', '.join(missing)}") from None


async def registered(kube: Kubectl) -> Mapping[str, int]:
    """Give the nodes whose CSINode has the driver, with the count of volumes that it offers (0: none told)."""
    found = {}
    for one in await kube.items("csinodes"):
        for driver in one["spec"].get("drivers") or ():
            if driver["name"] == DRIVER_NAME:
                found[one["metadata"]["name"]] = int((driver.get("allocatable") or {}).get("count", 0))
    return found


def write_overlay(
    site: Site, overlay: str, *, components: Sequence[str] = ("snapshot-controller",), platform_url: str = ""
) -> Path:
    """Write this machine's overlay on top of a shipped one, with further components, and give its folder.

    `platform_url` replaces the address at which the machines reach the platform.
    """
    controller = {"TC_PLATFORM_URL": platform_url or site.inner_url, "TC_CLUSTER_ID": CLUSTER_ID}
    return overlays.write(
        site,
        "-".join(("overlay", overlay, *components)),
        base=f"overlays/{overlay}",
        components=[f"components/{name}" for name in components],
        patches=[
            overlays.environment(f"Deployment/{NAMESPACE}/thecloud-csi-controller", "csi-driver", controller),
            overlays.environment(f"DaemonSet/{NAMESPACE}/thecloud-csi-node", "csi-driver", node_settings(site)),
        ],
    )


def node_settings(site: Site) -> Mapping[str, str]:
    """Give what the node plugins of this machine's cluster have to be told."""
    return {"TC_LOOP_DISK_DIR": str(site.cloud_dir / "disks"), "TC_MAX_VOLUMES": str(site.max_volumes)}
