"""Where secrets are not: neither in the tables, nor in logs, nor in what a step tells of itself."""

import logging
from pathlib import Path

import pytest

from kaas.crypto.pki import Pki
from kaas.domain.sealing import CREDENTIAL, PKI, SSH_KEY, context_of
from kaas.drivers.simulator.records import Credential
from tests.support.kaas_flow import WHO, Rig


async def test_secrets_are_in_the_tables_only_sealed_and_in_logs_not_at_all(
    stored: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cluster_id = await stored.made(workers=1)
    (credential,) = stored.sim.world.ground.all(Credential)
    opened = {}
    for kind in (PKI, SSH_KEY, CREDENTIAL):
        sealed = await stored.kit.requests.secret(WHO, cluster_id, kind)  # type: ignore[union-attr]
        assert sealed is not None
        opened[kind] = await stored.tools.sealed.open(sealed, context=context_of(cluster_id, kind))
    pki = Pki.from_bytes(opened[PKI])
    key_lines = [line for line in pki.cluster.key_pem.splitlines() if len(line) > 40]
    assert key_lines
    assert credential.secret.encode() in opened[CREDENTIAL]
    stored_bytes = _content(tmp_path)
    assert cluster_id.encode() in stored_bytes
    for needle in (b"PRIVATE KEY", credential.secret.encode(), *key_lines):
        assert needle not in stored_bytes
        assert needle.decode() not in caplog.text


def _content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("kaas.db*"))
