"""Real loop devices over sparse files, taken away again whatever happens.

For tests that run as root. A disk here is what devcloud presents: a loop device over `<folder>/<serial>.img`.
"""

import asyncio
import os
import subprocess
import threading
from pathlib import Path

from node import mountinfo
from node.commands import HostRunner
from node.devices import Devices
from node.filesystems import FileSystems
from node.kernel import HostKernel
from node.model import MIB
from node.mounts import Mounts
from tests.support.fake_disks import CountingObserver


def run(*argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a host command of the test itself."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stdout}{done.stderr}")
    return done


class Loops:
    """Loop devices of one test, and this machine's adapters around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.disk_dir = self.folder / "disks"
        self.disk_dir.mkdir()
        self.kernel = HostKernel()
        self.runner = HostRunner()
        self.observer = CountingObserver()
        self._attached: list[Path] = []

    def image(self, serial: str) -> Path:
        return self.disk_dir / f"{serial}.img"

    def attach(self, serial: str, *, size_bytes: int = 512 * MIB, read_only: bool = False) -> Path:
        """Present a disk; an image that exists keeps its content."""
        image = self.image(serial)
        if not image.exists():
            image.touch()
            os.truncate(image, size_bytes)
        words = ("--read-only",) if read_only else ()
        device = Path(run("losetup", "--find", "--show", *words, image).stdout.strip())
        self._attached.append(device)
        return device

    def detach(self, device: Path) -> None:
        run("losetup", "--detach", device)
        self._attached.remove(device)

    def grow(self, device: Path, serial: str, size_bytes: int) -> None:
        os.truncate(self.image(serial), size_bytes)
        run("losetup", "--set-capacity", device)

    def target(self, name: str = "target") -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def devices(self, dev_root: Path = Path("/dev")) -> Devices:
        return Devices(self.kernel, dev_root=dev_root, loop_disk_dir=self.disk_dir, observer=self.observer)

    def filesystems(self, devices: Devices | None = None) -> FileSystems:
        return FileSystems(self.kernel, self.runner, devices or self.devices(), observer=self.observer)

    def mount_table(self) -> Mounts:
        return Mounts(self.kernel, self.runner)

    @staticmethod
    def soon(seconds: float = 30.0) -> float:
        return asyncio.get_running_loop().time() + seconds

    def clean(self) -> None:
        """Unmount everything below the folder and detach every loop device over its files."""
        table = mountinfo.parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
        for entry in reversed(table):
            if self.folder in entry.mount_point.parents:
                run("umount", entry.mount_point)
        for device in self._attached:
            run("losetup", "--detach", device, check=False)
        # A udev that looks at the device holds it for a moment; the kernel lets go of it then.
        pause = threading.Event()
        tries = 100
        while (left := self._left()) and (tries := tries - 1):
            pause.wait(0.05)
        if left:
            raise RuntimeError(f"loop devices are left behind: {left}")

    def _left(self) -> list[str]:
        files = run("losetup", "--list", "--noheadings", "-O", "BACK-FILE").stdout.splitlines()
        return [file for file in files if file.startswith(str(self.disk_dir))]


def missing_for_loops() -> str:
    """Say why loop devices cannot be used here, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    if run("losetup", "--find", check=False).returncode != 0:
        return "needs loop devices"
    return ""
