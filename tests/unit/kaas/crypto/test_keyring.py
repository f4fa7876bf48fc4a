"""The key ring file: guarded, versioned, never replaced by accident, and never quoted."""

import base64
import json
import stat
from pathlib import Path

import pytest

from kaas.crypto.keyring import KeyRing, add_key, new_keyring
from kaas.crypto.keys import MissingKeyError, Wrapped
from kaas.domain.errors import Code, KaasError

DATA_KEY = bytes(range(32))


def _keys(path: Path) -> list[dict[str, str]]:
    return json.loads(path.read_text())["keys"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_new_ring_is_for_its_owner_only_and_has_one_random_key(tmp_path: Path):
    first, second = tmp_path / "a", tmp_path / "b"
    key = new_keyring(first)
    new_keyring(second)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert [entry["id"] for entry in _keys(first)] == [key]
    assert len(base64.b64decode(_keys(first)[0]["key"])) == 32
    assert _keys(first)[0]["key"] != _keys(second)[0]["key"]
    assert await KeyRing(first).load() == key
    assert _names(tmp_path) == ["a", "b"]


def test_a_ring_that_is_there_is_never_replaced(tmp_path: Path):
    path = tmp_path / "keys"
    new_keyring(path)
    before = path.read_bytes()
    with pytest.raises(KaasError, match="left as it is"):
        new_keyring(path)
    assert path.read_bytes() == before


async def test_without_a_file_there_is_no_key_at_all(tmp_path: Path):
    ring = KeyRing(tmp_path / "none")
    for call in (ring.load(), ring.wrap(DATA_KEY)):
        with pytest.raises(KaasError, match="kaas keyring new") as caught:
            await call
        assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
async def test_a_ring_that_others_may_read_is_refused(tmp_path: Path, mode: int):
    path = tmp_path / "keys"
    new_keyring(path)
    path.chmod(mode)
    with pytest.raises(KaasError, match="chmod 600"):
        await KeyRing(path).load()
    with pytest.raises(KaasError, match="chmod 600"):
        add_key(path)


async def test_a_ring_may_be_guarded_even_more(tmp_path: Path):
    path = tmp_path / "keys"
    key = new_keyring(path)
    path.chmod(0o400)
    assert await KeyRing(path).load() == key


async def test_the_newest_key_wraps_and_all_unwrap_while_the_program_runs(tmp_path: Path):
    path = tmp_path / "keys"
    first = new_keyring(path)
    ring = KeyRing(path)
    old = await ring.wrap(DATA_KEY)
    second = add_key(path)
    new = await ring.wrap(DATA_KEY)
    assert (old.key_id, new.key_id) == (f"ring:{first}", f"ring:{second}")
    assert await ring.unwrap(old) == await ring.unwrap(new) == DATA_KEY
    assert (await ring.rewrap(old)).key_id == f"ring:{second}"
    assert await ring.rewrap(new) == new
    assert await ring.key_ids() == (old.key_id, new.key_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_wrapped_key_under_another_name_does_not_open(tmp_path: Path):
    path = tmp_path / "keys"
    new_keyring(path)
    ring = KeyRing(path)
    wrapped = await ring.wrap(DATA_KEY)
    add_key(path)
    other = (await ring.wrap(DATA_KEY)).key_id
    for strange in (Wrapped(other, wrapped.blob), Wrapped(wrapped.key_id, b"")):
        with pytest.raises(KaasError) as caught:
            await ring.unwrap(strange)
        assert caught.value.code is Code.BUG
    with pytest.raises(MissingKeyError, match="put the key ring back") as missing:
        await ring.unwrap(Wrapped("ring:none", wrapped.blob))
    assert (missing.value.code, missing.value.key_id) == (Code.KEY_MISSING, "ring:none")


SECRET = base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        SECRET,
        json.dumps({"version": 2, "keys": [{"id": "a", "key": SECRET}]}),
        json.dumps({"version": 1, "keys": []}),
        json.dumps({"version": 1, "keys": [{"id": "a", "key": SECRET}, {"id": "a", "key": SECRET}]}),
        json.dumps({"version": 1, "keys": [{"id": "a", "key": SECRET[:20]}]}),
        json.dumps({"version": 1, "keys": [{"id": "a", "key": f"!{SECRET}"}]}),
        json.dumps({"version": 1, "keys": [{"key": SECRET}]}),
        json.dumps({"version": 1, "keys": {"a": SECRET}}),
    ],
)
async def test_what_is_no_key_ring_is_refused_without_being_quoted(tmp_path: Path, content: str):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(KaasError) as caught:
        await KeyRing(path).load()
    assert caught.value.code is Code.INVALID
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET[:10] not in str(error)
        error = error.__cause__


async def test_keys_are_in_no_repr(tmp_path: Path):
    path = tmp_path / "keys"
    new_keyring(path)
    ring = KeyRing(path)
    wrapped = await ring.wrap(DATA_KEY)
    secret = base64.b64decode(_keys(path)[0]["key"])
    assert repr(secret)[2:10] not in repr(vars(ring))
    assert "blob" not in repr(wrapped)
