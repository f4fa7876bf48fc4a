import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.pb import csi_pb2
from csi.redaction import HIDDEN, MAX_SHOWN_ENTRIES, Redactor

SECRET_MESSAGES = [
    descriptor.name
    for descriptor in csi_pb2.DESCRIPTOR.message_types_by_name.values()
    if "secrets" in descriptor.fields_by_name
]


def message_of(name: str):
    return getattr(csi_pb2, name)()


def test_the_specification_marks_secrets_in_many_requests() -> None:
    assert len(SECRET_MESSAGES) >= 20


@pytest.mark.parametrize("name", SECRET_MESSAGES)
def test_no_request_shows_its_secrets(name: str) -> None:
    message = message_of(name)
    message.secrets["key-hunter1"] = "hunter2"
    shown = Redactor().redact(message)
    assert shown == {"secrets": HIDDEN}


def test_everything_else_is_shown_with_its_names() -> None:
    request = csi_pb2.CreateVolumeRequest(
        name="pvc-1",
        capacity_range=csi_pb2.CapacityRange(required_bytes=5),
        volume_capabilities=[
            csi_pb2.VolumeCapability(
                mount=csi_pb2.VolumeCapability.MountVolume(fs_type="xfs", mount_flags=["noatime"]),
                access_mode=csi_pb2.VolumeCapability.AccessMode(mode="SINGLE_NODE_WRITER"),
            )
        ],
        parameters={"b": "2", "a": "1"},
        secrets={"x": "hunter2"},
    )
    assert Redactor().redact(request) == {
        "name": "pvc-1",
        "capacity_range": {"required_bytes": 5},
        "volume_capabilities": [
            {"mount": {"fs_type": "xfs", "mount_flags": ["noatime"]}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}
        ],
        "parameters": {"a": "1", "b": "2"},
        "secrets": HIDDEN,
    }


def test_an_undefined_enum_value_is_shown_as_its_number() -> None:
    mode = csi_pb2.VolumeCapability.AccessMode.FromString(b"\x08\x4d")
    assert Redactor().redact(mode) == {"mode": 77}


def test_what_is_logged_of_a_huge_request_is_small() -> None:
    request = csi_pb2.DeleteVolumeGroupSnapshotRequest(
        group_snapshot_id="g" * 100_000, snapshot_ids=[str(number) for number in range(10_000)]
    )
    shown = Redactor().redact(request)
    assert len(str(shown)) < 2000
    assert f"{10_000} in all" in str(shown["snapshot_ids"])
    parameters = csi_pb2.CreateVolumeRequest(parameters={str(number): "v" for number in range(1000)})
    shown_parameters = Redactor().redact(parameters)["parameters"]
    assert isinstance(shown_parameters, dict)
    assert len(shown_parameters) == MAX_SHOWN_ENTRIES + 1


@given(
    st.dictionaries(st.text(max_size=5), st.text(st.characters(min_codepoint=0x2600, max_codepoint=0x26FF), min_size=1))
)
def test_no_secret_gets_out_whatever_it_is(secrets: dict[str, str]) -> None:
    request = csi_pb2.NodeStageVolumeRequest(volume_id="v", secrets=secrets)
    assert not re.search("[\u2600-\u26ff]", str(Redactor().redact(request)))
