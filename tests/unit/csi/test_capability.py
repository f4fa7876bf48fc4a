from typing import Any

import pytest

from csi.capability import AccessMode, Capability, parse_capabilities, parse_capability
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2

Mode = csi_pb2.VolumeCapability.AccessMode


def mounted(mode: int = 1, **mount: Any) -> csi_pb2.VolumeCapability:
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(**mount),
        access_mode=Mode.FromString(b"\x08" + bytes([mode])),
    )


def refused(pb: csi_pb2.VolumeCapability) -> str:
    with pytest.raises(CsiError) as caught:
        parse_capability(pb, "volume_capability")
    assert caught.value.kind is ErrorKind.INVALID
    assert caught.value.message.startswith("volume_capability")
    return caught.value.message


def test_our_access_modes_are_those_of_the_specification() -> None:
    ours = {mode.name: mode.value for mode in AccessMode}
    assert ours == {name: number for name, number in Mode.Mode.items() if name != "UNKNOWN"}


@pytest.mark.parametrize("mode", list(AccessMode))
def test_every_access_mode_is_read(mode: AccessMode) -> None:
    assert parse_capability(mounted(mode), "c").access_mode is mode


def test_which_modes_read_only_and_which_span_nodes() -> None:
    assert {mode for mode in AccessMode if mode.is_read_only} == {
        AccessMode.SINGLE_NODE_READER_ONLY,
        AccessMode.MULTI_NODE_READER_ONLY,
    }
    assert {mode.name for mode in AccessMode if mode.is_multi_node} == {
        mode.name for mode in AccessMode if mode.name.startswith("MULTI_NODE")
    }


def test_a_mount_capability_keeps_all_its_parts() -> None:
    pb = mounted(fs_type="xfs", mount_flags=["noatime", "discard"], volume_mount_group="1000")
    assert parse_capability(pb, "c") == Capability(
        access_mode=AccessMode.SINGLE_NODE_WRITER,
        block=False,
        fs_type="xfs",
        mount_flags=("noatime", "discard"),
        volume_mount_group="1000",
    )


def test_a_block_capability_has_nothing_of_a_mount() -> None:
    pb = csi_pb2.VolumeCapability(
        block=csi_pb2.VolumeCapability.BlockVolume(),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=Mode.SINGLE_NODE_WRITER),
    )
    assert parse_capability(pb, "c") == Capability(access_mode=AccessMode.SINGLE_NODE_WRITER, block=True)


def test_neither_block_nor_mount_is_refused() -> None:
    pb = csi_pb2.VolumeCapability(access_mode=csi_pb2.VolumeCapability.AccessMode(mode=Mode.SINGLE_NODE_WRITER))
    assert "block or mount is needed" in refused(pb)


def test_an_unset_unknown_or_undefined_mode_is_refused() -> None:
    without = csi_pb2.VolumeCapability(mount=csi_pb2.VolumeCapability.MountVolume())
    assert "access_mode.mode is missing" in refused(without)
    assert "access_mode.mode is missing" in refused(mounted(0))
    assert "access_mode.mode is 42" in refused(mounted(42))


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ({"fs_type": "e" * 129}, "mount.fs_type has 129 bytes"),
        ({"fs_type": "ext4\x00"}, "mount.fs_type is"),
        ({"mount_flags": ["ro", ""]}, "mount.mount_flags[1] is empty"),
        ({"mount_flags": ["ro\n"]}, "mount.mount_flags[0] holds control"),
        ({"mount_flags": ["x" * 2048, "y" * 2049]}, "mount.mount_flags has 4097 bytes"),
        ({"volume_mount_group": "g" * 129}, "mount.volume_mount_group has 129 bytes"),
    ],
)
def test_oversized_or_unprintable_parts_are_refused(mount: dict[str, Any], problem: str) -> None:
    assert problem in refused(mounted(**mount))


def test_an_empty_list_is_refused_and_an_error_names_the_entry() -> None:
    with pytest.raises(CsiError, match=r"volume_capabilities is missing"):
        parse_capabilities([], "volume_capabilities")
    with pytest.raises(CsiError, match=r"volume_capabilities\[1\]"):
        parse_capabilities([mounted(), mounted(0)], "volume_capabilities")
    assert len(parse_capabilities([mounted(), mounted()], "volume_capabilities")) == 2
