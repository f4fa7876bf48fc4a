"""The image that clusters' machines boot from: the one of the test clusters, with this tree's programs in it as well.

Nothing is pulled from anywhere, so that whatever a cluster runs has to be on its machines already.
"""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.cluster import template
from tests.e2e.cluster.assets import Assets
from tests.e2e.cluster.machine_image import DATA, DESCRIPTION, ROOT


async def make(folder: Path, assets: Assets, archives: Sequence[Path]) -> Path:
    """Fill the folder with an image and give it: the root is the shared one's, containerd's data is our own copy.

    `archives` are of our programs' images. Raises AssetError.
    """
    await asyncio.to_thread(_copy, assets.machine_image, folder)
    runtime = folder / DATA["/var/lib/containerd"]
    await template.make_template(
        runtime, archives, containerd=assets.binaries["containerd"], ctr=assets.binaries["ctr"]
    )
    return folder


def _copy(image: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / ROOT).symlink_to(image / ROOT)
    shutil.copyfile(image / DESCRIPTION, folder / DESCRIPTION)
    for name in DATA.values():
        shutil.copytree(image / name, folder / name, symlinks=True)
