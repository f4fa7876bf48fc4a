"""How the platform's JSON is read: quirks in, plain objects out."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.thecloud.scripted import INSTANCE_ID, VOLUME_ID
from thecloud import wire
from thecloud.call import Answer, Call, decoder_of, read_done, read_list, read_object
from thecloud.errors import UnknownOutcome

CALL = Call(method="GET", route="/volumes", path="/volumes", deadline=0)


def decode(shape, **fields):
    return msgspec.json.decode(json.dumps(fields), type=shape)


def strict_volume(**fields):
    return {
        "id": VOLUME_ID,
        "user_id": "u",
        "tenant_id": "t",
        "name": "pv-1",
        "size_gb": 3,
        "status": "AVAILABLE",
        "backend_path": "vol-1",
        "encrypted": False,
        "created_at": "2025-01-02T03:04:05.123456789+02:00",
        "updated_at": "0001-01-01T00:00:00Z",
    } | fields


def test_a_strict_volume_has_no_extension():
    volume = decode(wire.Volume, **strict_volume())
    assert volume.size_bytes == 3 << 30
    assert volume.status is wire.VolumeStatus.AVAILABLE
    assert volume.created_at.astimezone(UTC) == datetime(2025, 1, 2, 1, 4, 5, 123457, tzinfo=UTC)
    assert (volume.instance_id, volume.serial, volume.allocated_bytes, volume.read_only) == (None, None, None, None)
    assert (volume.tags, volume.health) == ({}, ())


def test_an_extended_volume_keeps_its_facts():
    volume = decode(
        wire.Volume,
        **strict_volume(
            status="IN-USE",
            instance_id=INSTANCE_ID,
            serial="abc",
            tags={"a": "b"},
            allocated_bytes=0,
            read_only=True,
            health=[{"status": "DATA_LOSS", "reason": "disk", "message": "gone"}, {"status": "NEW_WORD"}],
        ),
    )
    assert (volume.instance_id, volume.serial, volume.tags) == (INSTANCE_ID, "abc", {"a": "b"})
    assert volume.allocated_bytes == 0
    assert volume.read_only is True
    assert [entry.status for entry in volume.health] == [wire.HealthStatus.DATA_LOSS, wire.HealthStatus.UNKNOWN]


def test_zero_ids_zero_times_and_nulls_mean_nothing():
    volume = decode(
        wire.Volume,
        **strict_volume(
            instance_id=wire.ZERO_ID, serial="", tags=None, health=None, created_at="0001-01-01T00:00:00Z", zone=None
        ),
    )
    assert (volume.instance_id, volume.serial, volume.zone, volume.created_at) == (None, None, None, None)
    assert (volume.tags, volume.health) == ({}, ())


def test_a_zero_time_with_an_offset_is_no_time():
    assert decode(wire.Volume, **strict_volume(created_at="0001-01-01T00:00:00+00:00")).created_at is None


@pytest.mark.parametrize(
    ("enum", "shape"),
    [
        (wire.VolumeStatus, wire.VolumeStatus),
        (wire.SnapshotStatus, wire.SnapshotStatus),
        (wire.InstanceStatus, wire.InstanceStatus),
        (wire.HealthStatus, wire.HealthStatus),
    ],
)
def test_a_status_that_we_do_not_know_is_unknown(enum, shape):
    assert msgspec.json.decode(b'"MIGRATING"', type=shape) is enum.UNKNOWN


@pytest.mark.parametrize(
    ("status", "instance_id", "expected"),
    [
        ("IN-USE", None, True),
        ("IN-USE", wire.ZERO_ID, True),
        ("IN-USE", INSTANCE_ID, False),
        ("AVAILABLE", None, False),
    ],
)
def test_in_use_by_nobody_is_wedged(status, instance_id, expected):
    assert decode(wire.Volume, **strict_volume(status=status, instance_id=instance_id)).is_wedged is expected


@pytest.mark.parametrize("field", ["id", "name", "size_gb", "status"])
def test_a_volume_without_what_is_always_there_cannot_be_read(field):
    fields = strict_volume()
    del fields[field]
    with pytest.raises(msgspec.ValidationError):
        decode(wire.Volume, **fields)


def test_the_mask_of_an_address_is_taken_off_and_secrets_are_not_read():
    instance = decode(
        wire.Instance, id=INSTANCE_ID, name="n", status="RUNNING", private_ip="10.0.1.5/32", env=["PASSWORD=s3cret"]
    )
    assert instance.private_ip == "10.0.1.5"
    assert "s3cret" not in repr(instance)
    assert (instance.hostname, instance.max_volumes, instance.labels, instance.metadata) == (None, None, {}, {})
    assert decode(wire.Instance, id="i", name="n", status="RUNNING", private_ip="").private_ip is None


def test_a_snapshot_and_a_group():
    group = decode(
        wire.SnapshotGroup,
        id="g",
        name="g1",
        status="AVAILABLE",
        tags=None,
        snapshots=[{"id": "s", "volume_id": "v", "size_gb": 2, "status": "CREATING", "group_id": wire.ZERO_ID}],
    )
    (snapshot,) = group.snapshots
    assert (snapshot.group_id, snapshot.restore_size_bytes, snapshot.name) == (None, 2 << 30, None)
    assert decode(wire.SnapshotGroup, id="g", name="g1", status="ERROR", snapshots=None).snapshots == ()


def answer(body, status=200):
    return Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), "r1")


VOLUMES = decoder_of(tuple[wire.Volume, ...])
VOLUME = decoder_of(wire.Volume)


def test_a_null_list_is_empty():
    assert read_list(VOLUMES, CALL, answer({"data": None})) == ()
    assert len(read_list(VOLUMES, CALL, answer({"data": [strict_volume()]}))) == 1


@pytest.mark.parametrize("body", [b"", b"{}", {"meta": {}}, {"error": "x"}, b"null", b"[]", b"<html>", {"data": {}}])
def test_what_is_no_listing_is_never_an_empty_one(body):
    with pytest.raises(UnknownOutcome, match=r"GET /volumes: HTTP 200 with a body that cannot be used.*request r1"):
        read_list(VOLUMES, CALL, answer(body))


def test_one_unreadable_member_spoils_the_listing():
    with pytest.raises(UnknownOutcome):
        read_list(VOLUMES, CALL, answer({"data": [strict_volume(), {"id": "x"}]}))


@pytest.mark.parametrize("body", [b"", {"data": None}, {"meta": {}}, b'{"data": {"id', {"data": []}])
def test_a_success_without_its_object_is_unknown(body):
    with pytest.raises(UnknownOutcome):
        read_object(VOLUME, CALL, answer(body, 201))


@pytest.mark.parametrize("body", [{"meta": {}}, {"data": {"message": "ok"}}, {"data": None}])
def test_a_success_without_payload_is_the_platforms(body):
    read_done(CALL, answer(body))
    read_done(CALL, answer(b"", 204))


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>welcome</html>", b"[]", b'"ok"'])
def test_a_foreign_success_is_unknown(body):
    with pytest.raises(UnknownOutcome):
        read_done(CALL, answer(body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "meta", "id", "name", "size_gb", "status", "tags", "health", "created_at", "private_ip"]
            ),
            inner,
        )
    ),
    max_leaves=15,
)
members = st.builds(lambda extra: strict_volume() | extra, st.dictionaries(st.text(max_size=10), json_values))


@given(
    body=(json_values | st.fixed_dictionaries({"data": st.lists(members | json_values, max_size=2) | members})).map(
        lambda value: json.dumps(value).encode()
    )
    | st.binary()
    | st.integers(1, 100_000).map(lambda depth: b'{"data":' + b"[" * depth)
)
def test_any_success_body_is_read_or_unknown(body):
    for read in (
        lambda: read_list(VOLUMES, CALL, answer(body)),
        lambda: read_list(decoder_of(tuple[wire.Instance, ...]), CALL, answer(body)),
        lambda: read_object(VOLUME, CALL, answer(body)),
        lambda: read_object(decoder_of(wire.SnapshotGroup), CALL, answer(body)),
        lambda: read_done(CALL, answer(body)),
    ):
        try:
            read()
        except UnknownOutcome as error:
            assert error.status == 200  # noqa: PT017
