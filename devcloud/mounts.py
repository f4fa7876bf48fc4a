"""Where a loop device is mounted, also in other mount namespaces, and opening such a mount without mistaking it.

Belongs here: mount tables and open mounts. Does not: which disk is whose. All functions block for microseconds to
milliseconds; callers run them in a thread.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcloud import loop

_SOURCE_OFFSET = 2
"""Words from the table's separator to the source of a mount."""


@dataclass(frozen=True, slots=True)
class MountView:
    """One mount namespace: its table, and the folder below which its paths can be opened from here."""

    root: Path
    table: Path
    owner: str = ""
    """Names the namespace in texts; empty for this process's own."""


HERE = MountView(Path("/"), Path("/proc/self/mountinfo"))


@dataclass(frozen=True, slots=True)
class Mounted:
    """One place where a device is mounted."""

    mount_id: int
    point: str
    view: MountView

    def describe(self) -> str:
        """Say where, for an error text."""
        return f"mounted on {self.point}" + (f" in {self.view.owner}" if self.view.owner else "")


def find(number: int, views: Iterable[MountView]) -> list[Mounted]:
    """Give where a loop device is mounted; a namespace that is gone shows nothing."""
    found: list[Mounted] = []
    for view in views:
        with contextlib.suppress(OSError):
            # A mount point may have any bytes in its name.
            text = view.table.read_text(errors="surrogateescape")
            found += [Mounted(mount_id, point, view) for mount_id, point in parse(number, text)]
    return found


def parse(number: int, table: str) -> list[tuple[int, str]]:
    """Give mount ids and mount points of a loop device from the text of a mountinfo file."""
    device, node = f"{loop.MAJOR}:{number}", str(loop.device_of(number))
    found = []
    for line in table.splitlines():
        words = line.split()
        # btrfs shows an anonymous number; its source names the device.
        if device == words[2] or words[words.index("-") + _SOURCE_OFFSET] == node:
            found.append((int(words[0]), unescape(words[4])))
    return found


@contextlib.contextmanager
def opened(places: Sequence[Mounted]) -> Iterator[int]:
    """Have the first place open that can be reached; raises OSError (FileNotFoundError) when none can.

    Another mount may lie over a mount point, and a path may lead elsewhere by now, so what was opened is compared with
    the table.
    """
    for place in places:
        file = _open(place)
        if file is not None:
            try:
                yield file
            finally:
                os.close(file)
            return
    raise FileNotFoundError("no mount point leads to the file system")


def _open(place: Mounted) -> int | None:
    try:
        file = os.open(f"{place.view.root}/{place.point}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if f"mnt_id:\t{place.mount_id}\n" in Path(f"/proc/self/fdinfo/{file}").read_text():
        return file
    os.close(file)
    return None


def unescape(text: str) -> str:
    """Give a path as it is, from the way that mount tables write it."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
