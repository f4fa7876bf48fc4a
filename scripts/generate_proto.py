"""Generates the committed stubs in csi/pb and ccm/pb from proto/.

`python scripts/generate_proto.py` rewrites them, `--check` fails and names each file that differs. The .proto files
stay outside any importable package; protoc sees them under virtual paths below those, so that the stubs import each
other as `csi.pb` or `ccm.pb`. The typed view of the gRPC stubs (`*_pb2_grpc.pyi`) is written here, because protoc has
none.
"""

import argparse
import importlib.resources
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "csi/pb/csi.proto": "proto/csi/v1/csi.proto",
    "csi/pb/pluginregistration.proto": "proto/pluginregistration/v1/api.proto",
    "ccm/pb/externalgrpc.proto": "proto/autoscaler/v1/externalgrpc.proto",
    "ccm/pb/kubernetes_parts.proto": "proto/kubernetes/v1/parts.proto",
}
PACKAGES = ("csi/pb", "ccm/pb")
PACKAGE_DOC = '"""Stubs generated from proto/ by scripts/generate_proto.py; nothing here is written by hand."""\n'


def generate(target: Path) -> None:
    """Write all stubs below `target`, which becomes the root of the import path."""
    for package in PACKAGES:
        (target / package).mkdir(parents=True, exist_ok=True)
        (target / package / "__init__.py").write_text(PACKAGE_DOC, encoding="utf-8")
    descriptors = target / "descriptors"
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", *(f"-I{virtual}={ROOT / real}" for virtual, real in SOURCES.items()), f"-I{well_known}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    arguments += [f"--descriptor_set_out={descriptors}", *SOURCES]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed; its messages are above")
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    descriptors.unlink()
    for file in files.file:
        (target / file.name.replace(".proto", "_pb2_grpc.pyi")).write_text(typed_services(file), encoding="utf-8")


def typed_services(file: descriptor_pb2.FileDescriptorProto) -> str:
    """Give the type stub of a file's services for grpc.aio."""
    module = Path(file.name).stem + "_pb2"
    package = file.name.rsplit("/", 1)[0].replace("/", ".")
    lines = [
        "from collections.abc import AsyncIterator",
        "",
        "import grpc",
        "import grpc.aio",
        "",
        f"from {package} import {module}",
    ]
    for service in file.service:
        calls = [_call(module, file.package, method) for method in service.method]
        lines += ["", f"class {service.name}Stub:", "    def __init__(self, channel: grpc.aio.Channel) -> None: ..."]
        lines += [f"    {name}: grpc.aio.{kind}MultiCallable[{types}]" for name, kind, types, _ in calls]
        lines += ["", f"class {service.name}Servicer:"]
        lines += [line for *_, handler in calls for line in handler]
        arguments = f"servicer: {service.name}Servicer, server: grpc.aio.Server"
        lines += ["", f"def add_{service.name}Servicer_to_server({arguments}) -> None: ..."]
    return "\n".join(lines) + "\n"


def _call(
    module: str, package: str, method: descriptor_pb2.MethodDescriptorProto
) -> tuple[str, str, str, tuple[str, ...]]:
    request, response = (
        f"{module}.{name.removeprefix(f'.{package}.')}" for name in (method.input_type, method.output_type)
    )
    types = f"{request}, {response}"
    stream = method.server_streaming
    handler = (
        f"    {'' if stream else 'async '}def {method.name}(",
        f"        self, request: {request}, context: grpc.aio.ServicerContext[{types}]",
        f"    ) -> {f'AsyncIterator[{response}]' if stream else response}: ...",
    )
    return method.name, "UnaryStream" if stream else "UnaryUnary", types, handler


def differences(fresh: Path) -> list[str]:
    """Name every stub that is missing, superfluous or unlike its fresh version."""
    committed, wanted = _stubs_below(ROOT), _stubs_below(fresh)
    return sorted(name for name in committed.keys() | wanted.keys() if committed.get(name) != wanted.get(name))


def _stubs_below(root: Path) -> dict[str, bytes]:
    return {
        f"{package}/{path.name}": path.read_bytes()
        for package in PACKAGES
        for path in (root / package).glob("*.py*")
        if path.is_file()
    }


def main() -> int:
    """Generate or check, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the committed stubs differ")
    check = parser.parse_args().check
    if not check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        different = differences(Path(folder))
    for name in different:
        print(f"{name} differs from what proto/ says; run scripts/generate_proto.py", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
