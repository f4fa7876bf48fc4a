"""`kaas keyring rewrap`: older keys are needed no more, whatever is written meanwhile and wherever it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from kaas.crypto.envelope import Envelope, key_id_of
from kaas.crypto.keyring import KeyRing, add_key, new_keyring
from kaas.crypto.keys import Wrapped
from kaas.db import migrate
from kaas.db.sealed import SealedSecret, SealedStore
from kaas.domain.errors import Code, KaasError, StepError
from kaas.domain.sealing import PKI, SSH_KEY, context_of
from kaas.program import main
from kaas.rewrap import rewrap_all
from tests.support.kaas_tables import Kit
from tests.unit.kaas.app.rig import logging_kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    new_keyring(path)
    return path


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'kaas.db'}"
    await migrate.upgrade(url)
    made = Kit(url)
    yield made
    await made.store.close()


async def furnished(kit: Kit, keys: Envelope, *names: str) -> Sequence[SealedSecret]:
    """Give clusters secrets, and give these as they are stored."""
    for name in names:
        made, lease = await kit.held(name)
        for kind in (PKI, SSH_KEY):
            sealed = await keys.seal(f"{name} {kind}".encode(), context=context_of(made.cluster.id, kind))
            await kit.conducting.put_secret(lease, kind, sealed)
    return await kit.store.sealed.after()


async def opened(kit: Kit, keys: Envelope) -> list[str]:
    """Open all that is stored."""
    stored = await kit.store.sealed.after()
    return sorted(
        [(await keys.open(one.sealed, context=context_of(one.cluster_id, one.kind))).decode() for one in stored]
    )


def without(path: Path, key_id: str) -> None:
    """Take a key out of a ring."""
    ring = json.loads(path.read_text())
    ring["keys"] = [entry for entry in ring["keys"] if f"ring:{entry['id']}" != key_id]
    path.write_text(json.dumps(ring))


async def test_the_older_key_can_be_taken_out_afterwards(kit: Kit, file: Path) -> None:
    ring = KeyRing(file)
    keys = Envelope(ring)
    await furnished(kit, keys, "one", "two")
    add_key(file)
    old, new = await ring.key_ids()
    came = await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=True)
    assert (came.changed, came.needed, came.unneeded, came.failed) == (4, {new: 4}, (old,), ())
    without(file, old)
    assert await opened(kit, keys) == ["one pki", "one ssh-key", "two pki", "two ssh-key"]
    again = await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=True)
    assert (again.changed, again.unneeded) == (0, ())


async def test_what_ended_in_the_middle_goes_on(kit: Kit, file: Path) -> None:
    ring = KeyRing(file)
    keys = Envelope(ring)
    await furnished(kit, keys, "one", "two")
    add_key(file)

    class Ending(SealedStore):
        left = 3

        async def replace(self, seen: SealedSecret, sealed: bytes) -> bool:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return await super().replace(seen, sealed)

    with pytest.raises(KeyboardInterrupt):
        await rewrap_all(Ending(kit.database), keys, ring, seals_with_ring=True)
    assert len({key_id_of(one.sealed) for one in await kit.store.sealed.after()}) == 2
    assert len(await opened(kit, keys)) == 4
    assert (await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=True)).changed == 2


async def test_a_key_that_was_used_meanwhile_is_still_needed(kit: Kit, file: Path) -> None:
    ring = KeyRing(file)
    keys = Envelope(ring)
    first = (await furnished(kit, keys, "one"))[0]
    late = await keys.seal(b"written meanwhile", context=context_of(first.cluster_id, first.kind))
    add_key(file)
    old, new = await ring.key_ids()

    class Busy(SealedStore):
        async def replace(self, seen: SealedSecret, sealed: bytes) -> bool:
            if seen.id == first.id:
                assert await super().replace(seen, late)
            return await super().replace(seen, sealed)

    came = await rewrap_all(Busy(kit.database), keys, ring, seals_with_ring=True)
    assert (came.changed, came.needed, came.unneeded) == (1, {old: 1, new: 1}, ())
    assert "written meanwhile" in await opened(kit, keys)


async def test_one_that_does_not_open_is_named_and_does_not_keep_the_others(kit: Kit, file: Path) -> None:
    ring = KeyRing(file)
    keys = Envelope(ring)
    stored = await furnished(kit, keys, "one", "two")
    damaged = bytearray(stored[1].sealed)
    damaged[-1] ^= 1
    assert await kit.store.sealed.replace(stored[1], bytes(damaged))
    add_key(file)
    old, new = await ring.key_ids()
    came = await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=True)
    assert (came.changed, came.needed, came.unneeded) == (3, {old: 1, new: 3}, ())
    (problem,) = came.failed
    assert f"{stored[1].kind} of cluster {stored[1].cluster_id}" in problem


class Elsewhere:
    """`kaas.crypto.keys.KeyProvider` that is not a ring, and can be away."""

    is_away = False

    def knows(self, key_id: str) -> bool:
        return key_id == "vault:transit/kaas"

    async def wrap(self, data_key: bytes) -> Wrapped:
        if self.is_away:
            raise StepError(Code.PLATFORM_UNAVAILABLE, "away")
        return Wrapped("vault:transit/kaas", data_key)

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        return wrapped.blob

    async def rewrap(self, wrapped: Wrapped) -> Wrapped:
        return wrapped


async def test_a_key_in_vault_frees_the_whole_ring(kit: Kit, file: Path) -> None:
    ring, vault = KeyRing(file), Elsewhere()
    await furnished(kit, Envelope(ring), "one")
    keys = Envelope(vault, older=[ring])
    vault.is_away = True
    with pytest.raises(KaasError, match="away"):
        await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=False)
    vault.is_away = False
    came = await rewrap_all(kit.store.sealed, keys, ring, seals_with_ring=False)
    assert (came.needed, came.unneeded) == ({"vault:transit/kaas": 2}, await ring.key_ids())
    assert await opened(kit, Envelope(vault)) == ["one pki", "one ssh-key"]


async def _sealed_in(folder: Path) -> str:
    kit = Kit(f"sqlite+aiosqlite:///{folder / 'kaas.db'}")
    try:
        await furnished(kit, Envelope(KeyRing(folder / "keyring.json")), "one")
        return (await KeyRing(folder / "keyring.json").key_ids())[0]
    finally:
        await kit.store.close()


def test_the_command_says_which_keys_are_needed_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TC_DATABASE_URL", raising=False)
    folder = tmp_path / "state"
    state = f"--state-dir={folder}"
    with logging_kept():
        assert main(["keyring", "rewrap", state]) == 1
        assert "`kaas keyring new`" in capsys.readouterr().err
        assert [main([*words, state]) for words in (["keyring", "new"], ["migrate"])] == [0, 0]
        old = asyncio.run(_sealed_in(folder))
        assert main(["keyring", "add", state]) == 0
        capsys.readouterr()
        assert main(["keyring", "rewrap", state]) == 0
        said = capsys.readouterr().out
        assert "2 secrets rewrapped, 2 are stored" in said
        assert f"any more, though by backups from before: {old}" in said
        (folder / "keyring.json").unlink()
        assert main(["keyring", "new", state]) == 0
        capsys.readouterr()
        assert main(["keyring", "rewrap", state]) == 1
        told = capsys.readouterr()
        assert "2 secrets stay as they were" in told.err
        assert "any more" not in told.out
