"""Checks of single request fields against the limits of the CSI specification.

Every function gives the checked value or raises CsiError INVALID whose text begins with the field's name. Sizes of
texts are counted in bytes of UTF-8. What a value means to the storage does not belong here.
"""

import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from csi.errors import CsiError, ErrorKind

MAX_TEXT_BYTES = 128
"""CSI 1.13, size limits: a string without a limit of its own."""
MAX_NODE_ID_BYTES = 256
"""CSI 1.13, NodeGetInfo."""
MAX_MAP_BYTES = 4096
"""CSI 1.13, size limits: keys and values of a map together."""
MAX_PATH_BYTES = 4096
MAX_PATH_PART_BYTES = 255
_SHOWN_CHARACTERS = 80
_WHITESPACE_CONTROLS = "\t\n\r"


class SizeLimits(Protocol):
    """The shape of CSI's CapacityRange."""

    required_bytes: int
    limit_bytes: int


class EnumNames(Protocol):
    """The shape of a generated enum."""

    def values(self) -> Iterable[int]:
        """Give all known numbers."""
        ...


@dataclass(frozen=True, slots=True)
class SizeRange:
    """A wanted size; 0 means that this end is open."""

    required_bytes: int = 0
    limit_bytes: int = 0


def invalid(field: str, problem: str) -> CsiError:
    """Make the error for a field; `problem` continues the sentence that the field's name begins."""
    return CsiError(ErrorKind.INVALID, f"{field} {problem}")


def shown(value: str) -> str:
    """Give a value as it may stand in an error text: escaped and cut."""
    cut = value[:_SHOWN_CHARACTERS]
    return repr(cut) + ("…" if len(value) > len(cut) else "")


def optional_text(value: str, field: str, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Check an identifier or word that may be empty: its size, and no control characters at all."""
    _check_size(value, field, max_bytes)
    if has_control(value):
        raise invalid(field, f"is {shown(value)}; control characters are not allowed")
    return value


def required_text(value: str, field: str, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Check an identifier or word that has to be there."""
    if not value:
        raise invalid(field, "is missing")
    return optional_text(value, field, max_bytes=max_bytes)


def object_name(value: str, field: str = "name") -> str:
    """Check a name that the caller chose for a new object.

    CSI 1.13, CreateVolume: any Unicode text but control characters; tab and line ends are allowed.
    """
    if not value:
        raise invalid(field, "is missing")
    _check_size(value, field, MAX_TEXT_BYTES)
    if has_control(value, allowed=_WHITESPACE_CONTROLS):
        raise invalid(field, f"is {shown(value)}; control characters are not allowed")
    return value


def volume_id(value: str, field: str = "volume_id") -> str:
    """Check the id of a volume. Its form is not judged: an id of foreign form is one that does not exist."""
    return required_text(value, field)


def snapshot_id(value: str, field: str = "snapshot_id") -> str:
    """Check the id of a snapshot; as with volumes, its form is not judged."""
    return required_text(value, field)


def node_id(value: str, field: str = "node_id") -> str:
    """Check the id of a node."""
    return required_text(value, field, max_bytes=MAX_NODE_ID_BYTES)


def absolute_path(value: str, field: str) -> str:
    """Check a path of this host and give it without superfluous slashes.

    Relative paths, `.` and `..` parts, control characters, the root directory and lengths that the kernel refuses are
    errors.
    """
    required_text(value, field, max_bytes=MAX_PATH_BYTES)
    if not value.startswith("/"):
        raise invalid(field, f"is {shown(value)}; an absolute path is needed")
    parts = [part for part in value.split("/") if part]
    if not parts:
        raise invalid(field, "is the root directory")
    for part in parts:
        if part in {".", ".."}:
            raise invalid(field, f"is {shown(value)}; a path without {part!r} is needed")
        if len(part.encode()) > MAX_PATH_PART_BYTES:
            raise invalid(field, f"has a part of more than {MAX_PATH_PART_BYTES} bytes: {shown(part)}")
    return posixpath.join("/", *parts)


def bytes_range(capacity_range: SizeLimits, field: str = "capacity_range") -> SizeRange:
    """Check both ends of a size; an unset or empty range is open at both ends."""
    required, limit = capacity_range.required_bytes, capacity_range.limit_bytes
    for name, value in (("required_bytes", required), ("limit_bytes", limit)):
        if value < 0:
            raise invalid(f"{field}.{name}", f"is {value}; it must not be negative")
    if limit and limit < required:
        raise invalid(f"{field}.limit_bytes", f"is {limit}, less than required_bytes {required}")
    return SizeRange(required_bytes=required, limit_bytes=limit)


def required_range(request: Message, field: str = "capacity_range") -> SizeRange:
    """Check the size of a call that makes no sense without one; one end at least has to be set."""
    required_message(request, field)
    sizes = bytes_range(getattr(request, field), field)
    if not sizes.required_bytes and not sizes.limit_bytes:
        raise invalid(field, "is empty; required_bytes or limit_bytes is needed")
    return sizes


def required_message(request: Message, field: str) -> None:
    """Check that a message field is set; reading it would give an empty message otherwise."""
    if not request.HasField(field):
        raise invalid(field, "is missing")


def page_size(value: int, field: str = "max_entries") -> int:
    """Check the wanted length of a page; 0 leaves it to the plugin."""
    if value < 0:
        raise invalid(field, f"is {value}; it must not be negative")
    return value


def known_number(value: int, enum: EnumNames, field: str) -> int:
    """Check an enum field: proto3 hands over numbers that no value has, and 0 means that nothing was said."""
    if value == 0:
        raise invalid(field, "is missing or UNKNOWN")
    if value not in enum.values():
        raise invalid(field, f"is {value}, a value that CSI 1.13 does not define")
    return value


def string_map(value: Mapping[str, str], field: str) -> dict[str, str]:
    """Check a map of texts: 4 KiB in all, no empty key, no control characters but white space in values."""
    size = sum(len(key.encode()) + len(text.encode()) for key, text in value.items())
    if size > MAX_MAP_BYTES:
        raise invalid(field, f"has {size} bytes of keys and values; at most {MAX_MAP_BYTES} are allowed")
    for key, text in value.items():
        if not key:
            raise invalid(field, "has an empty key")
        if has_control(key):
            raise invalid(field, f"has the key {shown(key)}; control characters are not allowed")
        if has_control(text, allowed=_WHITESPACE_CONTROLS):
            raise invalid(f"{field}[{key}]", "holds control characters")
    return dict(value)


def has_control(value: str, *, allowed: str = "") -> bool:
    """Say whether a text holds a control character (Unicode category Cc) other than the allowed ones."""
    return any(unicodedata.category(character) == "Cc" and character not in allowed for character in value)


def _check_size(value: str, field: str, max_bytes: int) -> None:
    size = len(value.encode())
    if size > max_bytes:
        raise invalid(field, f"has {size} bytes; at most {max_bytes} are allowed. It begins with {shown(value)}")
