"""Sealed secrets of all tenants, replaced only as they were seen."""

from kaas.domain.sealing import CREDENTIAL, PKI, SSH_KEY
from tests.support.kaas_tables import Kit


async def test_pages_have_every_secret_once(kit: Kit) -> None:
    assert list(await kit.store.sealed.after()) == []
    put = set()
    for name in ("one", "two"):
        made, lease = await kit.held(name)
        for kind in (PKI, SSH_KEY, CREDENTIAL):
            await kit.conducting.put_secret(lease, kind, f"{name} {kind}".encode())
            put.add((made.cluster.id, kind, f"{name} {kind}".encode()))
    seen, last = [], ""
    while page := await kit.store.sealed.after(last, most=4):
        assert len(page) <= 4
        seen += [(one.cluster_id, one.kind, one.sealed) for one in page]
        last = page[-1].id
    assert len(seen) == len(put)
    assert set(seen) == put


async def test_what_a_conductor_has_written_meanwhile_stays(kit: Kit, other: Kit) -> None:
    _, lease = await kit.held()
    await kit.conducting.put_secret(lease, PKI, b"old")
    await kit.conducting.put_secret(lease, SSH_KEY, b"old")
    seen = {one.kind: one for one in await kit.store.sealed.after()}
    await other.conducting.put_secret(lease, PKI, b"newer")
    assert not await kit.store.sealed.replace(seen[PKI], b"rewrapped")
    assert await kit.store.sealed.replace(seen[SSH_KEY], b"rewrapped")
    assert not await kit.store.sealed.replace(seen[SSH_KEY], b"once more")
    assert [await kit.conducting.secret(lease, kind) for kind in (PKI, SSH_KEY)] == [b"newer", b"rewrapped"]


async def test_secrets_are_in_no_repr(kit: Kit) -> None:
    _, lease = await kit.held()
    await kit.conducting.put_secret(lease, PKI, b"hunter2")
    assert "hunter2" not in repr(await kit.store.sealed.after())
