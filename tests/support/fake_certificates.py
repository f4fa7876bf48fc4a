"""Certificates of the platform in memory; see tests/support/fake_cloud.py."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ccm.model import Certificate
from ccm.names import CLUSTER_TAG
from ccm.ports import Cause, CloudError

if TYPE_CHECKING:
    from tests.support.fake_cloud import Faults


class FakeCertificates:
    """Certificates, whose names are unique in the tenant."""

    def __init__(self, faults: "Faults", cluster_id: str, in_use: Callable[[], frozenset[str]]) -> None:
        self.all: dict[str, Certificate] = {}
        self.keys: dict[str, str] = {}
        """The private key that was handed over, by the certificate's id."""
        self._faults = faults
        self._cluster_id = cluster_id
        self._in_use = in_use
        self._by_key: dict[str, tuple[str, tuple[str, str, str]]] = {}
        self._made = 0

    def has(self, certificate_id: str) -> bool:
        """Say whether there is one of this id."""
        return certificate_id in self.all

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Certificate]:
        """As `ccm.ports.CloudCertificates.mine`; never from a cache."""
        await self._faults.before("certificates", "", deadline)
        return tuple(one for one in self.all.values() if one.tags.get(CLUSTER_TAG) == self._cluster_id)

    async def find(self, name_or_id: str, *, deadline: float) -> Certificate | None:
        """As `ccm.ports.CloudCertificates.find`."""
        await self._faults.before("find", name_or_id, deadline)
        return next((one for one in self.all.values() if name_or_id in (one.id, one.name)), None)

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
        """As `ccm.ports.CloudCertificates.create`; the fingerprint is that of the text, which need not be PEM."""
        await self._faults.before("create_certificate", name, deadline)
        body = (name, certificate_pem, private_key_pem)
        if idempotency_key in self._by_key:
            known_id, known_body = self._by_key[idempotency_key]
            if known_body != body:
                raise CloudError(Cause.CONFLICT, "this key made another certificate", reason="key_reused")
            if known_id in self.all:
                return self.all[known_id]
        if any(one.name == name for one in self.all.values()):
            raise CloudError(Cause.CONFLICT, f"a certificate of the name {name!r} exists", reason="name_taken")
        self._made += 1
        made = Certificate(
            id=f"00000000-0000-4000-9000-{self._made:012d}",
            name=name,
            fingerprint_sha256=hashlib.sha256(certificate_pem.encode()).hexdigest(),
            tags=dict(tags),
        )
        self.all[made.id] = made
        self.keys[made.id] = private_key_pem
        self._by_key[idempotency_key] = (made.id, body)
        self._faults.after("create_certificate", name)
        return made

    async def delete(self, certificate_id: str, *, guard: tuple[str, str], deadline: float) -> None:
        """As `ccm.ports.CloudCertificates.delete`."""
        await self._faults.before("delete_certificate", certificate_id, deadline)
        found = self.all.get(certificate_id)
        if found is not None:
            key, value = guard
            if found.tags.get(key) != value:
                raise CloudError(Cause.GUARD, f"certificate {certificate_id} does not carry the tag {key}")
            if certificate_id in self._in_use():
                raise CloudError(Cause.CONFLICT, f"certificate {certificate_id} is in use", reason="in_use")
            del self.all[certificate_id]
        self._faults.after("delete_certificate", certificate_id)
