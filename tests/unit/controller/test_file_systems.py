"""The file system of a class, of its mkfs options and of the capabilities are one."""

import pytest
from grpc import StatusCode

from csi.pb import csi_pb2 as pb
from csi.volume_context import MKFS_OPTIONS_KEY, VolumeContext
from tests.unit.controller.rig import LIMIT_S, Rig, capability, refused

XFS_ONLY = {"mkfsOptions": "-m reflink=0"}


def create(rig: Rig, parameters: dict[str, str], *capabilities: pb.VolumeCapability):
    request = pb.CreateVolumeRequest(name="v", volume_capabilities=capabilities, parameters=parameters)
    return rig.controller.CreateVolume(request, timeout=LIMIT_S)


@pytest.mark.parametrize("fs_type", [capability(fs_type="xfs"), capability(block=True)])
async def test_options_of_the_asked_file_system_are_taken(extended: Rig, fs_type: pb.VolumeCapability):
    volume = (await create(extended, XFS_ONLY | {"fsType": "xfs"}, fs_type)).volume
    assert VolumeContext.from_wire(volume.volume_context, ("xfs",)).mkfs_options == ("-m", "reflink=0")


@pytest.mark.parametrize(
    ("parameters", "capabilities", "named"),
    [
        (XFS_ONLY, [capability()], "mkfsOptions"),
        (XFS_ONLY, [capability(fs_type="xfs"), capability(fs_type="ext4")], "mkfsOptions"),
        ({"mkfsOptions": "-Eoffset=4194304"}, [capability()], "-Eoffset=4194304"),
        ({"mkfsOptions": "-qF"}, [capability(block=True)], "-qF"),
        ({"fsType": "xfs"}, [capability()], "parameters['fsType']"),
        ({"fsType": "xfs"}, [capability(fs_type="ext4")], "parameters['fsType']"),
        ({"fsType": "ntfs"}, [capability(block=True)], "parameters['fsType']"),
        ({"csi.storage.k8s.io/fsType": "xfs"}, [capability()], "csi.storage.k8s.io/fsType"),
    ],
)
async def test_what_does_not_go_together_is_refused_by_name_and_makes_nothing(
    rig: Rig, parameters: dict[str, str], capabilities: list[pb.VolumeCapability], named: str
):
    assert named in await refused(create(rig, parameters, *capabilities), StatusCode.INVALID_ARGUMENT)
    assert await rig.volumes() == []


async def test_a_volume_is_not_attached_to_be_made_another_file_system_with_these_options(extended: Rig):
    volume = (await create(extended, XFS_ONLY, capability(fs_type="xfs"))).volume
    request = pb.ControllerPublishVolumeRequest(
        volume_id=volume.volume_id,
        node_id="node-a",
        volume_capability=capability(fs_type="ext4"),
        volume_context={MKFS_OPTIONS_KEY: "-m reflink=0"},
    )
    call = extended.controller.ControllerPublishVolume(request, timeout=LIMIT_S)
    assert "mkfsOptions" in await refused(call, StatusCode.INVALID_ARGUMENT)


async def test_capacity_is_told_for_a_class_with_a_file_system(extended: Rig):
    request = pb.GetCapacityRequest(parameters=XFS_ONLY | {"fsType": "xfs"})
    assert (await extended.controller.GetCapacity(request, timeout=LIMIT_S)).available_capacity > 0
