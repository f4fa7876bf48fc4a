"""The parts of Node and Pod in proto/kubernetes have the numbers and types of the published .proto files.

Those come with the Go modules of Kubernetes. Without a Go toolchain, or where it cannot get them, the comparison is
skipped; the check that it can fail is not.
"""

import importlib.resources
import json
import os
import shutil
import subprocess
from collections.abc import Mapping

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]

from ccm.pb import kubernetes_parts_pb2

VERSION = "v0.36.3"
MODULES = ("k8s.io/api", "k8s.io/apimachinery")
SOURCE = "k8s.io/api/core/v1/generated.proto"
HOMES = {
    "ObjectMeta": "k8s.io.apimachinery.pkg.apis.meta.v1",
    "Quantity": "k8s.io.apimachinery.pkg.api.resource",
}
CORE = "k8s.io.api.core.v1"
OURS = descriptor_pb2.FileDescriptorProto.FromString(kubernetes_parts_pb2.DESCRIPTOR.serialized_pb)

Field = descriptor_pb2.FieldDescriptorProto
Facts = dict[str, str]


def facts(message: descriptor_pb2.DescriptorProto) -> Facts:
    """Give each field's number, type and whether there may be several; types of messages by their last name."""
    return {
        field.name: f"{field.number} {Field.Type.Name(field.type)} {field.type_name.rpartition('.')[2]}"
        f" {field.label == Field.LABEL_REPEATED}"
        for field in message.field
    }


def differences(message: descriptor_pb2.DescriptorProto, published: Facts) -> list[str]:
    return [f"{message.name}.{name}: {ours}" for name, ours in facts(message).items() if published.get(name) != ours]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Facts]:
    go = shutil.which(os.environ.get("GO") or "go")
    if go is None:
        pytest.skip("no Go toolchain: neither GO nor `go` on the path; the published files cannot be got")
    folder = tmp_path_factory.mktemp("published")
    download = subprocess.run(
        [go, "mod", "download", "-json", *(f"{module}@{VERSION}" for module in MODULES)],
        cwd=folder,
        env={**os.environ, "GOFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if download.returncode != 0:
        pytest.skip(f"the Go modules cannot be got: {download.stderr[-300:]}")
    decoder, rest = json.JSONDecoder(), download.stdout.strip()
    while rest:
        module, end = decoder.raw_decode(rest)
        link = folder / module["Path"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(module["Dir"])
        rest = rest[end:].strip()
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    out = folder / "descriptors"
    arguments = [f"-I{folder}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}", SOURCE]
    assert protoc.main(["protoc", *arguments]) == 0
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return {f"{file.package}.{message.name}": facts(message) for file in files for message in file.message_type}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("message", OURS.message_type, ids=lambda message: message.name)
def test_ours_is_a_part_of_the_published_message(
    published: Mapping[str, Facts], message: descriptor_pb2.DescriptorProto
) -> None:
    assert message.field
    assert differences(message, published[f"{HOMES.get(message.name, CORE)}.{message.name}"]) == []


@pytest.mark.parametrize("change", [{"number": 9}, {"type": Field.TYPE_BYTES}, {"label": Field.LABEL_REPEATED}])
def test_every_difference_is_seen(change: Mapping[str, int]) -> None:
    taint = next(message for message in OURS.message_type if message.name == "Taint")
    other = descriptor_pb2.DescriptorProto.FromString(taint.SerializeToString())
    for name, value in change.items():
        setattr(other.field[0], name, value)
    assert len(differences(other, facts(taint))) == 1
