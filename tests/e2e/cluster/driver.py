"""Our driver on a cluster of this host: its images into every node, the shipped manifests, nothing else.

The overlay written here adds only what differs from machine to machine: where the platform listens and keeps its disks.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csi.driver import DRIVER_NAME
from devcloud import commands
from tests.e2e.cluster import inventory, platform
from tests.e2e.cluster.assets import Assets
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site

NAMESPACE = "thecloud-system"
SECRET = "thecloud-api-credentials"
CLUSTER_ID = "e2e"
REPOSITORY = Path(__file__).resolve().parents[3]
TAG = "0.1.0"
"""As the manifests have it."""
_PROGRAMS = ("controller", "node")
_IMAGE_S = 300.0
_ROLLOUT_S = 180.0
_REGISTERED_S = 60.0


async def build_images(folder: Path) -> Sequence[Path]:
    """Build the images as `make image` does on a local base, and give them as archives. Raises ClusterError."""
    await _made("scripts/image-base")
    bases = ("localhost/thecloud-base", "localhost/thecloud-build")
    await _made("scripts/image", *bases, f"thecloud-kubernetes:{TAG}")
    archives = []
    for program in _PROGRAMS:
        image = f"localhost/thecloud-kubernetes-{program}:{TAG}"
        archive = folder / f"{program}.tar"
        archive.unlink(missing_ok=True)
        await _made("buildah", "push", "--quiet", image, f"docker-archive:{archive}:{image}")
        archives.append(archive)
    return archives


async def load_images(site: Site, archives: Sequence[Path]) -> None:
    """Give every node the images. Raises ClusterError."""

    async def load(node: str, archive: Path) -> None:
        data = await asyncio.to_thread(archive.read_bytes)
        await platform.run(site, node, "ctr", "-n", "k8s.io", "images", "import", "-", stdin=data, timeout_s=_IMAGE_S)

    async with asyncio.TaskGroup() as group:
        for node in site.nodes:
            for archive in archives:
                group.create_task(load(node, archive))


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
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    await kube.apply(_secret(site.api_key()))


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
    folder = site.folder / "-".join(("overlay", overlay, *components))
    folder.mkdir(exist_ok=True)
    kustomization: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(Path("..") / _relative(REPOSITORY / "deploy/overlays" / overlay, site.folder))],
        "components": [
            str(Path("..") / _relative(REPOSITORY / "deploy/components" / name, site.folder)) for name in components
        ],
        "patches": [
            _environment(
                "Deployment",
                "thecloud-csi-controller",
                {"TC_PLATFORM_URL": platform_url or site.inner_url, "TC_CLUSTER_ID": CLUSTER_ID},
            ),
            _environment("DaemonSet", "thecloud-csi-node", node_settings(site)),
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=2))
    return folder


def node_settings(site: Site) -> Mapping[str, str]:
    """Give what the node plugins of this machine's cluster have to be told."""
    return {"TC_LOOP_DISK_DIR": str(site.cloud_dir / "disks"), "TC_MAX_VOLUMES": str(site.max_volumes)}


def _environment(kind: str, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    container = {"name": "csi-driver", "env": [{"name": key, "value": value} for key, value in values.items()]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return {"patch": json.dumps(patch)}


def _relative(path: Path, start: Path) -> str:
    # kustomize takes no absolute path for a resource.
    up = len(start.resolve().parts) - 1
    return "/".join([".."] * up) + str(path)


def _secret(key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "stringData": {"api-key": key},
    }


async def _made(*argv: str) -> None:
    done = await commands.run(("env", "--chdir", str(REPOSITORY), *argv), timeout_s=_IMAGE_S)
    if done.exit_code != 0:
        raise ClusterError(f"{' '.join(argv)} ended with {done.exit_code}: {done.complaint}")
