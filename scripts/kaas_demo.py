"""The service for people to watch: a platform on this machine, kaas on it, and a real cluster by one command.

Types what a user of the platform types, shows what it answers, and takes everything away again.
"""

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys
from pathlib import Path

from devcloud.errors import CloudError
from tests.e2e.cluster import own_images
from tests.e2e.cluster import site as sites
from tests.e2e.cluster.assets import prepare
from tests.e2e.cluster.errors import AssetError, ClusterError
from tests.e2e_kaas import place as places
from tests.e2e_kaas.person import Cluster
from tests.e2e_kaas.place import Place
from tests.e2e_kaas.visit import NAME, Terminal, Visit, say


async def run(*, keep: bool) -> None:
    """Run the demonstration. Raises AssetError, ClusterError."""
    terminal, folder = Terminal(), places.new_folder()
    assets = await prepare(report=say)
    say("# the images of this tree's programs")
    with terminal.timed("images of our programs"):
        archives = await own_images.build_for(sites.default_folder())
    folder.mkdir(mode=0o700)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(places.remove, folder)
        say(f"# devcloud, and kaas inside of its network; all files are in {folder}")
        with terminal.timed("devcloud with machines, and kaas"):
            place = await places.make_cloud(folder, assets, archives)
            stack.push_async_callback(place.stop)
            await place.start()
        visit = Visit(place, terminal)
        await visit.come()
        if keep:
            _tell_commands(place)
            await _stop_signal()
        await visit.leave()
    terminal.summary()
    say("everything cleaned up")


def _tell_commands(place: Place) -> None:
    say("left running; to look at it:")
    for name, value in place.environment().items():
        if name.startswith("CLOUD_"):
            say(f"  export {name}={value}")
    say(f"  {Path(sys.executable).with_name('cloud')} k8s show {NAME}")
    say(f"  {shlex.join(Cluster(place, NAME).kube.argv())} get pods -A")
    say(f"  tail {place.site.logs}/*.log")
    say("Ctrl-C ends it and cleans up.")


async def _stop_signal() -> None:
    stopped = asyncio.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, stopped.set)
    await stopped.wait()


def main() -> int:
    """Parse the arguments and run; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make kaas-demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running and print how to look at it")
    options = parser.parse_args()
    problems: list[Exception] = []
    try:
        asyncio.run(run(keep=options.keep))
    except* (AssetError, ClusterError, CloudError, TimeoutError) as group:
        problems += group.exceptions
    for problem in problems:
        sys.stderr.write(f"{problem or type(problem).__name__}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
