"""Finds processes that keep a mount busy, to name them in an error.

Best effort and only for a person's eyes: nothing is decided by it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_NAMED = 5


def holders_of(mount_point: Path, proc_root: Path) -> str:
    """Name up to five processes with a file, working folder or root below the mount point, or "" (blocking)."""
    found = []
    for folder in sorted(proc_root.glob("[0-9]*")):
        if any(_below(target, mount_point) for target in _links(folder)):
            found.append(f"{_name(folder)} (process {folder.name})")
        if len(found) == _NAMED:
            break
    return ", ".join(found)


def _links(process: Path) -> Iterator[str]:
    for link in (process / "cwd", process / "root"):
        with contextlib.suppress(OSError):
            yield str(link.readlink())
    with contextlib.suppress(OSError):
        for fd in (process / "fd").iterdir():
            # Descriptors close while they are listed.
            with contextlib.suppress(OSError):
                yield str(fd.readlink())


def _below(target: str, mount_point: Path) -> bool:
    return target == str(mount_point) or target.startswith(f"{mount_point}/")


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
