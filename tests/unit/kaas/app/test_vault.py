"""A key in Vault's place, and the key ring that sealed before it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kaas.app import open_keys
from kaas.crypto.envelope import key_id_of
from kaas.inputs import read_keyring
from kaas.serving import Server, address_of, open_socket
from process.address import TcpEndpoint
from tests.unit.kaas.app.rig import furnish, settings_of
from tests.unit.kaas.crypto.transit import FakeTransit


@contextlib.asynccontextmanager
async def vault() -> AsyncIterator[str]:
    transit, end = FakeTransit(), asyncio.Event()
    with open_socket(TcpEndpoint("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(Server(transit.app).run_on(listening, end))
        try:
            yield f"http://{address_of(listening)}"
        finally:
            end.set()
            await serving


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("s.first\n")
    return path


async def test_vault_seals_and_the_key_ring_still_opens(tmp_path, token):
    folder = tmp_path / "state"
    furnish(folder)
    plain = settings_of(folder, "--driver=simulator")
    async with open_keys(plain, await read_keyring(plain, [])) as keys:
        old = await keys.seal(b"secret", context="c/pki")
    async with vault() as address:
        flags = (f"--vault-address={address}", "--vault-key=kaas", f"--vault-token-file={token}")
        both = settings_of(folder, "--driver=simulator", f"--keyring-file={folder}/keyring.json", *flags)
        async with open_keys(both, await read_keyring(both, [])) as keys:
            new = await keys.seal(b"secret", context="c/pki")
            assert key_id_of(new) == "vault:transit/kaas"
            assert [await keys.open(one, context="c/pki") for one in (old, new)] == [b"secret", b"secret"]
        (folder / "keyring.json").unlink()
        alone = settings_of(folder, "--driver=simulator", *flags)
        async with open_keys(alone, await read_keyring(alone, [])) as keys:
            assert await keys.open(new, context="c/pki") == b"secret"
