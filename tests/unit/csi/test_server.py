# ruff: noqa: N802 - servicers are named by the protocol

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from csi import endpoint as endpoint_module
from csi import server as server_module
from csi.endpoint import Endpoint, EndpointError, SocketFile, UnixEndpoint, claimed
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.pb import csi_pb2, csi_pb2_grpc
from csi.server import AddService, RpcServer
from process.address import TcpEndpoint
from tests.unit.csi.live import channel_to, until

REQUEST = csi_pb2.DeleteVolumeRequest(volume_id="v-1")


class Work(csi_pb2_grpc.ControllerServicer):
    """A call that runs until the test lets it end, and takes its time to roll back."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.finish = asyncio.Event()
        self.rolling_back = asyncio.Event()
        self.finish_rollback = asyncio.Event()
        self.rolled_back = False

    async def DeleteVolume(self, request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        self.started.set()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.rolling_back.set()
            await self.finish_rollback.wait()
            self.rolled_back = True
            raise
        return csi_pb2.DeleteVolumeResponse()

    def add(self, server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_ControllerServicer_to_server(self, server)


def make(place: SocketFile | TcpEndpoint, *services: AddService, grace_s: float = 10.0) -> RpcServer:
    interceptor = Interceptor(metrics=Metrics(), default_limit_s=30.0)
    return RpcServer(place, services, interceptor, grace_s=grace_s)


@contextlib.asynccontextmanager
async def served(
    endpoint: Endpoint, *services: AddService, grace_s: float = 10.0, wait_s: float = 0.0
) -> AsyncIterator[RpcServer]:
    async with claimed(endpoint, wait_s=wait_s) as place, make(place, *services, grace_s=grace_s) as server:
        yield server


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "CLAIM_PAUSE_S", 0.0)


async def test_a_running_call_ends_within_the_grace_time_and_new_ones_are_refused(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    server = make(SocketFile(path).claim(), work.add)
    await server.__aenter__()
    async with channel_to(path) as channel:
        stub = csi_pb2_grpc.ControllerStub(channel)
        call = stub.DeleteVolume(REQUEST)
        await work.started.wait()
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await until(lambda: not path.exists())
        async with channel_to(path) as other:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await csi_pb2_grpc.ControllerStub(other).DeleteVolume(REQUEST, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not stopping.done()
        work.finish.set()
        assert await call == csi_pb2.DeleteVolumeResponse()
        await stopping
    assert not work.rolled_back


async def test_a_call_beyond_the_grace_time_is_cancelled_and_its_rollback_waited_for(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    server = make(SocketFile(path).claim(), work.add, grace_s=0.02)
    await server.__aenter__()
    async with channel_to(path) as channel:
        call = csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
        await work.started.wait()
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await work.rolling_back.wait()
        assert not stopping.done()
        work.finish_rollback.set()
        await stopping
        assert work.rolled_back
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_rollback_that_never_ends_is_named_and_does_not_hold_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "ROLLBACK_S", 0.02)
    work, path = Work(), tmp_path / "s"
    async with channel_to(path) as channel:
        async with served(UnixEndpoint(path), work.add, grace_s=0.02):
            call = csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
            await work.started.wait()
        assert "did not end after they were cancelled" in caplog.text
        with pytest.raises(EndpointError, match="has not ended within 0 s"):
            async with served(UnixEndpoint(path)):
                pytest.fail("a second instance beside work that goes on")
        work.finish_rollback.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_start_that_is_cancelled_at_any_moment_can_be_cleaned_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for turns in range(8):
        life = served(UnixEndpoint(path))
        starting = asyncio.create_task(life.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = starting.done()
        starting.cancel()
        await asyncio.wait({starting})
        if was_done:
            await life.__aexit__(None, None, None)
        else:
            assert starting.cancelled()
        assert not path.exists()


async def test_a_tcp_server_tells_its_real_port() -> None:
    async with served(TcpEndpoint("127.0.0.1", 0), Work().add) as server:
        assert isinstance(server.endpoint, TcpEndpoint)
        assert server.endpoint.port > 0
        async with grpc.aio.insecure_channel(server.endpoint.authority) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await csi_pb2_grpc.ControllerStub(channel).CreateVolume(csi_pb2.CreateVolumeRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_instance_on_a_port_is_refused_and_does_not_share_it() -> None:
    async with served(TcpEndpoint("127.0.0.1", 0)) as server:
        with pytest.raises(EndpointError, match="cannot listen"):
            async with served(server.endpoint):
                pytest.fail("two servers on one port")


async def test_a_second_instance_on_a_socket_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    work.finish.set()
    async with served(UnixEndpoint(path), work.add):
        with pytest.raises(EndpointError):
            async with served(UnixEndpoint(path)):
                pytest.fail("two servers on one socket")
        async with channel_to(path) as channel:
            await csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)


async def test_an_instance_that_drains_is_waited_for_and_then_followed(
    tmp_path: Path, no_pause: None, caplog: pytest.LogCaptureFixture
) -> None:
    work, path = Work(), tmp_path / "s"
    first, second = served(UnixEndpoint(path), work.add), served(UnixEndpoint(path), work.add, wait_s=60.0)
    await first.__aenter__()
    async with channel_to(path) as channel:
        call = csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
        await work.started.wait()
        leaving = asyncio.create_task(first.__aexit__(None, None, None))
        await until(lambda: not path.exists())
        entering = asyncio.create_task(second.__aenter__())
        await until(lambda: "waiting for another instance" in caplog.text)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not entering.done()
        assert not path.exists()
        work.finish.set()
        await call
        await leaving
        await entering
    async with channel_to(path) as channel:
        await csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
    await second.__aexit__(None, None, None)
    assert caplog.text.count("waiting for another instance") == 1


async def test_an_instance_that_drains_too_long_is_told_with_its_lock(tmp_path: Path, no_pause: None) -> None:
    path = tmp_path / "s"
    first = SocketFile(path).claim()
    with pytest.raises(EndpointError, match=r"\.s\.lock.*has not ended within 0\.05 s"):
        async with served(UnixEndpoint(path), wait_s=0.05):
            pytest.fail("two instances at work")
    first.release()


async def test_a_stop_while_another_instance_is_waited_for_leaves_nothing(tmp_path: Path, no_pause: None) -> None:
    path = tmp_path / "s"
    first = SocketFile(path).claim()
    entering = asyncio.create_task(served(UnixEndpoint(path), wait_s=60.0).__aenter__())
    for _ in range(5):
        await asyncio.sleep(0)
    entering.cancel()
    await asyncio.wait({entering})
    first.release()
    SocketFile(path).claim().release()


async def test_a_server_that_was_killed_leaves_a_socket_that_the_next_one_replaces(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    work.finish.set()
    for name in (path, tmp_path / ".s.new"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
            stale.bind(str(name))
    async with served(UnixEndpoint(path), work.add), channel_to(path) as channel:
        await csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
    assert not path.exists()


async def test_a_request_of_more_than_4_mib_is_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    work.finish.set()
    async with served(UnixEndpoint(path), work.add), channel_to(path) as channel:
        stub = csi_pb2_grpc.ControllerStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="v" * (5 * 1024 * 1024)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.DeleteVolume(REQUEST)


async def test_bytes_that_are_no_message_are_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "s"
    work.finish.set()
    async with served(UnixEndpoint(path), work.add), channel_to(path) as channel:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/csi.v1.Controller/DeleteVolume")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(b"\xff\xff\xff")
        assert caught.value.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
        await csi_pb2_grpc.ControllerStub(channel).DeleteVolume(REQUEST)
