"""Checks the mount flags of a volume capability before they reach mount(8).

Pure. Flags come from StorageClass and PersistentVolume (`mountOptions`) and from the kubelet (SELinux context). They
pass through as they are, except those that would make mount(8) use another device, another place or do something other
than mounting. Not here: the options that a file system needs by itself (`filesystems.mount_options`).
"""

from csi.errors import CsiError, ErrorKind

MAX_FLAGS = 64

_FORBIDDEN = frozenset(
    {
        # another kind of operation than mounting this disk here
        "bind", "rbind", "move", "remount", "shared", "rshared", "slave", "rslave", "private", "rprivate",
        "unbindable", "runbindable",
        # another device, or a part of it
        "loop", "offset", "sizelimit", "encryption", "device", "journal_path", "journal_dev", "logdev", "rtdev", "sb",
        "subvol", "subvolid",
        # programs and identities that mount(8) would bring in
        "helper", "uhelper", "pamhelper",
    }
)  # fmt: skip
_FORBIDDEN_PREFIXES = ("x-", "verity.")


def check_mount_flags(flags: tuple[str, ...], field: str) -> tuple[str, ...]:
    """Give the flags one by one, split at commas outside quotes, in their order and without repetition.

    Raises CsiError INVALID naming `field` and the flag.
    """
    if len(flags) > MAX_FLAGS:
        raise CsiError(ErrorKind.INVALID, f"{field} has {len(flags)} flags; at most {MAX_FLAGS} are allowed")
    checked: dict[str, None] = {}
    for text in flags:
        if not text.isprintable() or "\\" in text:
            raise CsiError(ErrorKind.INVALID, f"{field}: {text[:80]!r} has control characters or backslashes")
        for flag in _split(text, field):
            _check(flag, field)
            checked[flag] = None
    if {"ro", "rw"} <= checked.keys():
        raise CsiError(ErrorKind.INVALID, f"{field} has both 'ro' and 'rw'")
    return tuple(checked)


def asks_read_only(flags: tuple[str, ...]) -> bool:
    """Whether checked flags ask for a read-only mount."""
    return "ro" in flags


def _split(text: str, field: str) -> list[str]:
    words, word, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character == "," and not quoted:
            words.append(word)
            word = ""
        else:
            word += character
    words.append(word)
    if quoted or not all(words):
        raise CsiError(ErrorKind.INVALID, f"{field}: {text[:80]!r} is empty or has an empty part or an open quote")
    return words


def _check(flag: str, field: str) -> None:
    name = flag.partition("=")[0].strip().lower()
    if name in _FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES) or name.startswith("-") or flag != flag.strip():
        raise CsiError(
            ErrorKind.INVALID,
            f"{field}: {flag[:80]!r} is not allowed; it would change what is mounted or where. Remove it from "
            "mountOptions of the StorageClass or the PersistentVolume.",
        )
