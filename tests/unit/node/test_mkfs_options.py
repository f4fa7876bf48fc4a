"""The node checks mkfs' options anew, against the file system that it is to make."""

import pytest

from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2 as pb
from csi.volume_context import MKFS_OPTIONS_KEY, SERIAL_KEY, SIZE_BYTES_KEY
from node.requests import read_stage


def request(options: str, fs_type: str, *, block: bool = False) -> pb.NodeStageVolumeRequest:
    mode = pb.VolumeCapability.AccessMode(mode=pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER)
    mount = None if block else pb.VolumeCapability.MountVolume(fs_type=fs_type)
    return pb.NodeStageVolumeRequest(
        volume_id="v",
        staging_target_path="/staging",
        volume_capability=pb.VolumeCapability(
            access_mode=mode, mount=mount, block=pb.VolumeCapability.BlockVolume() if block else None
        ),
        publish_context={SERIAL_KEY: "s", SIZE_BYTES_KEY: "1"},
        volume_context={MKFS_OPTIONS_KEY: options},
    )


@pytest.mark.parametrize(
    ("options", "fs_type"), [("-m 0", ""), ("-m 0", "ext3"), ("-m reflink=0", "xfs"), ("-m dup", "btrfs")]
)
def test_options_of_the_file_system_are_taken(options: str, fs_type: str) -> None:
    assert read_stage(request(options, fs_type)).volume.mkfs_options == tuple(options.split())


def test_a_raw_volume_keeps_the_options_of_its_class() -> None:
    assert read_stage(request("-m reflink=0", "", block=True)).volume.mkfs_options == ("-m", "reflink=0")


@pytest.mark.parametrize(
    ("options", "fs_type"),
    [("-qF", ""), ("-Eoffset=4194304", "ext4"), ("-m reflink=0", "ext4"), ("-m 0", "xfs"), ("-l logdev=x", "xfs")],
)
def test_what_the_controller_should_have_refused_is_refused_here_too(options: str, fs_type: str) -> None:
    with pytest.raises(CsiError, match="mkfsOptions") as caught:
        read_stage(request(options, fs_type))
    assert caught.value.kind is ErrorKind.INVALID
