"""The image of machines, in the form that devcloud starts instances from: root folder, data folders, and their list."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.e2e.cluster import template
from tests.e2e.cluster.binaries import KUBERNETES_VERSION, tool_of
from tests.e2e.cluster.cache import Artefact, Cache, digest
from tests.e2e.cluster.debian import System
from tests.e2e.cluster.images import images_artefact
from tests.e2e.cluster.rootfs import make_rootfs, rootfs_key

_SOURCE = Path(__file__).read_bytes()
ROOT = "root"
DESCRIPTION = "image.json"
DATA = {"/var/lib/containerd": "containerd"}
"""Which folder of the image each machine gets its own copy of, by its path in the machine.

The root is a layer of an overlay, and containerd cannot keep its own overlays on one.
"""


def machine_image_artefact(system: Artefact) -> Artefact:
    """Give the folder in the cache for the image made from that Debian system."""
    key = digest(
        rootfs_key(system),
        images_artefact(system).key,
        *(tool_of(program).artefact.key for program in ("containerd", "ctr")),
        template.SOURCE,
        _SOURCE,
    )
    return Artefact("machine-images", f"kubernetes-{KUBERNETES_VERSION}", key)


async def obtain_machine_image(
    cache: Cache, *, system: System, binaries: Mapping[str, Path], images: Mapping[str, Path]
) -> Path:
    """Give the folder of the image, making it where the cache has none. Raises AssetError."""
    make = partial(_make, system=system, binaries=binaries, images=images)
    return await cache.obtain(machine_image_artefact(system.artefact), make)


async def _make(folder: Path, *, system: System, binaries: Mapping[str, Path], images: Mapping[str, Path]) -> None:
    await make_rootfs(folder / ROOT, system, binaries)
    runtime = folder / DATA["/var/lib/containerd"]
    runtime.mkdir(mode=0o711)
    programs = {"containerd": binaries["containerd"], "ctr": binaries["ctr"]}
    archives = sorted(set(images.values()))
    await template.make_template(runtime, archives, **programs)
    await template.check_template(runtime, images, **programs)
    (folder / DESCRIPTION).write_text(json.dumps({"data": DATA}, indent=2) + "\n", encoding="utf-8")
