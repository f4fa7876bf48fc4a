"""VolumeCapability in the drivers' own terms: how a volume is to be used, and by whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from csi.pb import csi_pb2
from csi.validate import has_control, invalid, known_number, optional_text

MAX_MOUNT_FLAGS_BYTES = 4096
"""CSI 1.13, VolumeCapability: all mount flags together."""


class AccessMode(IntEnum):
    """CSI's access modes, with its numbers."""

    SINGLE_NODE_WRITER = 1
    SINGLE_NODE_READER_ONLY = 2
    MULTI_NODE_READER_ONLY = 3
    MULTI_NODE_SINGLE_WRITER = 4
    MULTI_NODE_MULTI_WRITER = 5
    SINGLE_NODE_SINGLE_WRITER = 6
    SINGLE_NODE_MULTI_WRITER = 7

    @property
    def is_read_only(self) -> bool:
        """Nobody may write."""
        return self in {AccessMode.SINGLE_NODE_READER_ONLY, AccessMode.MULTI_NODE_READER_ONLY}

    @property
    def is_multi_node(self) -> bool:
        """More than one node may have the volume at a time."""
        return self in {
            AccessMode.MULTI_NODE_READER_ONLY,
            AccessMode.MULTI_NODE_SINGLE_WRITER,
            AccessMode.MULTI_NODE_MULTI_WRITER,
        }


@dataclass(frozen=True, slots=True)
class Capability:
    """A checked VolumeCapability."""

    access_mode: AccessMode
    block: bool
    """True: a raw device; False: a mounted file system, and the fields below count."""
    fs_type: str = ""
    """Empty: the caller leaves the choice to the driver."""
    mount_flags: tuple[str, ...] = ()
    volume_mount_group: str = ""


def parse_capability(pb: csi_pb2.VolumeCapability, field: str) -> Capability:
    """Translate one VolumeCapability; `field` is its name in the request.

    Raises CsiError INVALID naming the part that is missing, unknown or too large.
    """
    kind = pb.WhichOneof("access_type")
    if kind is None:
        raise invalid(field, "has no access type; block or mount is needed")
    mode = known_number(pb.access_mode.mode, csi_pb2.VolumeCapability.AccessMode.Mode, f"{field}.access_mode.mode")
    if kind == "block":
        return Capability(access_mode=AccessMode(mode), block=True)
    mount = pb.mount
    return Capability(
        access_mode=AccessMode(mode),
        block=False,
        fs_type=optional_text(mount.fs_type, f"{field}.mount.fs_type"),
        mount_flags=_parse_mount_flags(tuple(mount.mount_flags), f"{field}.mount.mount_flags"),
        volume_mount_group=optional_text(mount.volume_mount_group, f"{field}.mount.volume_mount_group"),
    )


def parse_capabilities(pbs: Sequence[csi_pb2.VolumeCapability], field: str) -> tuple[Capability, ...]:
    """Translate a list of which the specification demands at least one entry."""
    if not pbs:
        raise invalid(field, "is missing; at least one capability is needed")
    return tuple(parse_capability(pb, f"{field}[{index}]") for index, pb in enumerate(pbs))


def _parse_mount_flags(flags: tuple[str, ...], field: str) -> tuple[str, ...]:
    size = sum(len(flag.encode()) for flag in flags)
    if size > MAX_MOUNT_FLAGS_BYTES:
        raise invalid(field, f"has {size} bytes; at most {MAX_MOUNT_FLAGS_BYTES} are allowed")
    for index, flag in enumerate(flags):
        if not flag:
            raise invalid(f"{field}[{index}]", "is empty")
        if has_control(flag):
            raise invalid(f"{field}[{index}]", "holds control characters")
    return flags
