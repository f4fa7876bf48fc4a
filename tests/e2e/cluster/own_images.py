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
_IMAGE_S = 300.0


async def build(folder: Path) -> Sequence[Path]:
    """Build the images and give them as archives. Raises ClusterError."""
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


async def load(site: Site, archives: Sequence[Path]) -> None:
    """Give every node the images. Raises ClusterError."""

    async def load_one(node: str, archive: Path) -> None:
        data = await asyncio.to_thread(archive.read_bytes)
        await platform.run(site, node, "ctr", "-n", "k8s.io", "images", "import", "-", stdin=data, timeout_s=_IMAGE_S)

    async with asyncio.TaskGroup() as group:
        for node in site.nodes:
            for archive in archives:
                group.create_task(load_one(node, archive))


async def _made(*argv: str) -> None:
    done = await commands.run(("env", "--chdir", str(REPOSITORY), *argv), timeout_s=_IMAGE_S)
    if done.exit_code != 0:
        raise ClusterError(f"{' '.join(argv)} ended with {done.exit_code}: {done.complaint}")
