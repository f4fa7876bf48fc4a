"""A small machine image for the back end `nspawn`: built once from Debian packages, kept in the user's cache.

Nothing of this project is in it. Building needs root (debootstrap) and the network; using it needs only root.
"""

import hashlib
from pathlib import Path

from tests.support.debootstrap import SUITE, bootstrap, cached, run_to_build, trim
from tests.support.tools import ensure_programs

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "iproute2", "iputils-ping"),
    *("e2fsprogs", "mount", "util-linux"),
)
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
DATA_PATH = "/var/lib/extra"
"""A folder of which every machine has a copy of its own."""
LOW_LOOPS = 4
"""Loop devices that the image makes nodes of, as an image with a kubelet does."""
_RECIPE = 1
_WHAT = "the machine image of the tests"


def machine_image() -> Path:
    """Give the image's folder, building it first if the cache has none for this recipe.

    Raises MissingToolError, one line, when something is missing and cannot be installed or built.
    """
    ensure_programs("tests of machines", NEEDED)
    parts = (str(_RECIPE), SUITE, *PACKAGES, DATA_PATH, str(LOW_LOOPS))
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cached("machine", key, _build)


def _build(folder: Path) -> None:
    root = folder / "root"
    bootstrap(root, PACKAGES, _WHAT)
    run_to_build(_WHAT, "chroot", str(root), "systemctl", "enable", "systemd-networkd")
    trim(root)
    # What takes longer than this at a power-off is killed, as on a real machine that is told to hurry.
    _write(root / "etc/systemd/system.conf.d/stop.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n")
    nodes = "".join(f"b /dev/loop{number} 0660 root disk - 7:{number}\n" for number in range(LOW_LOOPS))
    _write(root / "etc/tmpfiles.d/loops.conf", f"c /dev/loop-control 0660 root disk - 10:237\n{nodes}")
    # An empty file: every machine gets its own.
    _write(root / "etc/machine-id", "")
    _write(folder / "extra/marker", "of the image\n")
    _write(folder / "image.json", f'{{"data": {{"{DATA_PATH}": "extra"}}}}\n')


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
