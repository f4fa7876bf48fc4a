"""Reads the kernel's mount table (proc(5), /proc/pid/mountinfo) as text.

Pure parsing; where the text comes from and what follows from it is `mounts`.
"""

import re
from pathlib import Path

from node.model import DeviceNumber, MountEntry

_ESCAPE = re.compile(r"\\([0-7]{3})")
_PLAIN = re.compile(r"[A-Za-z0-9/._~:@+-]+")
"""What the kernel never escapes."""
_FIELDS_BEFORE_OPTIONAL = 6
_FIELDS_AFTER_SEPARATOR = 3


def parse(text: str, *, holding: tuple[str, ...] = ("",)) -> tuple[MountEntry, ...]:
    """Give all entries in the order of the table, or those alone whose line holds one of some words as it stands.

    A node has thousands of lines, and taking one apart costs a hundred times as much as a look for a word. Raises
    ValueError naming a line that is no mount entry.
    """
    # Only "\n" ends a line: other characters that str.splitlines honours may stand in a path.
    return tuple(_entry(line) for line in text.split("\n") if line and any(word in line for word in holding))


def word_of(path: Path) -> str:
    """Give a word that every line about this path holds, for `parse`, however the kernel escapes the rest of it."""
    return max(_PLAIN.findall(str(path)), key=len, default="")


def unescape(text: str) -> str:
    r"""Undo the kernel's octal escapes (`\040` is a space)."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def shown(path: Path) -> str:
    """Give a path as text for an error; bytes that are no text are replaced, because errors travel as UTF-8."""
    return str(path).encode(errors="surrogateescape").decode(errors="replace")


def _entry(line: str) -> MountEntry:
    fields = line.split(" ")
    try:
        # Optional fields (shared:, master: …) vary in number and end with a lone dash.
        separator = fields.index("-", _FIELDS_BEFORE_OPTIONAL)
        fs_type, source, super_options = fields[separator + 1 : separator + 1 + _FIELDS_AFTER_SEPARATOR]
        return MountEntry(
            mount_id=int(fields[0]),
            parent_id=int(fields[1]),
            device=DeviceNumber.parse(fields[2]),
            root=unescape(fields[3]),
            mount_point=Path(unescape(fields[4])),
            options=tuple(fields[5].split(",")),
            fs_type=unescape(fs_type),
            source=unescape(source),
            super_options=tuple(unescape(super_options).split(",")),
        )
    except ValueError as error:
        raise ValueError(f"no entry of a mount table: {line[:200]!r}") from error
