"""The certificate of the phone-home listener: made once, kept guarded, renewed under the same authority."""

import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kaas.bootstrap.tls import ListenerTls, listener_tls, new_listener_tls, server_files
from kaas.domain.errors import Code, KaasError
from tests.support.listening import server_context

NAMES = ("127.0.0.1", "kaas.example")


async def _handshake(folder: Path, ca_pem: str, name: str) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server_context(folder))
    client = ssl.create_default_context(cadata=ca_pem)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        writer.close()


async def test_it_is_made_once_and_trusted_by_who_has_the_authority(tmp_path: Path):
    folder = tmp_path / "phone-home"
    first = await listener_tls(folder, NAMES)
    assert await listener_tls(folder, NAMES) == first
    for name in NAMES:
        await _handshake(folder, first.ca_pem, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        await _handshake(folder, first.ca_pem, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        await _handshake(folder, new_listener_tls(NAMES).ca_pem, "127.0.0.1")


async def test_everything_in_the_folder_is_for_its_owner_only(tmp_path: Path):
    folder = tmp_path / "phone-home"
    await listener_tls(folder, NAMES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert set(server_files(folder)) <= set(folder.iterdir())


async def test_a_folder_that_others_may_read_is_refused(tmp_path: Path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(KaasError, match="chmod 700") as caught:
        await listener_tls(folder, NAMES)
    assert caught.value.code is Code.INVALID
    assert list(folder.iterdir()) == []


async def test_another_name_gets_a_new_certificate_under_the_same_authority(tmp_path: Path):
    folder = tmp_path / "phone-home"
    first = await listener_tls(folder, NAMES)
    second = await listener_tls(folder, (*NAMES, "10.77.0.1"))
    assert second.authority == first.authority
    assert second.server != first.server
    await _handshake(folder, first.ca_pem, "10.77.0.1")


async def test_two_that_start_at_once_have_one_authority(tmp_path: Path):
    folder = tmp_path / "phone-home"
    both = await asyncio.gather(*(listener_tls(folder, NAMES) for _ in range(4)))
    assert len({one.ca_pem for one in both}) == 1


def test_it_is_renewed_well_before_its_end():
    now = datetime.now(UTC)
    tls = new_listener_tls(NAMES, now=now)
    assert tls.fits(NAMES, now=now)
    assert tls.fits(NAMES[:1], now=now + timedelta(days=200))
    assert not tls.fits(NAMES, now=now + timedelta(days=300))


def test_it_is_the_same_after_being_stored_and_its_keys_are_in_no_repr():
    tls = new_listener_tls(NAMES)
    assert ListenerTls.from_bytes(tls.to_bytes()) == tls
    assert "PRIVATE" not in repr(tls)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1}', b'{"version": 2}'])
def test_something_else_that_was_stored_is_a_bug(content: bytes):
    with pytest.raises(KaasError) as caught:
        ListenerTls.from_bytes(content)
    assert caught.value.code is Code.BUG


def test_without_a_name_nothing_is_made():
    with pytest.raises(KaasError):
        new_listener_tls(())
