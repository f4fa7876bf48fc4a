"""The registration socket through the kubelet's lives, its refusals, and a folder that is made anew."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csi import registrar as module
from csi.endpoint import EndpointError, SocketFile
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.pb import pluginregistration_pb2_grpc as rpc
from csi.registrar import Registrar, is_removed, pause_s
from csi.registration import Registration, RegistrationError, RegistrationServicer
from csi.server import RpcServer
from tests.support.kubelet import Kubelet
from tests.unit.csi.live import until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "r"
    made.mkdir()
    return made


@pytest.fixture
def registration(folder: Path) -> Registration:
    return Registration(socket=folder / "reg.sock", endpoint=Path("/csi.sock"))


def registrar_of(registration: Registration) -> Registrar:
    def make_server(place: SocketFile) -> RpcServer:
        servicer = RegistrationServicer(registration)
        return RpcServer(
            place,
            [lambda server: rpc.add_RegistrationServicer_to_server(servicer, server)],
            Interceptor(metrics=Metrics(), default_limit_s=5.0),
            grace_s=0.1,
        )

    return Registrar(registration, make_server, look_s=0.01)


@contextlib.asynccontextmanager
async def kept(registration: Registration) -> AsyncIterator["asyncio.Task[None]"]:
    async with registrar_of(registration) as registrar:
        keeping = asyncio.create_task(registrar.keep())
        try:
            yield keeping
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})


async def test_a_kubelet_that_starts_later_or_again_finds_the_plugin(registration: Registration, folder: Path) -> None:
    async with kept(registration):
        for life in (1, 2):
            async with Kubelet(folder).running() as kubelet:
                await until(lambda kubelet=kubelet: kubelet.registrations)
            assert await registration.wait_registered() == life
            assert kubelet.infos[0].name == "csi.thecloud.io"


async def test_a_kubelet_that_runs_notices_the_plugin_and_its_end(registration: Registration, folder: Path) -> None:
    async with Kubelet(folder).running() as kubelet:
        async with kept(registration):
            await until(lambda: kubelet.registrations)
            assert registration.problem == ""
        assert not registration.socket.exists()


async def test_a_refused_plugin_is_offered_again_until_it_is_registered(
    registration: Registration, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    async with Kubelet(folder, refusals=("no node", "no node")).running() as kubelet, kept(registration):
        await until(lambda: kubelet.errors)
        await until(lambda: kubelet.registrations)
    assert kubelet.errors == ["no node", "no node"]
    # More when the machine is slow: a kubelet that says nothing for a pause is offered the socket once more.
    assert len(kubelet.infos) >= 3


def test_the_pauses_after_refusals_grow_to_a_bound() -> None:
    assert [pause_s(refusals) for refusals in (1, 2, 3, 6, 7, 1000)] == [2.0, 4.0, 8.0, 60.0, 60.0, 60.0]


async def test_a_renewal_makes_the_kubelet_ask_again(registration: Registration, folder: Path) -> None:
    async with Kubelet(folder).running() as kubelet, kept(registration):
        await until(lambda: kubelet.registrations)
        registration.renew()
        await until(lambda: kubelet.registrations == 2)
    assert not kubelet.errors


async def test_a_socket_that_was_deleted_is_there_again(registration: Registration, folder: Path) -> None:
    async with Kubelet(folder).running() as kubelet, kept(registration):
        await until(lambda: kubelet.registrations)
        registration.socket.unlink()
        await until(lambda: kubelet.registrations == 2)


async def test_a_folder_that_was_made_anew_gets_the_socket_as_soon_as_it_is_there(
    registration: Registration, folder: Path
) -> None:
    async with kept(registration) as keeping:
        async with Kubelet(folder).running() as kubelet:
            await until(lambda: kubelet.registrations)
        shutil.rmtree(folder)
        await until(lambda: "does not exist" in registration.problem)
        async with Kubelet(folder).running() as kubelet:
            await until(lambda: kubelet.registrations)
        assert registration.problem == ""
        assert not keeping.done()


async def test_a_folder_that_was_removed_behind_its_mount_ends_the_program(folder: Path) -> None:
    # A folder that is only reached through a descriptor is what a mount of a removed folder is: still there, nameless.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        behind = Path(f"/proc/self/fd/{descriptor}")
        registration = Registration(socket=behind / "r.sock", endpoint=Path("/csi.sock"))
        async with kept(registration) as keeping:
            assert not is_removed(behind)
            shutil.rmtree(folder)
            await asyncio.wait({keeping})
            with pytest.raises(RegistrationError, match="has to start anew"):
                keeping.result()
    finally:
        os.close(descriptor)


async def test_a_place_that_cannot_be_had_is_an_error_at_the_start(registration: Registration, folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(EndpointError, match="does not exist"):
        await registrar_of(registration).__aenter__()
