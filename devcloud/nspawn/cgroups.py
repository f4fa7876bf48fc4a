"""The control groups of the machines: one below one of the platform's, in every hierarchy of this host.

A machine's namespace has as its root the groups that it started in. So each machine gets groups of its own before it
starts, fresh ones every time: what an earlier boot left in them would be found by the next kubelet.
Belongs here: the file system of control groups, version 1 and 2. Does not: when a machine starts or ends.
All methods block for milliseconds; callers run them in a thread.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcloud.errors import BackendError
from devcloud.nspawn.processes import open_process

_TYPES = frozenset({"cgroup", "cgroup2"})
_V2 = 2
_KEEPER, _CONTAINER = "keeper", "container"
"""With version 2: the groups of the process that waits for the container, and of the container.

A group that hands controllers down may have no processes itself, so systemd-nspawn moves itself and the machine into
groups below its own; whoever else were in there would keep it from handing controllers down.
"""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy; a `cgroup2` beside others carries no controllers."""

    mount: Path
    controllers: frozenset[str]
    version: int

    def has(self, controller: str) -> bool:
        """Whether groups of this hierarchy have the controller."""
        return controller in self.controllers


def find_hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """Give the hierarchies of this host from the text of a mountinfo file, each once."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        words = line.split()
        kind, _, options = words[words.index("-") + 1 :][:3]
        if kind not in _TYPES:
            continue
        number, mount = words[2], Path(words[4])
        if kind == "cgroup2":
            found.setdefault(number, Hierarchy(mount, _controllers_of(mount), _V2))
        else:
            known = frozenset(options.split(",")) - {"rw", "ro", "xattr", "clone_children", "noprefix"}
            found.setdefault(number, Hierarchy(mount, known, 1))
    return tuple(found.values())


def _controllers_of(mount: Path) -> frozenset[str]:
    try:
        return frozenset((mount / "cgroup.controllers").read_text().split())
    except OSError:
        return frozenset()


class Cgroups:
    """The groups of one platform; a machine is named by its instance's id."""

    def __init__(self, site: str, hierarchies: Sequence[Hierarchy]) -> None:
        self._site = site
        self._all = tuple(hierarchies)
        self._only_v2 = bool(self._all) and all(item.version == _V2 for item in self._all)

    def require(self) -> None:
        """Raise BackendError, with what to do, unless machines can have groups of their own here."""
        if not self._all:
            raise BackendError("no control groups are mounted on this host (below /sys/fs/cgroup)")
        for hierarchy in self._all:
            if not os.access(hierarchy.mount, os.W_OK):
                raise BackendError(f"control groups cannot be made in {hierarchy.mount}: it is read-only here")

    @property
    def read_only_in_machine(self) -> tuple[str, ...]:
        """Mount points that systemd-nspawn makes read-only in a machine; its systemd and its kubelet write there."""
        return tuple(
            str(item.mount) for item in self._all if item.version == 1 and not any("=" in c for c in item.controllers)
        )

    @property
    def guard_disks(self) -> bool:
        """Whether `deny_disk` has an effect."""
        return any(item.version == 1 and item.has("devices") for item in self._all)

    def create(self, machine: str, memory_bytes: int) -> None:
        """Make fresh groups, with at most this memory (0: no limit); raises BackendError, also when some are in use."""
        self.remove(machine)
        try:
            for hierarchy in self._all:
                parent = self._parent(hierarchy)
                folder = parent / machine
                folder.mkdir(exist_ok=True)
                if self._only_v2:
                    _enable(parent, hierarchy)
                    for below in (_KEEPER, _CONTAINER):
                        (folder / below).mkdir(exist_ok=True)
                    _enable(folder, hierarchy)
                if memory_bytes and hierarchy.has("memory"):
                    limit = "memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max"
                    (folder / limit).write_text(str(memory_bytes))
        except OSError as error:
            raise BackendError(f"cannot make a control group: {error.strerror}: {error.filename}") from error

    def join(self, machine: str, pid: int) -> None:
        """Put the process that starts the container into the groups; raises BackendError."""
        try:
            for folder, _ in self._folders(machine):
                target = folder / _KEEPER if self._only_v2 else folder
                (target / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise BackendError(f"cannot use a control group: {error.strerror}: {error.filename}") from error

    def container_group(self, machine: str) -> str:
        """Give the folder of the group that the container itself has to join; empty: it stays where its starter is."""
        return str(self._all[0].mount / self._site / machine / _CONTAINER) if self._only_v2 else ""

    def processes(self, machine: str) -> set[int]:
        """Give the processes in the groups and below."""
        found: set[int] = set()
        for folder, _ in self._folders(machine):
            for path in _deepest_first(folder):
                with contextlib.suppress(OSError):
                    found.update(map(int, (path / "cgroup.procs").read_text().split()))
        return found

    def kill(self, machine: str) -> bool:
        """Kill everything in the groups; False when nothing is in them."""
        self.freeze(machine, frozen=False)
        pids = self.processes(machine)
        for pid in pids:
            with open_process(pid) as handle:
                # Looked up again with the process pinned, so the number is not somebody else's by now.
                if handle is not None and self._holds(machine, pid):
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return bool(pids)

    def freeze(self, machine: str, *, frozen: bool) -> None:
        """Let everything in the groups stand still or run on; raises BackendError where groups cannot do that."""
        for folder, hierarchy in self._folders(machine):
            if hierarchy.has("freezer"):
                file, text = folder / "freezer.state", "FROZEN" if frozen else "THAWED"
            elif self._only_v2:
                file, text = folder / "cgroup.freeze", "1" if frozen else "0"
            else:
                continue
            try:
                file.write_text(text)
            except FileNotFoundError:
                return
            except OSError as error:
                raise BackendError(f"cannot write {file}: {error.strerror}") from error
            return
        if frozen:
            raise BackendError("this host has no control group that can let a machine stand still (freezer)")

    def deny_disk(self, machine: str, major: int, minor: int) -> None:
        """Keep a machine, and what runs in it, from opening a block device by a node of any name.

        Only version 1 can say it in a file; with version 2 a machine has no node, but its root can make one. Making a
        node stays allowed: container runtimes want that for every device, and groups below may not have more.
        """
        for folder, hierarchy in self._folders(machine):
            if hierarchy.version == 1 and hierarchy.has("devices"):
                with contextlib.suppress(OSError):
                    (folder / "devices.deny").write_text(f"b {major}:{minor} rw")

    def remove(self, machine: str) -> None:
        """Remove the groups, deepest first; raises BackendError while something is in them."""
        for folder, _ in self._folders(machine):
            _remove(folder)

    def remove_all(self) -> None:
        """Remove the platform's groups; raises BackendError while something is in them."""
        for hierarchy in self._all:
            _remove(hierarchy.mount / self._site)

    def machines(self) -> set[str]:
        """Give the machines that have groups."""
        return {
            path.name
            for hierarchy in self._all
            if (hierarchy.mount / self._site).is_dir()
            for path in (hierarchy.mount / self._site).iterdir()
            if path.is_dir()
        }

    def _holds(self, machine: str, pid: int) -> bool:
        group = f"/{self._site}/{machine}"
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return False
        return any(path.endswith(group) or f"{group}/" in path for path in (line.split(":", 2)[2] for line in lines))

    def _parent(self, hierarchy: Hierarchy) -> Path:
        """Make the platform's group."""
        folder = hierarchy.mount / self._site
        folder.mkdir(exist_ok=True)
        if hierarchy.version == 1 and hierarchy.has("cpuset"):
            # A new group has neither processors nor memory; with clone_children those below it take them over.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (folder / name).read_text().strip():
                    (folder / name).write_text((hierarchy.mount / name).read_text())
            (folder / "cgroup.clone_children").write_text("1")
        if self._only_v2:
            _enable(hierarchy.mount, hierarchy)
        return folder

    def _folders(self, machine: str) -> Iterator[tuple[Path, Hierarchy]]:
        for hierarchy in self._all:
            folder = hierarchy.mount / self._site / machine
            if folder.is_dir():
                yield folder, hierarchy


def _enable(folder: Path, hierarchy: Hierarchy) -> None:
    """Let the groups below have the controllers; one that cannot be had is left out, as a limit on it will say."""
    for controller in hierarchy.controllers:
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove(folder: Path) -> None:
    for path in _deepest_first(folder):
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BackendError(f"cannot remove control group {path}: {error.strerror}") from error


def _deepest_first(folder: Path) -> list[Path]:
    """Give a group and those below it; in a file system of groups every folder is one."""
    found = [Path(path) for path, _, _ in os.walk(folder)]
    return found[::-1]
