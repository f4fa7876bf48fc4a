"""Our .proto files are wire-identical to what the published Go bindings carry, and the stubs are current.

A small Go program, built from the published modules, prints their descriptors. Without a Go toolchain the comparison is
skipped; the checks that the comparison can fail are not.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from csi.pb import csi_pb2, pluginregistration_pb2
from tests.wire.descriptors import differences, facts_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "published"
BUILD_LIMIT_S = 300

FileProto = descriptor_pb2.FileDescriptorProto
OURS: dict[str, FileProto] = {
    "csi.v1": FileProto.FromString(csi_pb2.DESCRIPTOR.serialized_pb),
    "pluginregistration": FileProto.FromString(pluginregistration_pb2.DESCRIPTOR.serialized_pb),
}


def go_command() -> str | None:
    """Find the Go toolchain: the one that the environment names, else the one on the path."""
    return shutil.which(os.environ.get("GO") or "go")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileProto]:
    go = go_command()
    if go is None:
        pytest.skip("no Go toolchain: neither GO nor `go` on the path; the published descriptors cannot be read")
    binary = tmp_path_factory.mktemp("published") / "published"
    build = subprocess.run(
        [go, "build", "-mod=readonly", "-o", str(binary), "."],
        cwd=PROGRAM,
        env={**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    output = subprocess.run([str(binary)], capture_output=True, timeout=60, check=True).stdout
    return {file.package: file for file in descriptor_pb2.FileDescriptorSet.FromString(output).file}


@pytest.mark.timeout(BUILD_LIMIT_S + 60)
@pytest.mark.parametrize("package", sorted(OURS))
def test_ours_is_identical_to_the_published_descriptor(published: dict[str, FileProto], package: str) -> None:
    assert differences(facts_of(OURS[package]), facts_of(published[package])) == []


@pytest.mark.timeout(BUILD_LIMIT_S + 60)
def test_the_comparison_covers_all_five_services(published: dict[str, FileProto]) -> None:
    calls = {service.name: len(service.method) for service in published["csi.v1"].service}
    assert calls == {"Identity": 3, "Controller": 17, "GroupController": 4, "SnapshotMetadata": 2, "Node": 10}


def _renumber(file: FileProto) -> None:
    _message(file, "CreateVolumeRequest").field[0].number = 99


def _retype(file: FileProto) -> None:
    _message(file, "CapacityRange").field[0].type = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64


def _rename_json(file: FileProto) -> None:
    _message(file, "Volume").field[0].json_name = "capacity"


def _drop_secret_mark(file: FileProto) -> None:
    next(f for f in _message(file, "DeleteVolumeRequest").field if f.name == "secrets").ClearField("options")


def _leave_oneof(file: FileProto) -> None:
    _message(file, "VolumeContentSource").field[0].ClearField("oneof_index")


def _make_optional(file: FileProto) -> None:
    _message(file, "Volume").field[0].proto3_optional = True


def _repeat(file: FileProto) -> None:
    _message(file, "Volume").field[0].label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _renumber_enum_value(file: FileProto) -> None:
    next(enum for enum in file.enum_type if enum.name == "VolumeHealthErrorType").value[1].number = 7


def _drop_reserved(file: FileProto) -> None:
    _message(file, "NodeGetVolumeStatsResponse").ClearField("reserved_range")


def _renumber_extension(file: FileProto) -> None:
    file.extension[0].number = 2000


def _stop_streaming(file: FileProto) -> None:
    service = next(service for service in file.service if service.name == "SnapshotMetadata")
    service.method[0].server_streaming = False


def _drop_alpha_mark(file: FileProto) -> None:
    service = next(service for service in file.service if service.name == "SnapshotMetadata")
    service.ClearField("options")


def _drop_message_mark(file: FileProto) -> None:
    _message(file, "GetSnapshotRequest").ClearField("options")


def _drop_method(file: FileProto) -> None:
    del file.service[0].method[0]


def _change_answer(file: FileProto) -> None:
    file.service[0].method[0].output_type = ".csi.v1.ProbeResponse"


@pytest.mark.parametrize(
    "mutate",
    [
        _renumber,
        _retype,
        _rename_json,
        _drop_secret_mark,
        _leave_oneof,
        _make_optional,
        _repeat,
        _renumber_enum_value,
        _drop_reserved,
        _renumber_extension,
        _stop_streaming,
        _drop_alpha_mark,
        _drop_message_mark,
        _drop_method,
        _change_answer,
    ],
)
def test_the_comparison_sees_a_single_changed_fact(mutate: Callable[[FileProto], None]) -> None:
    changed = FileProto()
    changed.CopyFrom(OURS["csi.v1"])
    mutate(changed)
    assert len(differences(facts_of(changed), facts_of(OURS["csi.v1"]))) == 1


def test_the_committed_stubs_are_what_proto_says() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed; the stubs cannot be generated")
    check = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_proto.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert check.returncode == 0, check.stderr


def test_go_files_name_no_host_to_download_from() -> None:
    for name in ("go.mod", "go.sum", "main.go"):
        text = (PROGRAM / name).read_text()
        assert "://" not in text
        assert "proxy." not in text


def _message(file: FileProto, name: str) -> descriptor_pb2.DescriptorProto:
    return next(message for message in file.message_type if message.name == name)
