"""A writer of the archive format ("newc") that the kernel unpacks as its first file system. Nothing else."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder; a folder has no content."""

    mode: int
    content: bytes = b""


def folder() -> Entry:
    """Give a folder that everybody may read."""
    return Entry(mode=stat.S_IFDIR | 0o755)


def program_file(path: Path) -> Entry:
    """Give an executable with the content of a file of this host."""
    return Entry(mode=stat.S_IFREG | 0o755, content=path.read_bytes())


def pack(entries: Mapping[str, Entry]) -> bytes:
    """Pack the entries in their order; a folder has to come before what is in it."""
    archive = bytearray()
    for number, (name, entry) in enumerate(entries.items(), start=1):
        _append(archive, number, name, entry)
    _append(archive, 0, "TRAILER!!!", Entry(mode=0))
    return bytes(archive)


def _append(archive: bytearray, number: int, name: str, entry: Entry) -> None:
    raw_name = name.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(raw_name), 0)
    archive += b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name
    archive += b"\0" * (-len(archive) % 4)
    archive += entry.content
    archive += b"\0" * (-len(archive) % 4)
