"""Access from sealed secrets, with real keys and the real tables."""

import base64
import secrets
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from kaas.api.sealed_access import SealedAccess
from kaas.crypto.envelope import Envelope, key_id_of
from kaas.crypto.keyring import KeyRing, new_keyring
from kaas.crypto.pki import new_pki
from kaas.crypto.sshkeys import new_ssh_key_pair
from kaas.domain.errors import Code, KaasError, RequestError, StepError
from kaas.domain.model import Scope
from kaas.domain.sealing import PKI, SSH_KEY, context_of
from tests.unit.kaas.api.rig import BLUE, GREEN, Rig


class XorSealed:
    """Sealing that is no encryption but is bound to its context, as the real one is."""

    def __init__(self) -> None:
        self._pad = secrets.token_bytes(1)[0] | 1

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        return context.encode() + b"\0" + bytes(byte ^ self._pad for byte in plaintext)

    async def open(self, ciphertext: bytes, *, context: str) -> bytes:
        bound, _, rest = ciphertext.partition(b"\0")
        if bound != context.encode():
            raise KaasError(Code.BUG, "sealed for something else")
        return bytes(byte ^ self._pad for byte in rest)


@pytest.fixture
def sealed() -> XorSealed:
    return XorSealed()


async def test_a_kubeconfig_is_signed_by_the_clusters_own_authority(rig: Rig, sealed: XorSealed) -> None:
    made = await rig.running("dev")
    pki = await new_pki(made["id"])
    async with rig.lease(made["id"]) as lease:
        content = await sealed.seal(pki.to_bytes(), context=context_of(made["id"], PKI))
        await rig.store.conducting.put_secret(lease, PKI, content)
    access = SealedAccess(rig.store.requests(), sealed)
    issued = await access.kubeconfig(Scope(BLUE, "ada", "reader"), await rig.snapshot("dev"), "reader", 3600)
    document = msgspec.yaml.decode(issued.text)
    assert document["clusters"][0]["cluster"]["server"] == "https://10.77.0.10:6443"
    pem = base64.b64decode(document["users"][0]["user"]["client-certificate-data"])
    certificate = x509.load_pem_x509_certificate(pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(pki.cluster.cert_pem))
    assert "kaas:view" in certificate.subject.rfc4514_string()
    with pytest.raises(RequestError) as caught:
        await access.kubeconfig(Scope(BLUE, "max", "member"), await rig.snapshot("dev"), "member", 48 * 3600)
    assert caught.value.code is Code.INVALID
    assert [problem.field for problem in caught.value.problems] == ["expires_in"]


async def test_the_ssh_key_opens_for_its_own_tenant_only(rig: Rig, sealed: XorSealed) -> None:
    made = await rig.running("dev")
    key = (await new_ssh_key_pair("dev")).private_key
    async with rig.lease(made["id"]) as lease:
        content = await sealed.seal(key, context=context_of(made["id"], SSH_KEY))
        await rig.store.conducting.put_secret(lease, SSH_KEY, content)
    access, snapshot = SealedAccess(rig.store.requests(), sealed), await rig.snapshot("dev")
    assert await access.ssh_key(Scope(BLUE, "ada", "admin"), snapshot) == key.decode()
    with pytest.raises(RequestError) as caught:
        await access.ssh_key(Scope(GREEN, "gus", "admin"), snapshot)
    assert caught.value.code is Code.NOT_FOUND


async def test_a_cluster_without_secrets_yet(rig: Rig, sealed: XorSealed) -> None:
    await rig.create("dev")
    with pytest.raises(RequestError, match="has no pki yet") as caught:
        await SealedAccess(rig.store.requests(), sealed).kubeconfig(
            Scope(BLUE, "ada", "admin"), await rig.snapshot("dev"), "admin", 3600
        )
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(("path", "kind"), [("kubeconfig", PKI), ("ssh-key", SSH_KEY)])
async def test_a_key_ring_without_the_key_is_told_as_such(
    rig: Rig,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    kind: str,
) -> None:
    made = await rig.running("dev")
    file = tmp_path / "keyring.json"
    new_keyring(file)
    envelope = Envelope(KeyRing(file))
    content = await envelope.seal(b"hunter2", context=context_of(made["id"], kind))
    async with rig.lease(made["id"]) as lease:
        await rig.store.conducting.put_secret(lease, kind, content)
    file.unlink()
    new_keyring(file)
    access = SealedAccess(rig.store.requests(), envelope)
    for name in ("kubeconfig", "ssh_key"):
        monkeypatch.setattr(rig.access, name, getattr(access, name))
    answer = await rig.ask("GET", f"/clusters/dev/{path}")
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "UNAVAILABLE", "KEY_MISSING")
    for told in (f"{kind} of cluster dev", key_id_of(content), "put that key back"):
        assert told in error["message"]
    assert str(file) not in answer.text
    assert made["id"] in caplog.text
    assert str(file) in caplog.text
    assert "hunter2" not in answer.text + caplog.text


async def test_keys_that_are_away_for_now(rig: Rig, monkeypatch: pytest.MonkeyPatch, sealed: XorSealed) -> None:
    made = await rig.running("dev")
    async with rig.lease(made["id"]) as lease:
        await rig.store.conducting.put_secret(lease, SSH_KEY, b"sealed")

    async def away(ciphertext: bytes, *, context: str) -> bytes:
        raise StepError(Code.PLATFORM_UNAVAILABLE, "Vault at https://vault.example: HTTP 503")

    monkeypatch.setattr(sealed, "open", away)
    monkeypatch.setattr(rig.access, "ssh_key", SealedAccess(rig.store.requests(), sealed).ssh_key)
    answer = await rig.ask("GET", "/clusters/dev/ssh-key")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "PLATFORM_UNAVAILABLE")
    assert "dev" in answer.json()["error"]["message"]
    assert "vault.example" not in answer.text
