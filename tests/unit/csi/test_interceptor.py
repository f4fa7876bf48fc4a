"""The interceptor around a real server, called by a real client."""

# ruff: noqa: N802 - servicers are named by the protocol

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from csi import deadline
from csi.codes import STATUS_OF_KIND
from csi.errors import CsiError, ErrorKind
from csi.interceptor import Interceptor, failure_of
from csi.metrics import Metrics
from csi.pb import csi_pb2, csi_pb2_grpc
from process.request import request_id
from tests.unit.csi.live import serving

Handler = Callable[[csi_pb2.DeleteVolumeRequest, Any], Awaitable[csi_pb2.DeleteVolumeResponse]]
REQUEST = csi_pb2.DeleteVolumeRequest(volume_id="v-1", secrets={"password": "hunter2"})


class Servicer(csi_pb2_grpc.ControllerServicer):
    """Delegates DeleteVolume; everything else is what the generated base class does."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def DeleteVolume(self, request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        return await self._handler(request, context)


@contextlib.asynccontextmanager
async def controller(
    path: Path, handler: Handler, *, metrics: Metrics | None = None, default_limit_s: float = 30.0
) -> AsyncIterator[csi_pb2_grpc.ControllerStub]:
    def add(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_ControllerServicer_to_server(Servicer(handler), server)

    async with serving(path, [add], metrics=metrics, default_limit_s=default_limit_s) as channel:
        yield csi_pb2_grpc.ControllerStub(channel)


async def status_of(path: Path, handler: Handler, *, timeout: float | None = 10.0) -> tuple[grpc.StatusCode, str]:
    async with controller(path, handler) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DeleteVolume(REQUEST, timeout=timeout)
    return caught.value.code(), caught.value.details() or ""


def raising(error: BaseException) -> Handler:
    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        raise error

    return handler


async def succeed(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
    return csi_pb2.DeleteVolumeResponse()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, dict[str, Any]]]:
    return [(record.levelno, vars(record)["fields"]) for record in caplog.records if record.name == "csi.rpc"]


@pytest.mark.parametrize("kind", list(ErrorKind))
async def test_every_kind_of_error_becomes_its_status_with_the_text(tmp_path: Path, kind: ErrorKind) -> None:
    code, details = await status_of(tmp_path / "s", raising(CsiError(kind, "volume v-1: what to do")))
    assert code is STATUS_OF_KIND[kind]
    assert details == "volume v-1: what to do"


async def test_an_unexpected_error_is_logged_whole_and_answered_with_the_id_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code, details = await status_of(tmp_path / "s", raising(ValueError("/secret/path")))
    assert code is grpc.StatusCode.INTERNAL
    assert "/secret/path" not in details
    (record,) = [record for record in caplog.records if record.name == "csi.rpc"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "/secret/path" in str(record.exc_info[1])
    assert "request_id" in details
    assert len(details.rsplit(" ", 1)[1]) == 16


async def test_a_time_limit_inside_the_work_is_the_callers_deadline(tmp_path: Path) -> None:
    code, details = await status_of(tmp_path / "s", raising(TimeoutError()))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "ask again" in details


async def test_a_group_of_errors_is_answered_as_its_first_foreseen_one(tmp_path: Path) -> None:
    group = ExceptionGroup("both", [CsiError(ErrorKind.BUSY, "one"), CsiError(ErrorKind.INVALID, "two")])
    assert await status_of(tmp_path / "s", raising(group)) == (grpc.StatusCode.ABORTED, "one")
    mixed = ExceptionGroup("both", [CsiError(ErrorKind.BUSY, "one"), ValueError("defect")])
    assert failure_of(mixed).code is grpc.StatusCode.INTERNAL


async def test_a_method_that_a_servicer_leaves_out_is_unimplemented(tmp_path: Path) -> None:
    async with controller(tmp_path / "s", succeed) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCapacity(csi_pb2.GetCapacityRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_is_not_served_is_unimplemented(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", []) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await csi_pb2_grpc.NodeStub(channel).NodeGetInfo(csi_pb2.NodeGetInfoRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_abort_by_the_servicer_keeps_its_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "own words")
        raise AssertionError("abort raises")

    assert await status_of(tmp_path / "s", handler) == (grpc.StatusCode.OUT_OF_RANGE, "own words")
    assert [fields["code"] for _, fields in lines(caplog)] == ["OUT_OF_RANGE"]


@pytest.mark.parametrize("letter", ["x", "ä", "%", "\n", "𝄞"])
async def test_a_very_long_text_still_arrives(tmp_path: Path, letter: str) -> None:
    code, details = await status_of(tmp_path / "s", raising(CsiError(ErrorKind.INVALID, letter * 100_000)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(letter * 300)


async def test_work_beyond_the_default_limit_is_cancelled_and_answered(tmp_path: Path) -> None:
    cleaned = asyncio.Event()

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        raise AssertionError("nobody sets the event")

    async with controller(tmp_path / "s", handler, default_limit_s=0.05) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DeleteVolume(REQUEST)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "may have had an effect" in (caught.value.details() or "")
    assert cleaned.is_set()


async def test_the_answer_to_a_passed_deadline_reaches_the_caller_before_it_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The share kept for the answer is made large, so that a busy machine does not decide the outcome.
    monkeypatch.setattr(deadline, "ANSWER_SHARE", 1.0)
    monkeypatch.setattr(deadline, "MAX_ANSWER_S", 60.0)

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    code, details = await status_of(tmp_path / "s", handler, timeout=3.0)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "may have had an effect" in details


async def test_a_caller_that_leaves_cancels_the_work_and_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    metrics = Metrics()
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        raise AssertionError("nobody sets the event")

    async with controller(tmp_path / "s", handler, metrics=metrics) as stub:
        call = stub.DeleteVolume(REQUEST)
        await started.wait()
        assert metrics.registry.get_sample_value("thecloud_csi_rpc_in_flight", {"method": "DeleteVolume"}) == 1
        call.cancel()
        await cleaned.wait()
    assert metrics.registry.get_sample_value("thecloud_csi_rpc_in_flight", {"method": "DeleteVolume"}) == 0
    assert [fields["code"] for _, fields in lines(caplog)] == ["CANCELLED"]


async def test_each_call_has_its_own_id_which_the_log_line_carries(tmp_path: Path) -> None:
    seen = []

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        seen.append(request_id.get())
        await asyncio.sleep(0)
        seen.append(request_id.get())
        return csi_pb2.DeleteVolumeResponse()

    logged: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(request_id.get())

    logger, keep = logging.getLogger("csi.rpc"), Keep()
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    try:
        async with controller(tmp_path / "s", handler) as stub:
            await stub.DeleteVolume(REQUEST)
            await stub.DeleteVolume(REQUEST)
    finally:
        logger.removeHandler(keep)
        logger.setLevel(logging.NOTSET)
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert logged == [seen[0], seen[2]]
    assert request_id.get() == ""


async def test_one_line_per_call_without_the_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with controller(tmp_path / "s", succeed) as stub:
        await stub.DeleteVolume(REQUEST)
    ((level, fields),) = lines(caplog)
    assert level == logging.INFO
    assert fields["method"] == "DeleteVolume"
    assert fields["code"] == "OK"
    assert fields["duration_s"] >= 0
    assert fields["request"] == {"volume_id": "v-1", "secrets": "***"}
    assert "hunter2" not in caplog.text


async def test_health_checks_do_not_fill_the_log_unless_they_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Probed(csi_pb2_grpc.IdentityServicer):
        async def Probe(self, request: csi_pb2.ProbeRequest, context: Any) -> csi_pb2.ProbeResponse:
            return csi_pb2.ProbeResponse()

        async def GetPluginInfo(self, request: Any, context: Any) -> csi_pb2.GetPluginInfoResponse:
            raise CsiError(ErrorKind.INTERNAL, "no")

    def add(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(Probed(), server)

    caplog.set_level(logging.DEBUG)
    async with serving(tmp_path / "s", [add]) as channel:
        stub = csi_pb2_grpc.IdentityStub(channel)
        await stub.Probe(csi_pb2.ProbeRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetPluginInfo(csi_pb2.GetPluginInfoRequest())
    assert [level for level, _ in lines(caplog)] == [logging.DEBUG, logging.WARNING]


async def test_calls_are_counted_by_method_and_code(tmp_path: Path) -> None:
    metrics = Metrics()

    async def handler(request: csi_pb2.DeleteVolumeRequest, context: Any) -> csi_pb2.DeleteVolumeResponse:
        if not request.volume_id:
            raise CsiError(ErrorKind.INVALID, "volume_id is missing")
        return csi_pb2.DeleteVolumeResponse()

    async with controller(tmp_path / "s", handler, metrics=metrics) as stub:
        await stub.DeleteVolume(REQUEST)
        await stub.DeleteVolume(REQUEST)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.DeleteVolume(csi_pb2.DeleteVolumeRequest())

    def counted(code: str) -> float | None:
        labels = {"method": "DeleteVolume", "code": code}
        return metrics.registry.get_sample_value("thecloud_csi_rpc_duration_seconds_count", labels)

    assert counted("OK") == 2
    assert counted("INVALID_ARGUMENT") == 1
    assert counted("INTERNAL") is None


async def test_waiting_for_idle_names_the_call_that_does_not_end(tmp_path: Path) -> None:
    interceptor = Interceptor(metrics=Metrics(), default_limit_s=30.0)
    started, end = asyncio.Event(), asyncio.Event()

    async def behavior(request: Any, context: Any) -> str:
        started.set()
        await end.wait()
        return "done"

    class Waiting:
        def time_remaining(self) -> None:
            return None

    loop = asyncio.get_running_loop()
    assert await interceptor.wait_idle(deadline=loop.time()) == []
    task = asyncio.create_task(
        interceptor._serve("NodeStageVolume", behavior, csi_pb2.NodeStageVolumeRequest(), cast("Any", Waiting()))
    )
    await started.wait()
    (name,) = await interceptor.wait_idle(deadline=loop.time())
    assert name.startswith("NodeStageVolume ")
    end.set()
    assert await interceptor.wait_idle(deadline=loop.time() + 10) == []
    assert await task == "done"


async def test_streaming_calls_pass_through(tmp_path: Path) -> None:
    class Streams(csi_pb2_grpc.SnapshotMetadataServicer):
        async def GetMetadataAllocated(self, request: Any, context: Any) -> AsyncIterator[Any]:
            yield csi_pb2.GetMetadataAllocatedResponse(volume_capacity_bytes=1)
            yield csi_pb2.GetMetadataAllocatedResponse(volume_capacity_bytes=2)

    def add(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_SnapshotMetadataServicer_to_server(Streams(), server)

    async with serving(tmp_path / "s", [add]) as channel:
        stub = csi_pb2_grpc.SnapshotMetadataStub(channel)
        answers = [answer async for answer in stub.GetMetadataAllocated(csi_pb2.GetMetadataAllocatedRequest())]
    assert [answer.volume_capacity_bytes for answer in answers] == [1, 2]
