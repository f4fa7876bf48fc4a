"""Secrets of type `kubernetes.io/tls` as certificates of the platform.

A certificate is named after what is in it, so that a changed Secret is another certificate: the new one is there before
listeners move to it, and the old one goes once nothing uses it. Two services with one Secret share one certificate.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from ccm.controllers.locks import held
from ccm.kube.model import Secret
from ccm.model import Certificate
from ccm.names import CLUSTER_TAG
from ccm.ports import Cause, CloudCertificates, CloudError

SECRET_TAG = "kubernetes.io/secret"  # noqa: S105 - the name of a tag
"""`namespace/name`; for people, nothing is decided by it."""
_CERTIFICATE = "tls.crt"
_KEY = "tls.key"
_PREFIX = "k8s-"
_DIGITS = 32

SecretReader = Callable[[str, str, float], Awaitable[Secret | None]]
"""Reads a Secret by namespace, name and deadline; None when there is none."""


class UnusableCertificateError(Exception):
    """A service names a certificate that cannot be used. The text is for people and says which and why."""


class Certificates:
    """Makes, finds and removes certificates of the platform."""

    def __init__(self, certificates: CloudCertificates, read_secret: SecretReader, *, cluster_id: str) -> None:
        self._certificates = certificates
        self._read_secret = read_secret
        self._mark = (CLUSTER_TAG, cluster_id)
        self._changing = asyncio.Lock()
        self._mine: Mapping[str, Certificate] | None = None
        """Ours by name; None when it has to be asked for."""
        self._claims: dict[str, frozenset[str]] = {}
        """Ids that each service (by uid) was last given: in use, or about to be."""

    async def from_secret(self, uid: str, namespace: str, name: str, *, deadline: float) -> str:
        """Give the id of the certificate with what the Secret holds now; make it when there is none.

        It is kept for the service of this uid until `claim` says what that uses. Raises UnusableCertificateError for a
        Secret that is missing or holds no certificate and key, CloudError.
        """
        secret = await self._read_secret(namespace, name, deadline)
        if secret is None:
            text = f"Secret {namespace}/{name} does not exist; create it with type kubernetes.io/tls"
            raise UnusableCertificateError(text)
        chain, key = _part(secret, _CERTIFICATE), _part(secret, _KEY)
        content = self._name_of(secret.key, chain)
        async with held(self._changing, "the certificates", deadline=deadline):
            found = (await self._ours(deadline=deadline)).get(content)
            if found is None:
                found = await self._make(content, secret, chain, key, deadline=deadline)
            self._claims[uid] = self._claims.get(uid, frozenset()) | {found.id}
        return found.id

    async def _make(self, content: str, secret: Secret, chain: str, key: str, *, deadline: float) -> Certificate:
        # Whether it was made or not is unclear until the platform answers.
        remembered, self._mine = self._mine, None
        try:
            made = await self._certificates.create(
                content,
                certificate_pem=chain,
                private_key_pem=key,
                tags={self._mark[0]: self._mark[1], SECRET_TAG: secret.key},
                idempotency_key=content,
                deadline=deadline,
            )
        except CloudError as failure:
            if failure.cause is Cause.REFUSED:
                text = f"the platform refuses Secret {secret.key}: {failure.message}"
                raise UnusableCertificateError(text) from failure
            raise
        self._mine = {**(remembered or {}), content: made}
        return made

    async def named(self, name_or_id: str, *, deadline: float) -> str:
        """Give the id of a certificate that somebody made. Raises UnusableCertificateError, CloudError."""
        found = await self._certificates.find(name_or_id, deadline=deadline)
        if found is None:
            raise UnusableCertificateError(f"the platform has no certificate with the id or name {name_or_id!r}")
        return found.id

    def claim(self, uid: str, certificate_ids: Iterable[str]) -> bool:
        """Note which certificates a service uses from now on; says whether it has left one."""
        wanted = frozenset(certificate_ids)
        before = self._claims.pop(uid, frozenset())
        if wanted:
            self._claims[uid] = wanted
        return not before <= wanted

    def reset(self) -> None:
        """Ask the platform again the next time."""
        self._mine = None

    async def collect(self, *, in_use: Collection[str], deadline: float) -> Mapping[str, str]:
        """Remove ours that no service claims and no listener of `in_use` (ids) has; gives those removed, id to name.

        The platform refuses to remove one in use, so a listener that we do not know of keeps its certificate. Raises
        CloudError.
        """
        async with held(self._changing, "the certificates", deadline=deadline):
            self._mine = None
            kept = frozenset(in_use).union(*self._claims.values())
            ours = await self._ours(deadline=deadline)
            unused = [one for one in ours.values() if one.id not in kept and one.name.startswith(_PREFIX)]
            removed: dict[str, str] = {}
            for certificate in unused:
                if await self._remove(certificate, deadline=deadline):
                    removed[certificate.id] = certificate.name
            self._mine = {name: one for name, one in ours.items() if one.id not in removed}
        return removed

    async def _remove(self, certificate: Certificate, *, deadline: float) -> bool:
        self._mine = None
        try:
            await self._certificates.delete(certificate.id, guard=self._mark, deadline=deadline)
        except CloudError as failure:
            if failure.cause in (Cause.CONFLICT, Cause.GUARD):
                return False
            raise
        return True

    async def _ours(self, *, deadline: float) -> Mapping[str, Certificate]:
        if self._mine is None:
            listed = await self._certificates.mine(max_age_s=0.0, deadline=deadline)
            self._mine = {one.name: one for one in listed}
        return self._mine

    def _name_of(self, secret_key: str, chain: str) -> str:
        text = "\0".join((self._mark[1], secret_key, chain))
        return _PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _part(secret: Secret, name: str) -> str:
    """Give one entry of a Secret; its text is never part of an error."""
    encoded = (secret.data or {}).get(name, "")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if not text:
        raise UnusableCertificateError(f"Secret {secret.key} has no readable entry {name!r} (PEM text is expected)")
    return text
