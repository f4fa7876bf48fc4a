import asyncio
from pathlib import Path

import grpc.aio
import pytest

from csi.pb import pluginregistration_pb2 as pb
from csi.pb import pluginregistration_pb2_grpc as rpc
from csi.registration import Registration, RegistrationError, RegistrationServicer
from tests.unit.csi.live import serving


@pytest.fixture
def registration(tmp_path: Path) -> Registration:
    return Registration(
        socket=tmp_path / "reg.sock", endpoint=Path("/var/lib/kubelet/plugins/csi.thecloud.io/csi.sock")
    )


async def test_the_kubelet_learns_type_name_socket_and_version(registration: Registration) -> None:
    servicer = RegistrationServicer(registration)

    def add(server: grpc.aio.Server) -> None:
        rpc.add_RegistrationServicer_to_server(servicer, server)

    async with serving(registration.socket, [add]) as channel:
        info = await rpc.RegistrationStub(channel).GetInfo(pb.InfoRequest())
    assert info == pb.PluginInfo(
        type="CSIPlugin",
        name="csi.thecloud.io",
        endpoint="/var/lib/kubelet/plugins/csi.thecloud.io/csi.sock",
        supported_versions=["1.0.0"],
    )


async def notify(registration: Registration, *answers: pb.RegistrationStatus) -> "asyncio.Task[None]":
    servicer = RegistrationServicer(registration)
    waiting = asyncio.create_task(servicer.wait_refused())

    def add(server: grpc.aio.Server) -> None:
        rpc.add_RegistrationServicer_to_server(servicer, server)

    async with serving(registration.socket, [add]) as channel:
        for answer in answers:
            await rpc.RegistrationStub(channel).NotifyRegistrationStatus(answer)
    await asyncio.sleep(0)
    return waiting


async def test_a_refusal_ends_the_program_with_the_kubelets_reason(registration: Registration) -> None:
    refusal = pb.RegistrationStatus(plugin_registered=False, error="node name is empty")
    waiting = await notify(registration, refusal, refusal)
    with pytest.raises(RegistrationError, match="node name is empty"):
        await waiting


async def test_a_refusal_without_a_reason_is_still_one(registration: Registration) -> None:
    waiting = await notify(registration, pb.RegistrationStatus())
    with pytest.raises(RegistrationError, match="no reason given"):
        await waiting


async def test_success_lets_the_program_go_on(registration: Registration, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    waiting = await notify(registration, pb.RegistrationStatus(plugin_registered=True))
    assert not waiting.done()
    assert "registered with the kubelet" in caplog.text
    waiting.cancel()
    await asyncio.wait({waiting})
