"""The real transport against a bare server: what broken connections mean."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.unit.thecloud.scripted import KEY, soon
from thecloud.client import Client
from thecloud.errors import NotSent, UnknownOutcome
from thecloud.settings import PlatformSettings

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = b'{"data":null,"meta":{}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


class BareServer:
    """Gives each request on each connection to a handler; remembers the request lines and the connections."""

    def __init__(self, *handlers: Handler) -> None:
        self.handlers = list(handlers)
        self.lines: list[str] = []
        self.heads: list[str] = []
        self.tasks: set[asyncio.Task] = set()
        self.writers: list[asyncio.StreamWriter] = []
        self.asked = asyncio.Event()

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.writers.append(writer)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                self.lines.append(head.splitlines()[0])
                self.asked.set()
                length = next(
                    (line.split(":")[1] for line in head.splitlines() if "ontent-" in line[:8] and "ength" in line), "0"
                )
                await reader.readexactly(int(length))
                handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
                await handler(reader, writer)
                if writer.is_closing():
                    return


@contextlib.asynccontextmanager
async def serving(*handlers: Handler, **settings) -> AsyncIterator[tuple[Client, BareServer]]:
    bare = BareServer(*handlers)
    server = await asyncio.start_server(bare.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with Client(
            PlatformSettings(**({"base_url": address, "api_key": KEY} | settings)), jitter=lambda: 0.0
        ) as cloud:
            yield cloud, bare
    finally:
        server.close()
        for writer in bare.writers:
            writer.transport.abort()
        await asyncio.gather(*bare.tasks)
        await server.wait_closed()


async def answer(_, writer):
    writer.write(HEAD + str(len(BODY)).encode() + b"\r\n\r\n" + BODY)
    await writer.drain()


async def close(_, writer):
    writer.close()


async def reset(_, writer):
    writer.transport.abort()


async def truncate(_, writer):
    writer.write(HEAD + b"500\r\n\r\n" + BODY)
    await writer.drain()
    writer.close()


async def babble(_, writer):
    writer.write(b"this is no HTTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def hang(reader, _):
    await reader.read()


async def drip(_, writer):
    writer.write(HEAD + b"1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.001)


async def answer_then_close(reader, writer):
    await answer(reader, writer)
    writer.close()


async def create(cloud, deadline):
    return await cloud._exchange.send(post(deadline))


def post(deadline):
    from thecloud.call import Call

    return Call(method="POST", route="/volumes", path="/volumes", deadline=deadline, body={"name": "x"})


@pytest.mark.parametrize("handler", [close, reset, truncate, babble], ids=lambda handler: handler.__name__)
async def test_a_connection_that_breaks_after_the_request_leaves_a_change_unknown(handler):
    async with serving(handler) as (cloud, bare):
        with pytest.raises(UnknownOutcome):
            await create(cloud, soon())
    assert bare.lines == ["POST /volumes HTTP/1.1"]


@pytest.mark.parametrize("handler", [close, reset, truncate, babble], ids=lambda handler: handler.__name__)
async def test_a_read_survives_a_broken_connection(handler):
    async with serving(handler, answer) as (cloud, bare):
        await cloud.check(soon())
    assert len(bare.lines) == 2


@pytest.mark.parametrize("handler", [hang, drip], ids=lambda handler: handler.__name__)
async def test_the_deadline_ends_an_answer_that_never_comes_or_never_ends(handler):
    async with serving(handler) as (cloud, _):
        with pytest.raises(UnknownOutcome):
            await create(cloud, soon(1.0))


async def test_a_refused_connection_means_not_sent():
    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Client(PlatformSettings(base_url=f"http://127.0.0.1:{port}", api_key=KEY), jitter=lambda: 0.0) as cloud:
        with pytest.raises(NotSent, match=f"127.0.0.1:{port} cannot be reached: ConnectError: Connection refused"):
            await create(cloud, soon())


async def test_no_free_connection_by_the_deadline_means_not_sent():
    async with serving(hang, max_connections=1) as (cloud, bare):
        holder = asyncio.create_task(create(cloud, soon(60)))
        await bare.asked.wait()
        with pytest.raises(NotSent):
            await create(cloud, soon(0.2))
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
    assert bare.lines == ["POST /volumes HTTP/1.1"]


async def test_a_server_that_never_shakes_hands_means_not_sent():
    # A listening socket that speaks no TLS: the connection opens, the request never leaves.
    async with serving(hang) as (plain, _):
        address = plain._http.base_url.copy_with(scheme="https")
        async with Client(PlatformSettings(base_url=str(address), api_key=KEY), jitter=lambda: 0.0) as cloud:
            with pytest.raises(NotSent):
                await create(cloud, soon(0.2))


async def test_connections_are_kept_and_reused():
    async with serving(answer) as (cloud, bare):
        for _ in range(5):
            await cloud.check(soon())
    assert (len(bare.writers), len(bare.lines)) == (1, 5)


async def test_a_connection_closed_while_idle_is_replaced_and_costs_no_call():
    async with serving(answer_then_close, answer) as (cloud, bare):
        await cloud.check(soon())
        await asyncio.gather(*bare.tasks)
        await create(cloud, soon())
    assert bare.lines == ["GET /instance-types HTTP/1.1", "POST /volumes HTTP/1.1"]


async def test_cancel_in_a_call_leaves_the_client_usable():
    async with serving(hang, answer, max_connections=1) as (cloud, bare):
        task = asyncio.create_task(cloud.check(soon()))
        await bare.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cloud.check(soon())


async def test_a_key_that_changes_is_sent_from_then_on(tmp_path):
    path = tmp_path / "key"
    path.write_text("thecloud_one\n")
    async with serving(answer, api_key="", api_key_file=path) as (cloud, bare):
        await cloud.check(soon())
        path.write_text("thecloud_three\n")
        await cloud.check(soon())
    keys = [
        line.split(": ")[1] for head in bare.heads for line in head.splitlines() if line.lower().startswith("x-api-key")
    ]
    assert keys == ["thecloud_one", "thecloud_three"]


async def test_a_certificate_authority_that_is_none_is_an_error_at_the_start(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        Client(PlatformSettings(base_url="https://127.0.0.1:1", api_key=KEY, ca_file=path))
