"""The words that the controller and the node exchange through Kubernetes.

`VolumeContext` becomes the PersistentVolume's `volumeAttributes` (written once at creation), `PublishContext` the
VolumeAttachment's `attachmentMetadata` (written at every attach). Both are maps of strings on the wire; the node trusts
neither and checks each value again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csi.errors import CsiError, ErrorKind
from csi.mkfs_options import parse_mkfs_options

PREFIX = "csi.thecloud.io/"

MKFS_OPTIONS_KEY = PREFIX + "mkfs-options"
SOURCE_KEY = PREFIX + "source"
SERIAL_KEY = PREFIX + "serial"
SIZE_BYTES_KEY = PREFIX + "size-bytes"
ALLOCATED_BYTES_KEY = PREFIX + "allocated-bytes"

SERIAL_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class VolumeContext:
    """Facts about a volume that never change after its creation."""

    mkfs_options: tuple[str, ...] = ()
    """Extra arguments of mkfs, each one word, as `csi.mkfs_options` allows them."""
    source: str = ""
    """Empty, or `snapshot:<id>` / `volume:<id>`: the volume came with content and is never formatted."""

    def to_wire(self) -> dict[str, str]:
        """Give the map that Kubernetes stores; empty facts are left out."""
        wire = {}
        if self.mkfs_options:
            wire[MKFS_OPTIONS_KEY] = " ".join(self.mkfs_options)
        if self.source:
            wire[SOURCE_KEY] = self.source
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, str], fs_types: Iterable[str] = ()) -> "VolumeContext":
        """Read the map that Kubernetes hands back; keys of others (provisioner identity …) are ignored.

        `fs_types` are the file systems that the volume is to hold; none for a raw one. Raises CsiError INVALID for a
        value of ours that is malformed.
        """
        options = parse_mkfs_options(wire.get(MKFS_OPTIONS_KEY, ""), fs_types)
        return cls(mkfs_options=options, source=wire.get(SOURCE_KEY, ""))


@dataclass(frozen=True, slots=True)
class PublishContext:
    """What the platform says about an attached volume at the time of the attach."""

    serial: str
    """The serial that the node's kernel reports for the disk; never a device path."""
    size_bytes: int
    allocated_bytes: int | None = None
    """Bytes ever written; None when the platform does not say."""

    def to_wire(self) -> dict[str, str]:
        """Give the map that Kubernetes stores in the VolumeAttachment."""
        wire = {SERIAL_KEY: self.serial, SIZE_BYTES_KEY: str(self.size_bytes)}
        if self.allocated_bytes is not None:
            wire[ALLOCATED_BYTES_KEY] = str(self.allocated_bytes)
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, str]) -> "PublishContext":
        """Read the map of the VolumeAttachment.

        Raises CsiError INVALID when the serial is missing or a value is malformed.
        """
        serial = wire.get(SERIAL_KEY, "")
        if not SERIAL_PATTERN.fullmatch(serial):
            raise CsiError(
                ErrorKind.INVALID,
                f"publish_context[{SERIAL_KEY}] is {serial[:80]!r}; a serial of 1 to 64 letters, digits, '_' or '-' is "
                "needed. The volume was not attached by this driver's controller. If an older driver attached it, end "
                "all its pods on this node, so that it is detached; it is attached anew for the next one.",
            )
        allocated = wire.get(ALLOCATED_BYTES_KEY)
        return cls(
            serial=serial,
            size_bytes=_bytes(wire, SIZE_BYTES_KEY),
            allocated_bytes=None if allocated is None else _bytes(wire, ALLOCATED_BYTES_KEY),
        )


def _bytes(wire: Mapping[str, str], key: str) -> int:
    text = wire.get(key, "")
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise CsiError(ErrorKind.INVALID, f"publish_context[{key}] is {text[:80]!r}; a number of bytes is needed")
    return int(text)
