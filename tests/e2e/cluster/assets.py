"""Everything that a Kubernetes cluster on this machine is made from, made once and found in the cache afterwards.

`python -m tests.e2e.cluster.assets` makes it and says what it does; `prepare` is for tests.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.binaries import obtain_binaries, obtain_snapshot_crds
from tests.e2e.cluster.cache import Cache, Report
from tests.e2e.cluster.debian import obtain_system
from tests.e2e.cluster.errors import AssetError
from tests.e2e.cluster.images import obtain_images
from tests.e2e.cluster.machine_image import obtain_machine_image
from tests.support.cache import cache_folder

UNUSED_DAYS = 7


@dataclass(frozen=True, slots=True)
class Assets:
    """Paths in the cache; nothing of it may be written to.

    `machine_image`: folder with `root/` (the lower layer of machines) and `image.json`, whose `data` gives the folder
    beside it that every machine gets its own copy of, by the path where it is wanted. `binaries`: by program name.
    `images`: docker-archives by image name, one archive under several names where an image has them.
    `snapshot_crds`: folder of manifests.
    """

    machine_image: Path
    binaries: Mapping[str, Path]
    images: Mapping[str, Path]
    snapshot_crds: Path


async def prepare(cache_dir: Path | None = None, *, report: Report = lambda _: None) -> Assets:
    """Give the assets, making first what the cache does not have: minutes the first time, then milliseconds.

    Making them needs root, the network and the packages that `scripts/prepare cluster` installs; finding them does not.
    Raises AssetError, or an ExceptionGroup of them.
    """
    return await _prepare(Cache(cache_dir or cache_folder(), report=report))


async def _prepare(cache: Cache) -> Assets:
    # Debian comes over the network while the compiler works.
    async with asyncio.TaskGroup() as group:
        bootstrapping = group.create_task(obtain_system(cache))
        building = group.create_task(obtain_binaries(cache))
    system, binaries = bootstrapping.result(), building.result()
    images = await obtain_images(cache, system=system, binaries=binaries)
    machine_image = await obtain_machine_image(cache, system=system, binaries=binaries, images=images)
    return Assets(machine_image, binaries, images, await obtain_snapshot_crds(cache))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the assets and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster.assets", description=__doc__)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="the cache (default %(default)s)")
    parser.add_argument("--prune", action="store_true", help=f"remove what nobody used for {UNUSED_DAYS} days")
    options = parser.parse_args(argv)
    started_at = time.perf_counter()
    failed: list[AssetError] = []
    try:
        asyncio.run(_make(options.cache, prune=options.prune))
    except* AssetError as group:
        failed += _leaves(group)
    if failed:
        sys.stderr.write("".join(f"{error}\n" for error in failed))
        return 1
    _say(f"all there in {time.perf_counter() - started_at:.1f} s, below {options.cache}")
    return 0


async def _make(folder: Path, *, prune: bool) -> None:
    cache = Cache(folder, report=_say)
    await _prepare(cache)
    if prune:
        for path in await cache.prune(unused_s=UNUSED_DAYS * 86400.0):
            _say(f"removed {path.relative_to(folder)}")


def _leaves(group: BaseExceptionGroup[AssetError]) -> Iterator[AssetError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
