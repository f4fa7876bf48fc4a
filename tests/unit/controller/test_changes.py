"""Expand and modify."""

import pytest
from grpc import StatusCode

from controller.model import MAX_VOLUME_BYTES
from csi.pb import csi_pb2 as pb
from tests.unit.controller.rig import GIB, LIMIT_S, MODES, Rig, capability, refused

MISSING = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


async def expand(
    rig: Rig, volume_id: str, required: int, limit: int = 0, **fields
) -> pb.ControllerExpandVolumeResponse:
    request = pb.ControllerExpandVolumeRequest(
        volume_id=volume_id, capacity_range=pb.CapacityRange(required_bytes=required, limit_bytes=limit), **fields
    )
    return await rig.controller.ControllerExpandVolume(request, timeout=LIMIT_S)


async def modify(rig: Rig, volume_id: str, **parameters: str) -> None:
    request = pb.ControllerModifyVolumeRequest(volume_id=volume_id, mutable_parameters=parameters)
    await rig.controller.ControllerModifyVolume(request, timeout=LIMIT_S)


async def test_expanding_is_one_call_and_gives_exactly_the_asked_size(extended: Rig):
    volume = await extended.create()
    extended.reset_calls()
    answer = await expand(extended, volume.volume_id, 3 * GIB)
    assert extended.calls() == {"POST /volumes/{ref}/resize": 1}
    assert answer.capacity_bytes == 3 * GIB
    assert answer.node_expansion_required
    assert await expand(extended, volume.volume_id, 3 * GIB) == answer


async def test_a_raw_device_needs_no_work_on_the_node(extended: Rig):
    volume = await extended.create()
    answer = await expand(extended, volume.volume_id, 2 * GIB, volume_capability=capability(block=True))
    assert not answer.node_expansion_required


async def test_an_odd_size_is_rounded_up(extended: Rig):
    volume = await extended.create()
    assert (await expand(extended, volume.volume_id, 2 * GIB + 1)).capacity_bytes == 3 * GIB


@pytest.mark.parametrize(("required", "limit"), [(GIB, 0), (GIB, 3 * GIB), (0, 3 * GIB), (0, 5 * GIB), (1, 0)])
async def test_a_volume_that_is_large_enough_stays_as_it_is(extended: Rig, required: int, limit: int):
    volume = await extended.create(size_bytes=3 * GIB)
    assert (await expand(extended, volume.volume_id, required, limit)).capacity_bytes == 3 * GIB


@pytest.mark.parametrize(
    ("required", "limit"), [(MAX_VOLUME_BYTES + 1, 0), (GIB + 1, 2 * GIB - 1), (GIB, 2 * GIB), (0, 2 * GIB)]
)
async def test_a_size_that_cannot_be_had_is_out_of_range(extended: Rig, required: int, limit: int):
    volume = await extended.create(size_bytes=3 * GIB)
    await refused(expand(extended, volume.volume_id, required, limit), StatusCode.OUT_OF_RANGE)
    assert [row["size_gb"] for row in await extended.volumes()] == [3]


@pytest.mark.parametrize("volume_id", [MISSING, "no-uuid"])
async def test_changing_a_volume_that_does_not_exist_is_not_found(extended: Rig, volume_id: str):
    for call in (
        expand(extended, volume_id, 2 * GIB),
        modify(extended, volume_id, performanceClass="fast"),
        modify(extended, volume_id),
    ):
        assert "volume_id" in await refused(call, StatusCode.NOT_FOUND)


async def test_expanding_without_a_range_is_invalid(extended: Rig):
    volume = await extended.create()
    requests = [
        pb.ControllerExpandVolumeRequest(volume_id=volume.volume_id),
        pb.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=pb.CapacityRange()),
    ]
    for request in requests:
        call = extended.controller.ControllerExpandVolume(request)
        assert "capacity_range" in await refused(call, StatusCode.INVALID_ARGUMENT)


async def test_expanding_for_a_mode_that_no_volume_has_is_invalid(extended: Rig):
    volume = await extended.create()
    wrong = capability(MODES.MULTI_NODE_MULTI_WRITER)
    call = expand(extended, volume.volume_id, 2 * GIB, volume_capability=wrong)
    assert "volume_capability.access_mode" in await refused(call, StatusCode.INVALID_ARGUMENT)


async def test_modifying_changes_class_and_tags_in_one_call(extended: Rig):
    volume = await extended.create(parameters={"tags": "a=1,b=2"})
    extended.reset_calls()
    await modify(extended, volume.volume_id, performanceClass="fast", tags="a=,c=3")
    assert extended.calls() == {"PATCH /volumes/{ref}": 1}
    (row,) = await extended.volumes()
    assert row["performance_class"] == "fast"
    assert {key: value for key, value in row["tags"].items() if "/" not in key} == {"b": "2", "c": "3"}


async def test_modifying_nothing_succeeds(extended: Rig):
    await modify(extended, (await extended.create()).volume_id)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"XXX_FakeKey": "v"}, "XXX_FakeKey"),
        ({"performanceClass": "warp"}, "warp"),
        ({"performanceClass": "a b"}, "performanceClass"),
        ({"mkfsOptions": "-m 0"}, "mkfsOptions"),
        ({"tags": "csi.thecloud.io/cluster=x"}, "tags"),
    ],
)
async def test_what_cannot_change_is_invalid_and_changes_nothing(extended: Rig, parameters: dict[str, str], named: str):
    volume = await extended.create()
    before = await extended.volumes()
    assert named in await refused(modify(extended, volume.volume_id, **parameters), StatusCode.INVALID_ARGUMENT)
    assert await extended.volumes() == before


async def test_a_strict_volume_never_changes(strict: Rig):
    volume = await strict.create()
    strict.reset_calls()
    for call in (expand(strict, volume.volume_id, 2 * GIB), modify(strict, volume.volume_id, performanceClass="x")):
        await refused(call, StatusCode.UNIMPLEMENTED)
    assert strict.calls() == {}
