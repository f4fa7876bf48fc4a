"""Images in a containerd: the folder that new machines start with, and further images in one that runs."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.cluster.commands import run, running, tail
from tests.e2e.cluster.errors import AssetError

NAMESPACE = "k8s.io"
"""The one that the kubelet's side of containerd looks into."""
IMPORT_S = 300.0
SOURCE = Path(__file__).read_bytes()
_START_S = 60.0
_LIST_S = 60.0
_LOOK_S = 0.05
_CONFIG = """\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.runtime",
  "io.containerd.cri.v1.images",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = "{socket}"
"""


async def make_template(root: Path, archives: Iterable[Path], *, containerd: Path, ctr: Path) -> None:
    """Fill `root`, which becomes a machine's /var/lib/containerd, with the images of these archives.

    Raises AssetError.
    """
    async with _serving(root, containerd) as socket:
        for archive in archives:
            await import_image(archive, containerd_socket=socket, ctr=ctr)


async def check_template(root: Path, names: Iterable[str], *, containerd: Path, ctr: Path) -> None:
    """Raise AssetError unless a containerd over `root` lists these images."""
    async with _serving(root, containerd) as socket:
        missing = sorted(set(names) - await list_images(containerd_socket=socket, ctr=ctr))
    if missing:
        raise AssetError(f"the template of containerd lacks {', '.join(missing)}")


async def import_image(archive: Path, *, containerd_socket: Path, ctr: Path, timeout_s: float = IMPORT_S) -> None:
    """Import a docker-archive into a containerd that runs, on this host or in a machine; it replaces older ones.

    The socket of a machine is reached from the host at `/proc/<pid of its init>/root/run/containerd/containerd.sock`.
    The containerd reads the archive through the socket, so the file need not be visible to it. Raises AssetError.
    """
    words = ("images", "import", archive)
    await run((ctr, "--address", containerd_socket, "--namespace", NAMESPACE, *words), timeout_s=timeout_s)


async def list_images(*, containerd_socket: Path, ctr: Path) -> set[str]:
    """Give the names of the images in a containerd that runs. Raises AssetError."""
    words = (ctr, "--address", containerd_socket, "--namespace", NAMESPACE, "images", "list", "--quiet")
    return set((await run(words, timeout_s=_LIST_S)).split())


@asynccontextmanager
async def _serving(root: Path, containerd: Path) -> AsyncIterator[Path]:
    """Run a containerd over `root` on this host, without what would start containers; gives its socket."""
    # A socket's path is short, so it cannot lie in the cache.
    with tempfile.TemporaryDirectory(prefix="containerd-") as name:
        folder = Path(name)
        socket, log, config = folder / "socket", folder / "log", folder / "config.toml"
        config.write_text(_CONFIG.format(root=root, state=folder / "state", socket=socket))
        # What it mounts to unpack a layer stays its own.
        argv = ("unshare", "--mount", "--", containerd, "--config", config)
        async with running(argv, log=log) as process:
            await _wait_until_serving(socket, process, log)
            yield socket


async def _wait_until_serving(socket: Path, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + _START_S
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            ended = process.returncode is not None
            if ended or asyncio.get_running_loop().time() >= deadline:
                raise _no_service(log, ended=ended) from None
            await asyncio.sleep(_LOOK_S)
        else:
            writer.close()
            await writer.wait_closed()
            return


def _no_service(log: Path, *, ended: bool) -> AssetError:
    seen = "ended" if ended else f"does not serve after {_START_S:.0f} s"
    return AssetError(f"containerd over the template {seen}:\n{tail(log.read_text(errors='replace'))}")
