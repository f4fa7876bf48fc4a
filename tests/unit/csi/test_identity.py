from importlib import metadata
from pathlib import Path

import grpc.aio
import pytest

from csi import identity
from csi.driver import DRIVER_NAME
from csi.identity import PLUGIN_CAPABILITIES, Identity
from csi.pb import csi_pb2, csi_pb2_grpc
from tests.unit.csi.live import serving

Service = csi_pb2.PluginCapability.Service
Expansion = csi_pb2.PluginCapability.VolumeExpansion


async def ask(path: Path, method: str, request: object):
    capabilities = [PLUGIN_CAPABILITIES["CONTROLLER_SERVICE"], PLUGIN_CAPABILITIES["ONLINE"]]
    servicer = Identity(capabilities=capabilities)

    def add(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(servicer, server)

    async with serving(path, [add]) as channel:
        return await getattr(csi_pb2_grpc.IdentityStub(channel), method)(request)


async def test_the_name_is_a_domain_and_the_version_that_of_the_distribution(tmp_path: Path) -> None:
    info = await ask(tmp_path / "s", "GetPluginInfo", csi_pb2.GetPluginInfoRequest())
    assert info.name == DRIVER_NAME == "csi.thecloud.io"
    assert info.vendor_version == metadata.version("thecloud-kubernetes")


def test_code_that_is_not_installed_has_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "DISTRIBUTION", "a-distribution-that-nobody-installed")
    assert identity.vendor_version() == "unknown"


async def test_the_capabilities_are_those_that_the_program_was_given(tmp_path: Path) -> None:
    answer = await ask(tmp_path / "s", "GetPluginCapabilities", csi_pb2.GetPluginCapabilitiesRequest())
    assert [capability.service.type for capability in answer.capabilities] == [Service.CONTROLLER_SERVICE, 0]
    assert answer.capabilities[1].volume_expansion.type == Expansion.ONLINE


async def test_probe_says_ready(tmp_path: Path) -> None:
    assert (await ask(tmp_path / "s", "Probe", csi_pb2.ProbeRequest())).ready.value is True
