"""Reports over HTTPS, as a machine sends them."""

import asyncio
from pathlib import Path

from kaas.bootstrap.tls import listener_tls, new_listener_tls
from kaas.drivers.simulator.life import Report, over_https
from tests.support.listening import server_context


async def test_a_report_reaches_who_the_user_data_names_and_nobody_else(tmp_path: Path) -> None:
    tls = await listener_tls(tmp_path / "tls", ("127.0.0.1",))
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith(b"content-length:"))
        heard.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(tmp_path / "tls"))
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"https://127.0.0.1:{port}/boot/v1/report"
        assert await over_https(Report(url, tls.ca_pem, "secret-token", "booted", "ssh-ed25519 AAAA", ""))
        other = new_listener_tls(("127.0.0.1",)).ca_pem
        assert not await over_https(Report(url, other, "secret-token", "booted", "ssh-ed25519 AAAA", ""))
    (request,) = heard
    assert request.startswith(b"POST /boot/v1/report")
    assert b"Bearer secret-token" in request
    assert b'"ssh_host_key":"ssh-ed25519 AAAA"' in request
