"""The Debian (or Ubuntu) system that machines and images are made of: debootstrap of the release that this host has.

The mirror is the host's own, as apt knows it.
"""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tests.e2e.cluster.cache import Artefact, Cache, digest
from tests.e2e.cluster.commands import PRIVATE, require, run
from tests.e2e.cluster.errors import AssetError

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps"),
    *("iproute2", "iptables", "nftables", "conntrack", "socat", "ethtool", "iputils-ping", "curl", "ca-certificates"),
    *("runc", "openssh-server", "e2fsprogs", "xfsprogs", "mount", "util-linux", "jq", "less", "busybox"),
    *("netcat-openbsd", "wget"),
)
"""`netcat-openbsd`, `wget`: the suite asks with options that busybox's do not know or die of. `busybox` and not
`busybox-static`: its shell prefers its own commands to the programs in PATH."""
HOST_PROGRAMS = {"debootstrap": "debootstrap", "unshare": "util-linux", "chroot": "coreutils"}
_RECIPE = 1
_DEBOOTSTRAP_S = 1800.0
_COMMAND_S = 120.0
_HOPS = 100
"""Parts of a path, those of the links in it too; more of them are a circle."""
_LIBRARY = re.compile(r"(?:=>\s+|^\s+)(/\S+)\s+\(0x", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where apt of this host gets a release from."""

    url: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class System:
    """A Debian system in a folder of the cache; nothing is ever written to it."""

    root: Path
    artefact: Artefact


def host_release(facts: Mapping[str, str]) -> str:
    """Give the code name of a release from what os-release says. Raises AssetError."""
    name = facts.get("VERSION_CODENAME")
    if not name:
        raise AssetError("/etc/os-release names no VERSION_CODENAME; Debian or Ubuntu is needed")
    return name


def choose_mirror(targets: str, release: str) -> Mirror:
    """Choose the mirror of a release from lines of "URL RELEASE COMPONENT", as apt lists them. Raises AssetError."""
    rows = [line.split() for line in targets.splitlines()]
    fitting = [(row[0], row[2]) for row in rows if len(row) == 3 and row[1] == release]
    urls = [url for url, component in fitting if component == "main"]
    if not urls:
        raise AssetError(f"apt of this host knows no source of {release} with the component main; see `apt-get update`")
    return Mirror(urls[0], tuple(dict.fromkeys(component for url, component in fitting if url == urls[0])))


async def obtain_system(cache: Cache) -> System:
    """Give the system of this host's release, making it where the cache has none. Raises AssetError."""
    release = host_release(platform.freedesktop_os_release())
    artefact = system_artefact(release)
    folder = await cache.obtain(artefact, partial(_bootstrap, release))
    return System(folder / "root", artefact)


def system_artefact(release: str) -> Artefact:
    """Give the folder in the cache for a release."""
    return Artefact("cluster/debian", release, digest(str(_RECIPE), release, *PACKAGES))


async def libraries(root: Path, files: Iterable[str]) -> list[str]:
    """Give the paths below `root` of all libraries (the loader too) that programs of that system need, sorted."""
    output = await run(("chroot", root, "ldd", *sorted(files)), timeout_s=_COMMAND_S)
    return sorted(set(_LIBRARY.findall(output)))


def inside(root: Path, path: str) -> Path:
    """Give the file of this host that `path` of the system means. Raises AssetError.

    Links are followed as the system itself would: an absolute one starts at its root, not at this host's.
    """
    here, waiting = PurePosixPath("/"), list(reversed(PurePosixPath(path).parts[1:]))
    for _ in range(_HOPS):
        if not waiting:
            break
        part = waiting.pop()
        below = root / here.relative_to("/") / part
        if part == "..":
            here = here.parent
        elif below.is_symlink():
            target = PurePosixPath(below.readlink())
            here = PurePosixPath("/") if target.is_absolute() else here
            waiting += [part for part in reversed(target.parts) if part != "/"]
        else:
            here /= part
    found = root / here.relative_to("/")
    if waiting or not found.is_file():
        raise AssetError(f"{path} is not a file of the system in {root}")
    return found


async def _bootstrap(release: str, folder: Path) -> None:
    require(HOST_PROGRAMS, "making the machine's system")
    if os.geteuid() != 0:
        raise AssetError("making the machine's system needs root (debootstrap)")
    listed = await run(
        ("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"),
        timeout_s=_COMMAND_S,
    )
    mirror = choose_mirror(listed, release)
    options = (
        "--variant=minbase",
        f"--components={','.join(mirror.components)}",
        f"--include={','.join(PACKAGES)}",
    )
    root = folder / "root"
    try:
        await run((*PRIVATE, "debootstrap", *options, release, root, mirror.url), timeout_s=_DEBOOTSTRAP_S)
    except AssetError as error:
        raise AssetError(f"{error}\n{_log_of(root)}") from None
    for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / name).rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.unlink()


def _log_of(root: Path) -> str:
    """Give the end of debootstrap's own log, where a package's failure is."""
    log = root / "debootstrap" / "debootstrap.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.is_file() else ""
