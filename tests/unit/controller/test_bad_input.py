"""Requests that are wrong in every way that can be generated: the code that CSI names, the field named, no effect.

One request of every RPC is valid; a test changes one field of it at a time to something that a well-behaved sidecar
would never send.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi.pb import csi_pb2 as pb
from tests.unit.controller.rig import GIB, LIMIT_S, Rig, capability, running_rig

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
HUGE = "x" * 10_240

TEXTS = st.one_of(
    st.sampled_from(
        ["", "..", "../..", "/", "%2e%2e", "a\x00b", "\x1b[2J", "\x7f", "\u0085", HUGE, "ä" * 65, "a/b", "?x"]
    ),
    st.text(max_size=20),
    st.just(MISSING),
)
NUMBERS_64 = st.one_of(st.sampled_from([-1, -(2**63), 2**63 - 1, 16_001 * GIB, 1, 0]), st.integers(-(2**63), 2**63 - 1))
NUMBERS_32 = st.one_of(st.sampled_from([-1, -(2**31), 2**31 - 1]), st.integers(-(2**31), 2**31 - 1))
ENUMS = st.sampled_from([0, 99, -1, 2**31 - 1, 3, 4, 5])
MAPS = st.one_of(
    st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=3), st.just({f"k{number}": "v" * 100 for number in range(60)})
)
VALUES: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_INT64: NUMBERS_64,
    FieldDescriptor.TYPE_INT32: NUMBERS_32,
    FieldDescriptor.TYPE_ENUM: ENUMS,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def alter(draw: Callable[[st.SearchStrategy[Any]], Any], message: Message, path: str = "") -> str:
    """Change one field of a message, at any depth, to a drawn value; gives its path."""
    fields = [field for field in message.DESCRIPTOR.fields if field.name != "secrets"]
    if not fields:
        return path
    field = draw(st.sampled_from(fields))
    here = f"{path}.{field.name}" if path else field.name
    value: Any = getattr(message, field.name)
    if draw(st.integers(0, 5)) == 0:
        message.ClearField(field.name)
    elif is_map(field):
        for key, text in draw(MAPS).items():
            value[_encodable(key)] = _encodable(text)
    elif field.is_repeated:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            return alter(draw, value[0] if value else value.add(), here)
        value.append(_encodable(draw(VALUES[field.type])))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        value.SetInParent()
        return alter(draw, value, here)
    else:
        setattr(message, field.name, _encodable(draw(VALUES[field.type])))
    return here


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@dataclass(frozen=True)
class Fixed:
    """A running controller with one of each object."""

    rig: Rig
    volume_id: str
    snapshot_id: str
    group_id: str


@pytest.fixture(params=["extended", "strict"])
async def fixed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fixed]:
    async with running_rig(tmp_path, tier=request.param) as rig:
        volume = await rig.create("pvc-fixed", size_bytes=2 * GIB)
        snapshot_id = group_id = MISSING
        if request.param == "extended":
            snapshot_id = (await rig.snapshot(volume.volume_id)).snapshot_id
            taken = await rig.groups.CreateVolumeGroupSnapshot(
                pb.CreateVolumeGroupSnapshotRequest(name="group-fixed", source_volume_ids=[volume.volume_id])
            )
            group_id = taken.group_snapshot.group_snapshot_id
        yield Fixed(rig, volume.volume_id, snapshot_id, group_id)


Maker = Callable[[Fixed], Message]
VALID: dict[str, Maker] = {
    "CreateVolume": lambda fixed: pb.CreateVolumeRequest(
        name="pvc-fixed", capacity_range=pb.CapacityRange(required_bytes=2 * GIB), volume_capabilities=[capability()]
    ),
    "DeleteVolume": lambda fixed: pb.DeleteVolumeRequest(volume_id=MISSING),
    "ControllerPublishVolume": lambda fixed: pb.ControllerPublishVolumeRequest(
        volume_id=MISSING, node_id="node-a", volume_capability=capability()
    ),
    "ControllerUnpublishVolume": lambda fixed: pb.ControllerUnpublishVolumeRequest(
        volume_id=fixed.volume_id, node_id="node-a"
    ),
    "ValidateVolumeCapabilities": lambda fixed: pb.ValidateVolumeCapabilitiesRequest(
        volume_id=fixed.volume_id, volume_capabilities=[capability()]
    ),
    "ListVolumes": lambda fixed: pb.ListVolumesRequest(max_entries=1),
    "GetCapacity": lambda fixed: pb.GetCapacityRequest(volume_capabilities=[capability()]),
    "ControllerGetCapabilities": lambda fixed: pb.ControllerGetCapabilitiesRequest(),
    "CreateSnapshot": lambda fixed: pb.CreateSnapshotRequest(name="snap-1", source_volume_id=fixed.volume_id),
    "DeleteSnapshot": lambda fixed: pb.DeleteSnapshotRequest(snapshot_id=MISSING),
    "ListSnapshots": lambda fixed: pb.ListSnapshotsRequest(max_entries=1, source_volume_id=fixed.volume_id),
    "GetSnapshot": lambda fixed: pb.GetSnapshotRequest(snapshot_id=fixed.snapshot_id),
    "ControllerExpandVolume": lambda fixed: pb.ControllerExpandVolumeRequest(
        volume_id=fixed.volume_id,
        capacity_range=pb.CapacityRange(required_bytes=GIB, limit_bytes=2 * GIB),
        volume_capability=capability(),
    ),
    "ControllerModifyVolume": lambda fixed: pb.ControllerModifyVolumeRequest(volume_id=MISSING),
    "ControllerGetVolume": lambda fixed: pb.ControllerGetVolumeRequest(volume_id=fixed.volume_id),
    "ControllerGetVolumeHealth": lambda fixed: pb.ControllerGetVolumeHealthRequest(volume_id=fixed.volume_id),
    "ControllerListVolumeHealth": lambda fixed: pb.ControllerListVolumeHealthRequest(max_entries=1),
    "CreateVolumeGroupSnapshot": lambda fixed: pb.CreateVolumeGroupSnapshotRequest(
        name="group-fixed", source_volume_ids=[fixed.volume_id]
    ),
    "DeleteVolumeGroupSnapshot": lambda fixed: pb.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=MISSING),
    "GetVolumeGroupSnapshot": lambda fixed: pb.GetVolumeGroupSnapshotRequest(group_snapshot_id=fixed.group_id),
    "GroupControllerGetCapabilities": lambda fixed: pb.GroupControllerGetCapabilitiesRequest(),
}
MAY_CHANGE = {
    "CreateVolume",
    "CreateSnapshot",
    "CreateVolumeGroupSnapshot",
    "ControllerExpandVolume",
    "ControllerModifyVolume",
}
"""What a request that is still right after the alteration may do."""


def test_every_rpc_of_both_services_has_its_valid_request():
    services = pb.DESCRIPTOR.services_by_name
    served = [*services["Controller"].methods, *services["GroupController"].methods]
    assert {method.name for method in served} == set(VALID)


async def state(rig: Rig) -> str:
    def read(db: Any) -> str:
        tables = ("volumes", "snapshots", "snapshot_groups")
        return repr([db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in tables])

    return await rig.cloud.cloud.store.read(read)


def rpc(rig: Rig, name: str) -> Callable[..., Any]:
    stub = rig.groups if "Group" in name else rig.controller
    found: Callable[..., Any] = getattr(stub, name)
    return found


@pytest.mark.parametrize("name", sorted(VALID))
@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_a_request_with_one_wrong_field_is_answered_as_csi_says(fixed: Fixed, name: str, data: st.DataObject):
    request = VALID[name](fixed)
    path = alter(data.draw, request)
    before = await state(fixed.rig)
    code, details = await outcome(rpc(fixed.rig, name)(request, timeout=LIMIT_S))
    assert code in CODES, f"{path}: {code} {details}"
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        assert path.split(".")[0] in details or "mkfsOptions" in details, f"{path}: {details}"
    if code is not grpc.StatusCode.OK or name not in MAY_CHANGE:
        assert await state(fixed.rig) == before, f"{path}: {code} {details}"


async def outcome(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Give the code and text that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), str(error.details())
    return grpc.StatusCode.OK, ""


REQUIRED = {
    "CreateVolume": ["name", "volume_capabilities"],
    "DeleteVolume": ["volume_id"],
    "ControllerPublishVolume": ["volume_id", "node_id", "volume_capability"],
    "ControllerUnpublishVolume": ["volume_id"],
    "ValidateVolumeCapabilities": ["volume_id", "volume_capabilities"],
    "CreateSnapshot": ["name", "source_volume_id"],
    "DeleteSnapshot": ["snapshot_id"],
    "GetSnapshot": ["snapshot_id"],
    "ControllerExpandVolume": ["volume_id", "capacity_range"],
    "ControllerModifyVolume": ["volume_id"],
    "ControllerGetVolume": ["volume_id"],
    "ControllerGetVolumeHealth": ["volume_id"],
    "CreateVolumeGroupSnapshot": ["name", "source_volume_ids"],
    "DeleteVolumeGroupSnapshot": ["group_snapshot_id"],
    "GetVolumeGroupSnapshot": ["group_snapshot_id"],
}


async def test_every_required_field_that_is_missing_is_named(fixed: Fixed):
    is_strict = fixed.snapshot_id == MISSING
    for name, fields in REQUIRED.items():
        for field in fields:
            request = VALID[name](fixed)
            request.ClearField(field)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc(fixed.rig, name)(request, timeout=LIMIT_S)
            if is_strict and caught.value.code() is grpc.StatusCode.UNIMPLEMENTED:
                continue
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (name, field)
            assert field in str(caught.value.details()), (name, field)


@pytest.mark.parametrize("text", [HUGE, "a\x00b", "a\x1bb"])
async def test_every_text_that_is_oversized_or_holds_control_characters_is_named(fixed: Fixed, text: str):
    before = await state(fixed.rig)
    for name, maker in VALID.items():
        for field in maker(fixed).DESCRIPTOR.fields:
            if field.type != FieldDescriptor.TYPE_STRING:
                continue
            request = maker(fixed)
            if field.is_repeated:
                getattr(request, field.name).append(text)
            else:
                setattr(request, field.name, text)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc(fixed.rig, name)(request, timeout=LIMIT_S)
            if caught.value.code() is grpc.StatusCode.UNIMPLEMENTED:
                continue
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (name, field.name)
            assert field.name in str(caught.value.details()), (name, field.name)
            assert text not in str(caught.value.details())
    assert await state(fixed.rig) == before
