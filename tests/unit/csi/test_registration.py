import asyncio
from pathlib import Path

import grpc.aio
import pytest

from csi.pb import pluginregistration_pb2 as pb
from csi.pb import pluginregistration_pb2_grpc as rpc
from csi.registration import Registration, RegistrationServicer
from tests.unit.csi.live import serving


@pytest.fixture
def registration(tmp_path: Path) -> Registration:
    return Registration(
        socket=tmp_path / "reg.sock", endpoint=Path("/var/lib/kubelet/plugins/csi.thecloud.io/csi.sock")
    )


async def tell(registration: Registration, *answers: pb.RegistrationStatus) -> None:
    servicer = RegistrationServicer(registration)

    def add(server: grpc.aio.Server) -> None:
        rpc.add_RegistrationServicer_to_server(servicer, server)

    async with serving(registration.socket, [add]) as channel:
        for answer in answers:
            await rpc.RegistrationStub(channel).NotifyRegistrationStatus(answer)


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


async def test_a_plugin_that_nobody_asked_for_yet_is_not_registered(registration: Registration) -> None:
    assert registration.problem == "the kubelet has not registered this plugin yet"


async def test_a_refusal_is_told_with_the_kubelets_reason_until_it_registers(
    registration: Registration, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    refusal = pb.RegistrationStatus(plugin_registered=False, error="node name is empty")
    await tell(registration, refusal, refusal)
    assert registration.problem == "the kubelet refused to register csi.thecloud.io: node name is empty"
    assert registration.refusals == 2
    assert registration.problem in caplog.text
    await tell(registration, pb.RegistrationStatus(plugin_registered=True))
    assert (registration.problem, registration.refusals) == ("", 0)
    assert "registered with the kubelet" in caplog.text


async def test_a_refusal_without_a_reason_is_still_one(registration: Registration) -> None:
    await tell(registration, pb.RegistrationStatus())
    assert registration.problem.endswith("it gave no reason")


async def test_each_registration_can_be_waited_for(registration: Registration) -> None:
    first = asyncio.create_task(registration.wait_registered())
    await tell(registration, pb.RegistrationStatus(plugin_registered=True))
    assert await first == 1
    assert await registration.wait_registered() == 1
    second = asyncio.create_task(registration.wait_registered(after=1))
    await tell(registration, pb.RegistrationStatus(error="no"))
    assert not second.done()
    await tell(registration, pb.RegistrationStatus(plugin_registered=True))
    assert await second == 2


async def test_a_renewal_is_taken_once(registration: Registration) -> None:
    assert not registration.take_renewal()
    registration.renew()
    registration.renew()
    assert registration.take_renewal()
    assert not registration.take_renewal()
