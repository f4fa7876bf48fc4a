"""A simulated host: sysfs, /dev, /proc, block devices and the tools that work on them, without root.

The parsers under test read real files (in a temporary folder); system calls and commands go to fakes that behave as the
kernel and the tools were seen to behave. `tests/integration/node_host/test_contract.py` runs the same cases against
this host and against real loop devices, so that it stays honest. What files a file system holds is not simulated.

Usage: `host = FakeHost(tmp_path); host.plug("s1"); devices = host.devices(); …`.
"""

import asyncio
import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from node.devices import Devices
from node.filesystems import FileSystems
from node.model import MIB, DeviceNumber, MountEntry
from node.mounts import Mounts
from tests.support import fake_disk_formats
from tests.support.fake_disks import CountingObserver, CrashError, FakeDisk, FakeEvents, OpenFile
from tests.support.fake_kernel import FakeKernel
from tests.support.fake_tools import FakeRunner

FIRST_FD = 100_000
ROOT_DISK = DeviceNumber(254, 0)
TRANSPORTS = {"virtio": ("vd", 252), "scsi": ("sd", 8), "nvme": ("nvme", 259), "loop": ("loop", 7)}


class FakeHost:
    """One machine. Everything a test changes on it is a method or a public field."""

    def __init__(self, folder: Path, *, sys_resource: bool = True, release: tuple[int, int] = (6, 12)) -> None:
        # The kernel's tables hold real paths.
        self.root = folder.resolve() / "host"
        self.sys_root, self.dev_root, self.proc_root = (self.root / name for name in ("sys", "dev", "proc"))
        for made in (
            self.sys_root / "block",
            self.sys_root / "class/block",
            self.sys_root / "dev/block",
            self.sys_root / "fs/btrfs",
            self.dev_root,
            self.proc_root / "self",
            self.root / "images",
        ):
            made.mkdir(parents=True)
        (self.proc_root / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        self.sys_resource = sys_resource
        self.release = release
        self.loop_disk_dir = self.root / "images"
        self.disks: dict[str, FakeDisk] = {}
        self.mounts: list[MountEntry] = []
        self.bound_nodes: dict[int, DeviceNumber] = {}
        self.busy: set[Path] = set()
        """Mount points that umount finds busy."""
        self.path_errors: dict[Path, int] = {}
        """errno of stat(2) and statvfs(2) at a path."""
        self.missing: set[str] = set()
        """Programs that are not installed."""
        self.points: list[str] = []
        """Side effects in order: `open vda`, `write vda@<offset>`, `flush vda`, `run mkfs.ext4` …"""
        self.dead = False
        self._crash_at = ""
        self._next = Counter({"mount": 30, "fd": FIRST_FD, "sequence": 10})
        self.open_files: dict[int, OpenFile] = {}
        self.events = FakeEvents()
        self.observer = CountingObserver()
        self.kernel = FakeKernel(self)
        self.runner = FakeRunner(self)
        self.add_mount(
            MountEntry(self.take("mount"), 1, ROOT_DISK, "/", Path("/"), ("rw",), "ext4", "/dev/root", ("rw",))
        )

    # What is built on the host

    def devices(self, *, loops: bool = False) -> Devices:
        return Devices(
            self.kernel,
            sys_root=self.sys_root,
            dev_root=self.dev_root,
            proc_root=self.proc_root,
            loop_disk_dir=self.loop_disk_dir if loops else None,
            events=self.events,
            observer=self.observer,
        )

    def filesystems(self, devices: Devices | None = None, *, format_limit: int = 2) -> FileSystems:
        return FileSystems(
            self.kernel,
            self.runner,
            devices or self.devices(),
            sys_root=self.sys_root,
            observer=self.observer,
            format_limit=format_limit,
        )

    def mount_table(self) -> Mounts:
        return Mounts(self.kernel, self.runner, proc_root=self.proc_root, sys_root=self.sys_root)

    @staticmethod
    def soon(seconds: float = 30.0) -> float:
        return asyncio.get_running_loop().time() + seconds

    # Disks

    def plug(
        self,
        serial: str,
        *,
        transport: str = "virtio",
        size_bytes: int = 512 * MIB,
        node: bool = True,
        image: Path | None = None,
        read_only: bool = False,
    ) -> FakeDisk:
        """Attach a disk and ring. The same `image` again is the same volume (or, under two serials, a clone)."""
        prefix, major = TRANSPORTS[transport]
        index = sum(disk.transport == transport for disk in self.disks.values())
        while (name := _name(transport, prefix, index)) in self.disks:
            index += 1
        image = image or self.loop_disk_dir / f"{serial}.img"
        image.touch()
        os.truncate(image, max(size_bytes, image.stat().st_size))
        disk = FakeDisk(
            name, DeviceNumber(major, index * 16), image, size_bytes, serial, transport, read_only=read_only
        )
        self.disks[name] = disk
        self._write_sysfs(disk)
        if node:
            self.make_node(name, disk.number)
        self.events.ring()
        return disk

    def unplug(self, disk: FakeDisk) -> None:
        """Take a disk away; its mounts stay and answer with I/O errors."""
        del self.disks[disk.name]
        _remove_tree(self.sys_root / "block" / disk.name)
        (self.sys_root / "class/block" / disk.name).unlink()
        (self.sys_root / "dev/block" / str(disk.number)).unlink()
        (self.dev_root / disk.name).unlink(missing_ok=True)
        for entry in self.mounts:
            if self.disk_of(entry) is None and entry.device != ROOT_DISK:
                self.path_errors.setdefault(entry.mount_point, errno.EIO)
        self.events.ring()

    def grow_disk(self, disk: FakeDisk, size_bytes: int) -> None:
        disk.size_bytes = size_bytes
        os.truncate(disk.image, size_bytes)
        self.put(self.sys_root / "block" / disk.name / "size", f"{size_bytes // 512}\n")

    def put(self, path: Path, text: str) -> None:
        """Change a file in one step, as a kernel does: a thread may be reading it."""
        new = self.sys_root / ".new"
        new.write_text(text)
        new.replace(path)

    def make_node(self, name: str, number: DeviceNumber) -> Path:
        """Make (or replace, to make it stale) the node in the device folder."""
        node = self.dev_root / name
        node.write_text(f"block {number}\n")
        return node

    def disk_at(self, path: Path) -> FakeDisk | None:
        number = self.kernel.node_number(path)
        return next((disk for disk in self.disks.values() if disk.number == number), None)

    def disk_of(self, entry: MountEntry) -> FakeDisk | None:
        """The disk under a mounted file system."""
        if entry.mount_id in self.bound_nodes:
            return None
        if entry.fs_type == "btrfs":
            return next((disk for disk in self.disks.values() if str(self.dev_root / disk.name) == entry.source), None)
        return next((disk for disk in self.disks.values() if disk.number == entry.device), None)

    def is_claimed(self, disk: FakeDisk) -> bool:
        """Whether opening the disk exclusively fails."""
        mounted = any(self.disk_of(entry) is disk for entry in self.mounts)
        holders = any((self.sys_root / "block" / disk.name / "holders").iterdir())
        return mounted or holders or any(file.disk is disk and file.exclusive for file in self.open_files.values())

    # Mount table

    def add_mount(self, entry: MountEntry) -> None:
        self.mounts.append(entry)
        self.write_mountinfo()

    def top_mount(self, path: Path) -> MountEntry | None:
        return next((entry for entry in reversed(self.mounts) if entry.mount_point == path), None)

    def replace_mount(self, entry: MountEntry, **changes) -> None:
        self.mounts[self.mounts.index(entry)] = replace(entry, **changes)
        self.write_mountinfo()

    def drop_mount(self, entry: MountEntry) -> None:
        self.mounts.remove(entry)
        self.bound_nodes.pop(entry.mount_id, None)
        self.write_mountinfo()

    def write_mountinfo(self) -> None:
        lines = [
            f"{e.mount_id} {e.parent_id} {e.device} {_escape(e.root)} {_escape(str(e.mount_point))} "
            f"{','.join(e.options)} shared:{e.mount_id} - {e.fs_type} {_escape(e.source)} {','.join(e.super_options)}\n"
            for e in self.mounts
        ]
        # Replaced in one step: code under test reads the table from other threads.
        new = self.root / "mountinfo.new"
        new.write_text("".join(lines))
        new.replace(self.proc_root / "self/mountinfo")
        self._write_btrfs_folder()

    def _write_btrfs_folder(self) -> None:
        wanted = {
            f"{fake_disk_formats.uuid_of(disk.head)}/devices/{disk.name}"
            for entry in self.mounts
            if entry.fs_type == "btrfs" and (disk := self.disk_of(entry)) and not disk.unreadable
        }
        folder = self.sys_root / "fs/btrfs"
        for name in wanted:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        for present in folder.glob("*/devices/*"):
            if str(present.relative_to(folder)) not in wanted:
                _remove_tree(present.parent.parent)

    # Crashes

    def crash_before(self, point: str) -> None:
        """Kill the process under test when the named side effect is about to happen (prefix match)."""
        self._crash_at = point

    def point(self, name: str) -> None:
        if self.dead or (self._crash_at and name.startswith(self._crash_at)):
            self.dead = True
            raise CrashError(name)
        self.points.append(name)

    def restart_process(self) -> None:
        """The process starts again: descriptors and locks are gone, mounts and written data stay."""
        self.dead, self._crash_at = False, ""
        self.open_files.clear()

    def power_cut(self) -> None:
        """The machine boots again: mounts are gone, and so is whatever was not flushed."""
        self.restart_process()
        self.mounts = [entry for entry in self.mounts if entry.device == ROOT_DISK]
        self.bound_nodes.clear()
        self.path_errors.clear()
        for disk in self.disks.values():
            disk.lose_unflushed()
        self.write_mountinfo()

    def commands(self, program: str = "") -> list[str]:
        """Commands run so far, as text, of one program or all."""
        lines = [point.removeprefix("run ") for point in self.points if point.startswith("run ")]
        return [line for line in lines if line.split(" ")[0].startswith(program)]

    def take(self, counter: str) -> int:
        self._next[counter] += 1
        return self._next[counter]

    def _write_sysfs(self, disk: FakeDisk) -> None:
        folder = self.sys_root / "block" / disk.name
        (folder / "holders").mkdir(parents=True)
        for link in (f"class/block/{disk.name}", f"dev/block/{disk.number}"):
            (self.sys_root / link).symlink_to(folder)
        files = {
            "dev": f"{disk.number}\n",
            "size": f"{disk.size_bytes // 512}\n",
            "ro": f"{int(disk.read_only)}\n",
            "diskseq": f"{self.take('sequence')}\n",
        }
        if disk.transport == "virtio":
            files["serial"] = disk.serial
        elif disk.transport == "nvme":
            files["device/serial"] = f"{disk.serial:<20}\n"
            files["wwid"] = f"nvme.1b36-{disk.serial.encode().hex()}-51454d55-00000001\n"
        elif disk.transport == "loop":
            files |= {"loop/backing_file": f"{disk.image}\n", "loop/offset": "0\n", "loop/sizelimit": "0\n"}
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        if disk.transport == "scsi":
            (folder / "device").mkdir()
            serial = disk.serial.encode()
            (folder / "device/vpd_pg80").write_bytes(b"\0\x80" + len(serial).to_bytes(2, "big") + serial)


def _name(transport: str, prefix: str, index: int) -> str:
    if transport == "nvme":
        return f"nvme{index}n1"
    return f"{prefix}{index}" if transport == "loop" else f"{prefix}{chr(97 + index)}"


def _escape(text: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in text) or "/"


def _remove_tree(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove_tree(entry)
        else:
            entry.unlink()
    folder.rmdir()
