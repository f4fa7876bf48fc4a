import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi import health
from csi.endpoint import EndpointError
from csi.health import MAX_CONNECTIONS, Answer, HealthServer
from process.address import TcpEndpoint
from tests.unit.csi.live import until

LOOPBACK = TcpEndpoint("127.0.0.1", 0)


async def fine() -> Answer:
    return Answer(200, b"ok\n")


async def sick() -> Answer:
    return Answer(503, b"the platform does not answer\n")


async def broken() -> Answer:
    raise ZeroDivisionError("defect")


async def late() -> Answer:
    raise TimeoutError


@pytest.fixture
async def server() -> AsyncIterator[HealthServer]:
    pages = {"/healthz": fine, "/readyz": sick, "/broken": broken, "/late": late}
    async with HealthServer(LOOPBACK, pages) as made:
        yield made


async def send(server: HealthServer, data: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        if end:
            writer.write_eof()
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    answer = await send(server, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/healthz", 200, b"ok\n"),
        ("/healthz?verbose", 200, b"ok\n"),
        ("/readyz", 503, b"the platform does not answer\n"),
        ("/late", 503, b"no answer in time\n"),
    ],
)
async def test_pages_answer(server: HealthServer, path: str, status: int, body: bytes) -> None:
    assert await get(server, path) == (status, body)


async def test_an_unknown_path_is_told_the_known_ones(server: HealthServer) -> None:
    status, body = await get(server, "/../etc/passwd")
    assert status == 404
    assert b"/healthz" in body


async def test_only_reading_is_allowed(server: HealthServer) -> None:
    assert (await get(server, "/healthz", "POST"))[0] == 405
    assert await get(server, "/healthz", "HEAD") == (200, b"")


async def test_a_page_that_fails_is_answered_without_its_text(
    server: HealthServer, caplog: pytest.LogCaptureFixture
) -> None:
    status, body = await get(server, "/broken")
    assert status == 500
    assert b"defect" not in body
    assert "ZeroDivisionError" in caplog.text


async def test_the_length_and_the_end_are_announced(server: HealthServer) -> None:
    answer = await send(server, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b"\r\nContent-Length: 3\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\n\r\n",
        b"G\xffT /healthz HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1 x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_as_such_and_the_next_one_works(server: HealthServer, data: bytes) -> None:
    answer = await send(server, data)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
    assert await get(server, "/healthz") == (200, b"ok\n")


async def test_half_a_request_is_answered_and_a_silent_client_is_let_go(server: HealthServer) -> None:
    assert (await send(server, b"GET /hea", end=True)).startswith(b"HTTP/1.1 400 ")
    assert await send(server, b"", end=True) == b""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_bytes_break_the_server(data: bytes) -> None:
    async def play() -> None:
        async with HealthServer(LOOPBACK, {"/healthz": fine}) as server:
            answer = await send(server, data, end=True)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
            assert await get(server, "/healthz") == (200, b"ok\n")

    asyncio.run(play())


async def test_a_client_that_sends_nothing_is_dropped_in_time(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_LIMIT_S", 0.02)
    assert await send(server, b"GET /healthz") == b""


async def test_idle_clients_beyond_the_limit_are_refused(server: HealthServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            _, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
        await until(lambda: len(server._connections) == MAX_CONNECTIONS)
        assert await send(server, b"GET /healthz HTTP/1.1\r\n\r\n") == b""


async def test_stopping_ends_open_connections() -> None:
    async with HealthServer(LOOPBACK, {"/healthz": fine}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        await until(lambda: bool(server._connections))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_port_that_is_taken_is_told(server: HealthServer) -> None:
    with pytest.raises(EndpointError, match=r"http-endpoint 127\.0\.0\.1"):
        async with HealthServer(server.address, {}):
            pytest.fail("two servers on one port")
