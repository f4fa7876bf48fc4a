"""What is kept on disk about each machine, so that the next platform knows it: how it was made, and its processes.

Belongs here: the folder of a machine and the files of records in it. Does not: acting on what they say.
"""

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

import msgspec

from devcloud.machines import Machine
from devcloud.nspawn import processes
from devcloud.nspawn.processes import PROC, Process

T = TypeVar("T")


class Run(msgspec.Struct, frozen=True):
    """One run of a machine: from its start to its end or reboot."""

    boot: str
    """The run of this host in which the process numbers mean something."""
    keeper: Process
    """Waits for systemd-nspawn and writes down how it ended."""
    leader: Process | None = None
    """The machine's first process; None: not there yet."""


class Finding(Enum):
    """What became of a run."""

    GOES_ON = "goes on"
    ENDED = "ended"
    LOST = "lost"
    """This host was started again since."""


@dataclass(frozen=True, slots=True)
class MachineFolder:
    """The folder of one machine."""

    path: Path

    @property
    def instance_id(self) -> str:
        """The instance that it belongs to."""
        return self.path.name

    @property
    def root(self) -> Path:
        """Where the machine's root is mounted."""
        return self.path / "root"

    @property
    def upper(self) -> Path:
        """What the machine changed in its root."""
        return self.path / "upper"

    @property
    def work(self) -> Path:
        """The overlay's own folder."""
        return self.path / "work"

    @property
    def console(self) -> Path:
        """What the machine wrote to its console."""
        return self.path / "console.log"

    @property
    def exit_status(self) -> Path:
        """Where the keeper writes how systemd-nspawn ended."""
        return self.path / "exit"

    @property
    def instance_data(self) -> Path:
        """What the machine can read about itself."""
        return self.path / "instance-data.json"

    @property
    def product_uuid(self) -> Path:
        """What the machine shows as its firmware's UUID."""
        return self.path / "product_uuid"

    def data(self, path: str) -> Path:
        """Give the machine's copy of the data folder that it has at a path."""
        return self.path / "data" / path.strip("/").replace("/", "-")

    def read_machine(self) -> Machine | None:
        """Give how the machine was made; None when its making was cut short."""
        return _read(self.path / "machine.json", Machine)

    def write_machine(self, machine: Machine) -> None:
        """Note that the machine is made."""
        _write(self.path / "machine.json", machine)

    def read_run(self) -> Run | None:
        """Give the last run, over or not; None when the machine was never started."""
        return _read(self.path / "run.json", Run)

    def write_run(self, run: Run) -> None:
        """Note a run."""
        _write(self.path / "run.json", run)

    def read_exit_status(self) -> int | None:
        """Give how systemd-nspawn ended; None when nobody was there to write it down."""
        try:
            return int(self.exit_status.read_text())
        except (OSError, ValueError):
            return None

    def read_console(self, limit_bytes: int) -> str:
        """Give the end of what the machine wrote to its console."""
        try:
            with self.console.open("rb") as file:
                file.seek(max(0, self.console.stat().st_size - limit_bytes))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove the folder, in which nothing is mounted any more."""
        shutil.rmtree(self.path, ignore_errors=False)


def folders(site: Path) -> list[MachineFolder]:
    """Give the folders of all machines."""
    place = site / "machines"
    return [MachineFolder(path) for path in sorted(place.iterdir())] if place.is_dir() else []


def look_at(run: Run, proc: Path = PROC) -> Finding:
    """Find out what became of a run."""
    if run.boot != processes.boot_id(proc):
        return Finding.LOST
    return Finding.GOES_ON if processes.is_alive(run.keeper, proc) else Finding.ENDED


def find_leader(run: Run, proc: Path = PROC) -> Process | None:
    """Give the machine's first process while it lives: the noted one, or the one that the keeper has by now."""
    if run.leader is not None:
        return run.leader if processes.is_alive(run.leader, proc) else None
    if not processes.is_alive(run.keeper, proc):
        return None
    for container in processes.children(run.keeper.pid, proc):
        for pid in processes.children(container, proc):
            if processes.is_first_of_container(pid, proc):
                return processes.identify(pid, proc)
    return None


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        # A record is renamed into place whole, so one that cannot be read is of another version.
        return None


def _write(path: Path, record: object) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(record))
    part.rename(path)
