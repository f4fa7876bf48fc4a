"""Certificates behind `ccm.ports.CloudCertificates`."""

from collections.abc import Mapping, Sequence

from ccm.cloud.errors import cloud_error, translated
from ccm.cloud.snapshot import Snapshot
from ccm.model import Certificate
from ccm.names import CLUSTER_TAG
from ccm.ports import CloudError
from thecloud import network_wire as wire
from thecloud.certificates import CERTIFICATES
from thecloud.client import Client
from thecloud.errors import Missing, PlatformError
from thecloud.presence import Gone, canonical_id

_PRIVATE = "PRIVATE KEY"
_TELLTALE = 16
"""Characters of a key's line by which a quotation of it is known; the client cuts long texts short."""


class Certificates:
    """`ccm.ports.CloudCertificates` on the platform's client; CloudError UNSUPPORTED where the platform holds none."""

    def __init__(self, client: Client, *, cluster_id: str) -> None:
        self._client = client
        self._mark = (CLUSTER_TAG, cluster_id)
        self._snapshot: Snapshot[tuple[Certificate, ...]] = Snapshot(self._list, name="the listing of certificates")

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Certificate]:
        """List those with this cluster's mark; none where the platform holds none."""
        with translated():
            if not (await self._client.features(deadline)).has(CERTIFICATES):
                return ()
            return await self._snapshot.get(max_age_s=max_age_s, deadline=deadline)

    async def find(self, name_or_id: str, *, deadline: float) -> Certificate | None:
        """Find one by its id or name, whoever made it."""
        with translated():
            if canonical_id(name_or_id) is not None:
                found = await self._client.certificates.get(name_or_id, deadline=deadline)
                return None if isinstance(found, Gone) else certificate_of(found)
            named = await self._client.certificates.find_by_name(name_or_id, deadline=deadline)
        return certificate_of(named[0]) if named else None

    async def create(
        self,
        name: str,
        *,
        certificate_pem: str,
        private_key_pem: str,
        tags: Mapping[str, str],
        idempotency_key: str,
        deadline: float,
    ) -> Certificate:
        """Hand a certificate with its key over; always with this cluster's mark. No error shows the key."""
        with self._snapshot.writing():
            try:
                made = await self._client.certificates.create(
                    name=name,
                    certificate_pem=certificate_pem,
                    private_key_pem=private_key_pem,
                    idempotency_key=idempotency_key,
                    tags={**tags, self._mark[0]: self._mark[1]},
                    deadline=deadline,
                )
            except PlatformError as error:
                # Without a cause: what is raised must not carry a text along that quotes the key.
                raise _without_key(cloud_error(error), name, private_key_pem) from None
        return certificate_of(made)

    async def delete(self, certificate_id: str, *, guard: tuple[str, str], deadline: float) -> None:
        """Delete one if it carries that tag; a missing one is no error."""
        with self._snapshot.writing():
            try:
                await self._client.certificates.delete(certificate_id, guard_tag=guard, deadline=deadline)
            except Missing as error:
                if error.resource not in ("", "certificate"):
                    raise

    async def _list(self, deadline: float, _since: float) -> tuple[Certificate, ...]:
        listed = await self._client.certificates.list(tag=self._mark, deadline=deadline)
        return tuple(certificate_of(one) for one in listed if one.tags.get(self._mark[0]) == self._mark[1])


def certificate_of(one: wire.Certificate) -> Certificate:
    """Give the certificate as controllers see it."""
    return Certificate(id=one.id, name=one.name, fingerprint_sha256=one.fingerprint_sha256, tags=one.tags)


def _without_key(error: CloudError, name: str, private_key_pem: str) -> CloudError:
    said = " ".join((error.message, *error.details.values()))
    starts = {line.strip()[:_TELLTALE] for line in private_key_pem.splitlines() if len(line.strip()) >= _TELLTALE}
    if _PRIVATE not in said and not any(start in said for start in starts):
        return error
    text = f"certificate {name!r} was not taken; what the platform said is not shown, since it quotes the private key"
    return CloudError(error.cause, text, reason=error.reason, retry_after_s=error.retry_after_s)
