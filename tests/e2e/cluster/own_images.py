"""The images of this tree: built as `make image` does on a local base, and given to every node."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from devcloud import commands
from tests.e2e.cluster import platform
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.overlays import REPOSITORY
from tests.e2e.cluster.site import Site

TAG = "0.1.0"
"""As the manifests have it."""
_PROGRAMS = ("controller", "node", "ccm")
"""What runs inside of clusters."""
_BASE_S = 900.0
"""Two roots from Debian's packages, and all wheels; done at once when they are there."""
_IMAGE_S = 300.0


async def build(folder: Path) -> Sequence[Path]:
    """Build the images and give them as archives. Raises ClusterError."""
    await _made("scripts/image-base", timeout_s=_BASE_S)
    bases = ("localhost/thecloud-base", "localhost/thecloud-build")
    await _made("scripts/image", *bases, f"thecloud-kubernetes:{TAG}", *_PROGRAMS)
    archives = []
    for program in _PROGRAMS:
        image = f"localhost/thecloud-kubernetes-{program}:{TAG}"
        archive = folder / f"{program}.tar"
        archive.unlink(missing_ok=True)
        await _made("buildah", "push", "--quiet", image, f"docker-archive:{archive}:{image}")
        archives.append(archive)
    return archives


async def build_for(cluster: Path) -> Sequence[Path]:
    """Build the images into a folder beside that of a cluster, where the next one finds what has not changed."""
    folder = cluster.with_name(f"{cluster.name}-images")
    folder.mkdir(mode=0o700, exist_ok=True)
    return await build(folder)


async def load(site: Site, archives: Sequence[Path]) -> None:
    """Give every node the images. Raises ClusterError."""

    async def load_one(node: str, archive: Path) -> None:
        data = await asyncio.to_thread(archive.read_bytes)
        await platform.run(site, node, "ctr", "-n", "k8s.io", "images", "import", "-", stdin=data, timeout_s=_IMAGE_S)

    async with asyncio.TaskGroup() as group:
        for node in site.nodes:
            for archive in archives:
                group.create_task(load_one(node, archive))


async def _made(*argv: str, timeout_s: float = _IMAGE_S) -> None:
    done = await commands.run(("env", "--chdir", str(REPOSITORY), *argv), timeout_s=timeout_s)
    if done.exit_code != 0:
        raise ClusterError(f"{' '.join(argv)} ended with {done.exit_code}: {done.complaint}")
