"""`make cluster` and `make cluster-down`: a Kubernetes cluster with the driver on this machine."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from devcloud.errors import CloudError
from tests.e2e.cluster import bringup, driver, manager, own_images
from tests.e2e.cluster import site as sites
from tests.e2e.cluster.assets import prepare
from tests.e2e.cluster.credentials import MANAGER_NAMESPACE, NAMESPACE
from tests.e2e.cluster.errors import AssetError, ClusterError
from tests.e2e.cluster.kubectl import Kubectl


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=sites.default_folder(), help="of the cluster (default %(default)s)"
    )
    verbs = parser.add_subparsers(required=True)
    making = verbs.add_parser("up", help="make a cluster, with everything of ours in it")
    usual = bringup.Shape()
    making.add_argument("--workers", type=int, default=usual.workers)
    making.add_argument(
        "--max-volumes", type=int, default=usual.max_volumes, help="places for volumes of each instance"
    )
    making.add_argument("--bare", action="store_true", help="without anything of ours: its nodes stay uninitialised")
    making.set_defaults(work=up)
    verbs.add_parser("driver", help="build the programs' images anew and install them").set_defaults(work=renew)
    verbs.add_parser("down", help="remove the cluster").set_defaults(work=down)
    verbs.add_parser("status", help="fail unless a cluster runs here").set_defaults(work=show)
    verbs.add_parser("kubectl", help="kubectl against the cluster, with all words that follow").set_defaults(work=ask)
    words = list(sys.argv[1:] if argv is None else argv)
    # What follows is kubectl's, options as well.
    own = words.index("kubectl") + 1 if "kubectl" in words else len(words)
    options = parser.parse_args(words[:own], argparse.Namespace(words=words[own:]))
    problems: list[Exception] = []
    try:
        asyncio.run(options.work(options))
    except* (AssetError, ClusterError, CloudError, TimeoutError) as group:
        problems += group.exceptions
    for problem in problems:
        sys.stderr.write(f"{problem or type(problem).__name__}\n")
    return 1 if problems else 0


async def up(options: argparse.Namespace) -> None:
    """Make the cluster and, unless it is to be bare, install the cloud controller manager and the driver."""
    assets = await prepare(report=_say)
    shape = bringup.Shape(workers=options.workers, max_volumes=options.max_volumes)
    async with asyncio.TaskGroup() as group:
        made = group.create_task(bringup.up(options.folder, assets, shape, say=_say))
        images = None if options.bare else group.create_task(own_images.build_for(sites.default_folder()))
    site = made.result()
    if images is not None:
        await own_images.load(site, images.result())
        await manager.install(site)
        _say("the cloud controller manager has initialised every node")
        await driver.install(site, assets)
        _say("the driver serves on every node")
    _say(f"kubectl: {Path(sys.executable).name} -m tests.e2e.cluster kubectl …, or\n  {' '.join(Kubectl(site).argv())}")


async def renew(options: argparse.Namespace) -> None:
    """Put the programs of this tree into the running cluster."""
    site = sites.load(options.folder)
    await own_images.load(site, await own_images.build_for(sites.default_folder()))
    await manager.install(site)
    await driver.install(site, await prepare())
    kube = Kubectl(site)
    await kube.run("rollout", "restart", f"deployment/{manager.NAME}", "-n", MANAGER_NAMESPACE)
    for what in ("daemonset/thecloud-csi-node", "deployment/thecloud-csi-controller"):
        await kube.run("rollout", "restart", what, "-n", NAMESPACE)
    await manager.ready(site)
    await driver.ready(site)


async def down(options: argparse.Namespace) -> None:
    """Remove the cluster."""
    await bringup.down(options.folder, say=_say)


async def show(options: argparse.Namespace) -> None:
    """Tell the nodes of the running cluster."""
    _say(await Kubectl(sites.load(options.folder)).run("get", "nodes"))


async def ask(options: argparse.Namespace) -> None:
    """Become kubectl."""
    argv = Kubectl(sites.load(options.folder)).argv(*options.words)
    os.execvp(argv[0], argv)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
