"""What is sealed opens under its own context and key only, and moves to a newer key with its content untouched."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.crypto.envelope import Envelope, key_id_of
from kaas.crypto.keyring import KeyRing, add_key, new_keyring
from kaas.crypto.keys import MissingKeyError
from kaas.domain.errors import Code, KaasError

CONTEXT = "secrets/4f1c2d3e/pki"


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    new_keyring(path)
    return path


async def test_what_is_sealed_opens(ring: Path):
    envelope = Envelope(KeyRing(ring))
    for plaintext in (b"", b"x", bytes(range(256)) * 500):
        assert await envelope.open(await envelope.seal(plaintext, context=CONTEXT), context=CONTEXT) == plaintext


async def test_the_same_content_never_looks_the_same(ring: Path):
    envelope = Envelope(KeyRing(ring))
    sealed = [await envelope.seal(b"the same words", context=CONTEXT) for _ in range(20)]
    assert len(set(sealed)) == 20
    # Nonces and data keys are the parts behind the header; no two ciphertexts share a block of them.
    assert len({one[-44:-16] for one in sealed}) == 20
    assert not any(b"the same words" in one for one in sealed)


async def test_moved_to_another_row_it_does_not_open(ring: Path):
    envelope = Envelope(KeyRing(ring))
    sealed = await envelope.seal(b"secret", context=CONTEXT)
    with pytest.raises(KaasError, match="does not open") as caught:
        await envelope.open(sealed, context="secrets/other/pki")
    assert caught.value.code is Code.BUG


async def test_a_context_is_demanded(ring: Path):
    with pytest.raises(KaasError, match="context"):
        await Envelope(KeyRing(ring)).seal(b"secret", context="")


async def test_every_changed_byte_is_noticed(ring: Path):
    envelope = Envelope(KeyRing(ring))
    sealed = await envelope.seal(b"secret", context=CONTEXT)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 0x01
        with pytest.raises(KaasError) as caught:
            await envelope.open(bytes(changed), context=CONTEXT)
        # With another letter in its name, a key is one that nobody has.
        assert caught.value.code in (Code.BUG, Code.KEY_MISSING)


async def test_every_cut_is_noticed(ring: Path):
    envelope = Envelope(KeyRing(ring))
    sealed = await envelope.seal(b"secret", context=CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(KaasError) as caught:
            await envelope.open(sealed[:length], context=CONTEXT)
        assert caught.value.code is Code.BUG


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_in_words(content: bytes):
    for start in (b"", b"kaas\x01"):
        if start and len(content) > 3:
            continue
        with pytest.raises(KaasError) as caught:
            key_id_of(start + content)
        assert caught.value.code is Code.BUG


async def test_after_a_new_key_old_ciphertexts_open_and_new_ones_have_the_new_key(ring: Path):
    envelope = Envelope(KeyRing(ring))
    old = await envelope.seal(b"old", context=CONTEXT)
    newest = add_key(ring)
    new = await envelope.seal(b"new", context=CONTEXT)
    assert key_id_of(new) == f"ring:{newest}"
    assert key_id_of(old) != key_id_of(new)
    assert await envelope.open(old, context=CONTEXT) == b"old"


async def test_rewrapping_changes_the_key_and_not_the_content(ring: Path):
    envelope = Envelope(KeyRing(ring))
    old = await envelope.seal(b"secret", context=CONTEXT)
    assert await envelope.rewrap(old, context=CONTEXT) == old
    newest = add_key(ring)
    new = await envelope.rewrap(old, context=CONTEXT)
    assert key_id_of(new) == f"ring:{newest}"
    assert new.endswith(old[-34:])
    assert await envelope.open(new, context=CONTEXT) == b"secret"
    with pytest.raises(KaasError):
        await envelope.rewrap(old, context="another row")


async def test_what_another_ring_sealed_names_its_key(ring: Path, tmp_path: Path):
    other = tmp_path / "other"
    key = new_keyring(other)
    sealed = await Envelope(KeyRing(other)).seal(b"secret", context=CONTEXT)
    with pytest.raises(MissingKeyError, match=key) as caught:
        await Envelope(KeyRing(ring)).open(sealed, context=CONTEXT)
    assert caught.value.code is Code.KEY_MISSING
