"""Programs as processes of their own, with real signals."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from csi.pb import csi_pb2, csi_pb2_grpc
from process.command_line import EXIT_FAILED, EXIT_OK
from tests.unit.csi.live import channel_to

ROOT = Path(__file__).resolve().parents[3]


PROGRAM = """
import asyncio, contextlib, sys
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2, csi_pb2_grpc
from csi.program import Plugin, main
from csi.settings import ShellSettings

class Slow(csi_pb2_grpc.ControllerServicer):
    async def DeleteVolume(self, request, context):
        try:
            await asyncio.sleep(3600 if request.volume_id == "slow" else 0.05)
        except asyncio.CancelledError:
            print("rolled back", flush=True)
            raise
        return csi_pb2.DeleteVolumeResponse()

@contextlib.asynccontextmanager
async def build(settings, metrics):
    mode = sys.argv[1]
    if mode == "domain":
        raise CsiError(ErrorKind.INTERNAL, "this host has no name")
    if mode == "defect":
        raise ZeroDivisionError("defect")
    if mode == "endless":
        print("starting", flush=True)
        await asyncio.Event().wait()
    yield Plugin(services=[lambda server: csi_pb2_grpc.add_ControllerServicer_to_server(Slow(), server)])
    print("closed", flush=True)

sys.exit(main("tc-x", "Tests.", ShellSettings, build, sys.argv[2:]))
"""


@contextlib.asynccontextmanager
async def process(mode: str, folder: Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        mode,
        *("--endpoint", f"unix://{folder}/csi.sock", "--http-endpoint", "off", *flags),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@contextlib.asynccontextmanager
async def ready_channel(folder: Path) -> AsyncIterator[csi_pb2_grpc.ControllerStub]:
    async with asyncio.timeout(20):
        while not (folder / "csi.sock").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    async with channel_to(folder / "csi.sock") as channel:
        yield csi_pb2_grpc.ControllerStub(channel)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_calls_finish_and_ends_with_success(tmp_path: Path, number: signal.Signals) -> None:
    async with process("serve", tmp_path) as child, ready_channel(tmp_path) as stub:
        call = stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="quick"))
        await call
        child.send_signal(number)
        out, _ = await child.communicate()
    assert child.returncode == EXIT_OK
    assert out == b"closed\n"
    assert not (tmp_path / "csi.sock").exists()


async def test_a_call_beyond_the_grace_time_is_rolled_back_before_the_process_ends(tmp_path: Path) -> None:
    async with process("serve", tmp_path, "--grace-s", "0.1") as child, ready_channel(tmp_path) as stub:
        call = stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="slow"))
        await stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="quick"))
        child.terminate()
        out, _ = await child.communicate()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert child.returncode == EXIT_OK
    assert out == b"rolled back\nclosed\n"


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    async with process("endless", tmp_path) as child:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"starting\n"
        child.terminate()
        _, err = await child.communicate()
    assert child.returncode == EXIT_OK
    assert b"asked to end before anything was served" in err


@pytest.mark.parametrize(
    ("mode", "text", "traceback"),
    [("domain", b"the program ends: this host has no name", False), ("defect", b"unexpected error", True)],
)
async def test_a_start_that_fails_says_why_and_ends_with_an_error(
    tmp_path: Path, mode: str, text: bytes, *, traceback: bool
) -> None:
    async with process(mode, tmp_path) as child:
        _, err = await child.communicate()
    assert child.returncode == EXIT_FAILED
    assert text in err
    assert (b"Traceback" in err) is traceback


async def test_a_process_that_was_killed_is_followed_by_one_that_serves(tmp_path: Path) -> None:
    async with process("serve", tmp_path) as child, ready_channel(tmp_path):
        child.kill()
        await child.communicate()
    assert (tmp_path / "csi.sock").exists()
    async with process("serve", tmp_path) as child, channel_to(tmp_path / "csi.sock") as channel:
        stub = csi_pb2_grpc.IdentityStub(channel)
        answer = await stub.Probe(csi_pb2.ProbeRequest(), timeout=20, wait_for_ready=True)
        assert answer.ready.value
        child.terminate()
        await child.communicate()
    assert child.returncode == EXIT_OK
