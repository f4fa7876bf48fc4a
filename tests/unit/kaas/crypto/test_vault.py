"""Data keys in Vault's transit engine: round trips, exchanged tokens, bad days, and what is never said."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kaas.crypto.envelope import Envelope, key_id_of
from kaas.crypto.keyring import KeyRing, new_keyring
from kaas.crypto.keys import Wrapped
from kaas.crypto.vault import Transit, VaultKeys
from kaas.domain.errors import Code, KaasError, StepError
from tests.unit.kaas.crypto.transit import FakeTransit

CONTEXT = "secrets/4f1c2d3e/pki"
DATA_KEY = bytes(range(32))


@dataclass
class Rig:
    vault: FakeTransit
    keys: VaultKeys
    token_file: Path
    client: httpx.AsyncClient


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    vault = FakeTransit(mount="team/transit")
    token_file = tmp_path / "token"
    token_file.write_text("s.first\n")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=vault.app)) as client:
        transit = Transit("https://vault.example:8200/", "kaas", token_file, mount="team/transit", namespace="ops")
        yield Rig(vault, VaultKeys(client, transit), token_file, client)


async def test_sealing_and_opening_asks_vault_for_the_data_key_only(rig: Rig):
    envelope = Envelope(rig.keys)
    sealed = await envelope.seal(b"secret", context=CONTEXT)
    assert key_id_of(sealed) == "vault:team/transit/kaas"
    assert await envelope.open(sealed, context=CONTEXT) == b"secret"
    assert rig.vault.calls == ["encrypt", "decrypt"]
    assert set(rig.vault.namespaces) == {"ops"}


async def test_rewrapping_takes_the_newest_version_and_nothing_when_it_has_it(rig: Rig):
    envelope = Envelope(rig.keys)
    old = await envelope.seal(b"secret", context=CONTEXT)
    assert await envelope.rewrap(old, context=CONTEXT) == old
    rig.vault.rotate()
    new = await envelope.rewrap(old, context=CONTEXT)
    assert b"vault:v2:" in new
    assert b"vault:v1:" not in new
    rig.vault.versions[0] = b"0" * 32
    assert await envelope.open(new, context=CONTEXT) == b"secret"


async def test_what_a_key_ring_sealed_moves_to_vault(rig: Rig, tmp_path: Path):
    new_keyring(tmp_path / "ring")
    ring = KeyRing(tmp_path / "ring")
    old = await Envelope(ring).seal(b"secret", context=CONTEXT)
    both = Envelope(rig.keys, older=(ring,))
    assert await both.open(old, context=CONTEXT) == b"secret"
    new = await both.rewrap(old, context=CONTEXT)
    assert await Envelope(rig.keys).open(new, context=CONTEXT) == b"secret"
    with pytest.raises(KaasError, match="no key provider"):
        await Envelope(rig.keys).open(old, context=CONTEXT)


async def test_a_token_that_is_exchanged_is_taken_at_the_next_call(rig: Rig):
    wrapped = await rig.keys.wrap(DATA_KEY)
    rig.vault.token = "s.second"
    rig.token_file.write_text("s.second\n")
    assert await rig.keys.unwrap(wrapped) == DATA_KEY


async def test_a_token_that_is_exchanged_during_the_call_is_taken_at_once(rig: Rig):
    wrapped = await rig.keys.wrap(DATA_KEY)
    rig.vault.token = "s.second"

    async def exchange(_request: httpx.Request) -> None:
        rig.token_file.write_text("s.second\n")

    rig.client.event_hooks = {"request": [exchange]}
    assert await rig.keys.unwrap(wrapped) == DATA_KEY
    assert rig.vault.calls[-2:] == ["decrypt", "decrypt"]


async def test_a_refused_token_is_said_and_not_shown(rig: Rig):
    rig.vault.token = "s.other"
    with pytest.raises(StepError, match="refuses the token") as caught:
        await rig.keys.wrap(DATA_KEY)
    assert caught.value.code is Code.PLATFORM_UNAVAILABLE
    assert "s.first" not in str(caught.value)
    assert rig.vault.calls == ["encrypt"]


async def test_bad_days_are_waited_through(rig: Rig):
    rig.vault.bad_days = [503, 429]
    assert (await rig.keys.wrap(DATA_KEY)).blob.startswith(b"vault:v1:")


async def test_a_vault_that_stays_sealed_is_unavailable_and_may_be_asked_later(rig: Rig):
    rig.vault.bad_days = [503] * 50
    with pytest.raises(StepError, match="HTTP 503") as caught:
        await rig.keys.wrap(DATA_KEY)
    assert caught.value.retryable
    assert len(rig.vault.calls) < 10


async def test_a_vault_that_does_not_answer_ends_with_its_time(tmp_path: Path):
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectTimeout("no answer", request=request)

    (tmp_path / "token").write_text("s.first")
    async with httpx.AsyncClient(transport=Silent()) as client:
        keys = VaultKeys(client, Transit("https://vault.example", "kaas", tmp_path / "token", timeout_s=0.05))
        with pytest.raises(StepError) as caught:
            await keys.wrap(DATA_KEY)
    assert caught.value.code is Code.PLATFORM_UNAVAILABLE


async def test_a_changed_data_key_is_a_bug_and_not_a_bad_day(rig: Rig):
    wrapped = await rig.keys.wrap(DATA_KEY)
    for blob in (wrapped.blob[:-4] + b"AAAA", b"nonsense", b"\xff"):
        with pytest.raises(KaasError) as caught:
            await rig.keys.unwrap(Wrapped(wrapped.key_id, blob))
        assert caught.value.code is Code.BUG


async def test_a_missing_key_says_what_to_look_at(rig: Rig, tmp_path: Path):
    keys = VaultKeys(rig.client, Transit("https://vault.example", "other", tmp_path / "token", mount="team/transit"))
    with pytest.raises(KaasError, match="is there such a key") as caught:
        await keys.wrap(DATA_KEY)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("content", [None, "", "  \n", "two\nlines", "gr\u00fcn"])
async def test_a_token_file_without_a_token_is_said_before_anything_is_sent(rig: Rig, content: str | None):
    if content is None:
        rig.token_file.unlink()
    else:
        rig.token_file.write_text(content)
    with pytest.raises(KaasError, match=str(rig.token_file)):
        await rig.keys.wrap(DATA_KEY)
    assert rig.vault.calls == []


async def test_something_else_that_answers_is_not_taken_for_vault(tmp_path: Path):
    (tmp_path / "token").write_text("s.first")
    for answer in (b"<html>", b"{}", b'{"data": []}', b'{"data": {"ciphertext": 5}}'):
        transport = httpx.MockTransport(lambda _request, content=answer: httpx.Response(200, content=content))
        async with httpx.AsyncClient(transport=transport) as client:
            keys = VaultKeys(client, Transit("https://vault.example", "kaas", tmp_path / "token"))
            with pytest.raises(StepError, match="not its transit engine"):
                await keys.wrap(DATA_KEY)


@pytest.mark.parametrize(("mount", "key"), [("transit", "a/b"), ("transit", ""), ("../sys", "kaas/x"), ("/t", "kaas")])
async def test_names_that_would_lead_elsewhere_are_refused(rig: Rig, mount: str, key: str):
    with pytest.raises(KaasError):
        VaultKeys(rig.client, Transit("https://vault.example", key, rig.token_file, mount=mount))
