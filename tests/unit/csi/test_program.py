"""Whole programs in this process; as processes of their own they are in `test_process`."""

# ruff: noqa: N802 - servicers are named by the protocol

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from csi.endpoint import EndpointError, SocketFile, UnixEndpoint
from csi.errors import CsiError, ErrorKind
from csi.identity import PLUGIN_CAPABILITIES
from csi.metrics import Metrics
from csi.pb import csi_pb2, csi_pb2_grpc, pluginregistration_pb2, pluginregistration_pb2_grpc
from csi.program import Plugin, ServeAnewError, main, serve
from csi.registration import Registration
from csi.settings import ShellSettings
from process.address import TcpEndpoint
from process.command_line import EXIT_OK, EXIT_USAGE
from process.life import Stop, StoppedError
from tests.support.ports import free_port
from tests.unit.csi.live import channel_to, until

ROOT = Path(__file__).resolve().parents[3]
Build = Callable[[ShellSettings, Metrics], contextlib.AbstractAsyncContextManager[Plugin]]


def settings_for(folder: Path, **changes: Any) -> ShellSettings:
    return ShellSettings(**{"endpoint": UnixEndpoint(folder / "csi.sock"), "http_endpoint": None} | changes)


def building(order: list[str], **parts: Any) -> Build:
    @contextlib.asynccontextmanager
    async def build(settings: ShellSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
        order.append("opened")
        try:
            yield Plugin(**{"services": ()} | parts)
        finally:
            order.append("closed")

    return build


@contextlib.asynccontextmanager
async def running(settings: ShellSettings, build: Build) -> AsyncIterator["asyncio.Task[None]"]:
    stop = Stop()
    task = asyncio.create_task(serve(settings, build, stop=stop))
    assert isinstance(settings.endpoint, UnixEndpoint)
    path = settings.endpoint.path
    await until(lambda: task.done() or path.exists())
    try:
        yield task
    finally:
        stop()
        await asyncio.wait({task})


async def fetch(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_identity_is_served_with_what_the_program_offers(tmp_path: Path) -> None:
    order: list[str] = []
    capability = PLUGIN_CAPABILITIES["CONTROLLER_SERVICE"]
    settings = settings_for(tmp_path)
    async with running(settings, building(order, capabilities=(capability,))) as task:
        async with channel_to(tmp_path / "csi.sock") as channel:
            stub = csi_pb2_grpc.IdentityStub(channel)
            assert (await stub.Probe(csi_pb2.ProbeRequest())).ready.value
            answer = await stub.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest())
            assert list(answer.capabilities) == [capability]
        assert order == ["opened"]
    assert task.exception() is None
    assert order == ["opened", "closed"]
    assert not (tmp_path / "csi.sock").exists()


async def test_what_the_program_opened_is_closed_after_the_last_call_has_ended(tmp_path: Path) -> None:
    order: list[str] = []
    started, finish = asyncio.Event(), asyncio.Event()

    class Slow(csi_pb2_grpc.ControllerServicer):
        async def DeleteVolume(self, request: Any, context: Any) -> csi_pb2.DeleteVolumeResponse:
            started.set()
            await finish.wait()
            order.append("call ended")
            return csi_pb2.DeleteVolumeResponse()

    def add(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_ControllerServicer_to_server(Slow(), server)

    async with channel_to(tmp_path / "csi.sock") as channel:
        async with running(settings_for(tmp_path), building(order, services=(add,))):
            call = csi_pb2_grpc.ControllerStub(channel).DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="v"))
            await started.wait()
            asyncio.get_running_loop().call_soon(finish.set)
        await call
    assert order == ["opened", "call ended", "closed"]


async def test_live_does_not_depend_on_the_platform_and_ready_does(tmp_path: Path) -> None:
    async def away(*, deadline: float) -> None:
        raise CsiError(ErrorKind.UNKNOWN_OUTCOME, "the platform does not answer")

    port = free_port()
    settings = settings_for(tmp_path, http_endpoint=TcpEndpoint("127.0.0.1", port))
    async with running(settings, building([], ready=away)):
        assert await fetch(port, "/healthz") == (200, b"ok\n")
        assert await fetch(port, "/readyz") == (503, b"the platform does not answer\n")
        async with channel_to(tmp_path / "csi.sock") as channel:
            # The sidecars would wait for more at their start, and no claim would learn what is wrong.
            assert (await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())).ready.value
        status, body = await fetch(port, "/metrics")
        assert status == 200
        assert b"thecloud_csi_rpc_in_flight" in body


async def test_live_answers_while_the_program_still_starts_and_a_stop_ends_the_start(tmp_path: Path) -> None:
    port = free_port()
    starting, closed = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def build(settings: ShellSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
        starting.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
        yield Plugin(services=())

    stop = Stop()
    settings = settings_for(tmp_path, http_endpoint=TcpEndpoint("127.0.0.1", port))
    task = asyncio.create_task(serve(settings, build, stop=stop))
    await starting.wait()
    assert await fetch(port, "/healthz") == (200, b"ok\n")
    assert await fetch(port, "/readyz") == (503, b"starting or ending\n")
    stop()
    stop()
    with pytest.raises(StoppedError):
        await task
    assert closed.is_set()


async def test_a_stop_before_the_start_serves_nothing(tmp_path: Path) -> None:
    stop = Stop()
    stop()
    with pytest.raises(StoppedError):
        await serve(settings_for(tmp_path), building([]), stop=stop)
    assert not (tmp_path / "csi.sock").exists()


async def test_a_time_limit_inside_the_start_is_not_taken_for_a_stop(tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def build(settings: ShellSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        yield Plugin(services=())

    with pytest.raises(TimeoutError):
        await serve(settings_for(tmp_path), build, stop=Stop())


async def test_background_work_is_cancelled_at_the_end(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def listen() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(settings_for(tmp_path), building([], tasks={"listener": listen})) as task:
        pass
    assert task.exception() is None
    assert ended.is_set()


async def test_background_work_that_fails_ends_the_program(tmp_path: Path) -> None:
    async def fail() -> None:
        raise OSError("the socket is gone")

    order: list[str] = []
    async with running(settings_for(tmp_path), building(order, tasks={"listener": fail})) as task:
        with pytest.raises(ExceptionGroup) as caught:
            await task
    assert caught.group_contains(OSError, match="the socket is gone")
    assert order == ["opened", "closed"]


async def test_a_change_of_what_is_announced_closes_everything_and_serves_again(tmp_path: Path) -> None:
    order: list[str] = []
    change = asyncio.Event()

    async def look() -> None:
        await change.wait()
        change.clear()
        raise ServeAnewError

    async with running(settings_for(tmp_path), building(order, tasks={"look": look})) as task:
        async with channel_to(tmp_path / "csi.sock") as channel:
            await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())
            states = [channel.get_state()]
            change.set()
            await channel.wait_for_state_change(states[0])
        await until(lambda: len(order) == 3 and (tmp_path / "csi.sock").exists())
        async with channel_to(tmp_path / "csi.sock") as channel:
            await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), wait_for_ready=True)
    assert task.exception() is None
    assert order == ["opened", "closed", "opened", "closed"]


async def test_a_failure_beside_a_change_still_ends_the_program(tmp_path: Path) -> None:
    async def change() -> None:
        raise ServeAnewError

    async def fail() -> None:
        raise OSError("the socket is gone")

    async with running(settings_for(tmp_path), building([], tasks={"change": change, "fail": fail})) as task:
        with pytest.raises(ExceptionGroup):
            await task


async def test_ready_tells_what_the_kubelet_said_of_the_registration(tmp_path: Path) -> None:
    port = free_port()
    settings = settings_for(tmp_path, http_endpoint=TcpEndpoint("127.0.0.1", port))
    registration = Registration(socket=tmp_path / "reg.sock", endpoint=tmp_path / "csi.sock")
    async with running(settings, building([], registration=registration)) as task:
        await until(lambda: task.done() or registration.socket.exists())
        assert await fetch(port, "/readyz") == (503, b"the kubelet has not registered this plugin yet\n")
        async with channel_to(registration.socket) as channel:
            stub = pluginregistration_pb2_grpc.RegistrationStub(channel)
            info = await stub.GetInfo(pluginregistration_pb2.InfoRequest())
            assert info.endpoint == str(tmp_path / "csi.sock")
            await stub.NotifyRegistrationStatus(pluginregistration_pb2.RegistrationStatus(error="no such node"))
            status, body = await fetch(port, "/readyz")
            assert (status, b"no such node" in body) == (503, True)
            assert await fetch(port, "/healthz") == (200, b"ok\n")
            await stub.NotifyRegistrationStatus(pluginregistration_pb2.RegistrationStatus(plugin_registered=True))
            assert await fetch(port, "/readyz") == (200, b"ok\n")
    assert task.exception() is None
    assert not registration.socket.exists()


async def test_a_program_whose_socket_is_gone_is_not_alive(tmp_path: Path) -> None:
    port = free_port()
    settings = settings_for(tmp_path, http_endpoint=TcpEndpoint("127.0.0.1", port))
    async with running(settings, building([])):
        assert (await fetch(port, "/healthz"))[0] == 200
        (tmp_path / "csi.sock").unlink()
        status, body = await fetch(port, "/healthz")
        assert (status, b"has to start anew" in body) == (503, True)


async def test_a_second_instance_fails_and_the_first_goes_on(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path), building([])) as task:
        with pytest.raises(EndpointError):
            await serve(settings_for(tmp_path), building([]), stop=Stop())
        assert not task.done()
        async with channel_to(tmp_path / "csi.sock") as channel:
            await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())


async def test_nothing_is_brought_in_order_beside_an_instance_that_still_works(tmp_path: Path) -> None:
    order: list[str] = []
    ending = SocketFile(tmp_path / "csi.sock").claim()
    stop = Stop()
    start = asyncio.create_task(serve(settings_for(tmp_path), building(order), stop=stop))
    for _ in range(20):
        await asyncio.sleep(0)
    assert order == []
    ending.release()
    await until((tmp_path / "csi.sock").exists)
    assert order == ["opened"]
    stop()
    await start


async def test_a_second_instance_is_let_in_only_when_the_first_has_closed_everything(tmp_path: Path) -> None:
    seen: list[bool] = []

    @contextlib.asynccontextmanager
    async def build(settings: ShellSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
        yield Plugin(services=())
        try:
            SocketFile(tmp_path / "csi.sock").claim().release()
            seen.append(True)
        except EndpointError:
            seen.append(False)

    async with running(settings_for(tmp_path), build):
        pass
    assert seen == [False]
    SocketFile(tmp_path / "csi.sock").claim().release()


def test_bad_settings_are_told_line_by_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert main("tc-x", "Tests.", ShellSettings, building([]), ["--nonsense", "1"]) == EXIT_USAGE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tc-x: --nonsense")
    assert lines[1].startswith("tc-x: --endpoint is missing")


def test_help_is_given_without_any_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("tc-x", "Tests.", ShellSettings, building([]), ["--help"]) == EXIT_OK
    assert capsys.readouterr().out.startswith("usage: tc-x")
