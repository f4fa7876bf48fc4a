import asyncio
import contextlib
import os
import socket
import ssl

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kaas import serving
from kaas.bootstrap.tls import listener_tls, server_files
from kaas.option_kinds import Descriptor
from kaas.serving import ListenError, Server, address_of, handed_over, open_socket
from process.address import TcpEndpoint

FREE = TcpEndpoint("127.0.0.1", 0)


def test_sockets_that_systemd_hands_over_are_known_by_name_or_by_their_order():
    assert handed_over({}, pid=7) == {}
    assert handed_over({"LISTEN_FDS": "2"}, pid=7) == {"api": 3, "phone-home": 4}
    named = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "phone-home:api", "LISTEN_PID": "7"}
    assert handed_over(named, pid=7) == {"phone-home": 3, "api": 4}
    assert handed_over(named, pid=8) == {}


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_FDS": "many"},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "kaas.socket"},
        {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:api"},
    ],
)
def test_sockets_that_nobody_knows_what_for(environ):
    with pytest.raises(ListenError):
        handed_over(environ, pid=7)


def test_a_socket_of_whoever_started_us():
    with open_socket(FREE) as ours:
        handed = os.dup(ours.fileno())
        with open_socket(Descriptor(handed)) as taken:
            assert address_of(taken) == address_of(ours)
            assert not os.get_inheritable(handed)


def test_what_is_no_socket_that_listens(tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(ListenError, match="is no socket"):
        open_socket(Descriptor(file.fileno()))
    with socket.socket() as unused, pytest.raises(ListenError, match="is no stream socket that listens"):
        open_socket(Descriptor(unused.fileno()))
    with pytest.raises(ListenError, match="was not handed over"):
        open_socket(Descriptor(999_999))


def test_an_address_that_somebody_has():
    with open_socket(FREE) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
            open_socket(TcpEndpoint("127.0.0.1", port))


def test_addresses_are_written_so_that_they_can_be_typed():
    with open_socket(TcpEndpoint("::1", 0)) as listening:
        assert address_of(listening) == f"[::1]:{listening.getsockname()[1]}"


async def test_a_server_with_a_certificate_that_ends_when_it_is_told(tmp_path):
    tls = await listener_tls(tmp_path / "tls", ["127.0.0.1"])
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
    end = asyncio.Event()
    with open_socket(FREE) as listening:
        server = Server(app, tls=server_files(tmp_path / "tls"))
        serving = asyncio.create_task(server.run_on(listening, end))
        async with httpx.AsyncClient(verify=ssl.create_default_context(cadata=tls.ca_pem)) as http:
            assert (await http.get(f"https://{address_of(listening)}/")).text == "here"
        end.set()
        await serving


@contextlib.asynccontextmanager
async def served():
    async def echo(request):
        return PlainTextResponse(await request.body())

    end = asyncio.Event()
    with open_socket(FREE) as listening:
        serving = asyncio.create_task(
            Server(Starlette(routes=[Route("/", echo, methods=["POST"])])).run_on(listening, end)
        )
        try:
            yield listening.getsockname()
        finally:
            end.set()
            await serving


async def is_closed(reader):
    async with asyncio.timeout(20):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(
    "part", [b"", b"POST / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"]
)
async def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(monkeypatch, part):
    monkeypatch.setattr(serving, "REQUEST_S", 0.05)
    async with served() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(part)
        assert await is_closed(reader)
        writer.close()


async def test_requests_that_arrive_in_time_are_answered_one_after_the_other(monkeypatch):
    monkeypatch.setattr(serving, "REQUEST_S", 0.05)
    async with served() as (host, port), httpx.AsyncClient() as http:
        for _ in range(2):
            assert (await http.post(f"http://{host}:{port}/", content=b"abc")).text == "abc"


async def test_more_connections_than_are_borne_are_closed_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 1)
    async with served() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        late, unwanted = await asyncio.open_connection(*address)
        assert await is_closed(late)
        writer.write(b"abc")
        async with asyncio.timeout(20):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        for one in (writer, unwanted):
            one.close()
