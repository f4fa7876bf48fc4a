"""Ways into a cluster, from its sealed secrets: a certificate signed on demand, and the key of its machines."""

import logging
from datetime import timedelta

from kaas.api.ports import IssuedKubeconfig
from kaas.crypto.keys import MissingKeyError
from kaas.crypto.kubeconfig import Grant, issue_kubeconfig
from kaas.crypto.pki import Pki
from kaas.domain.errors import Code, KaasError, RequestError
from kaas.domain.model import Scope, Snapshot
from kaas.domain.ports import Sealed
from kaas.domain.sealing import PKI, SSH_KEY, context_of
from kaas.domain.store import Requests

LOG = logging.getLogger("kaas.api")


class SealedAccess:
    """`kaas.api.ports.Access`; what is opened is forgotten with the request."""

    def __init__(self, requests: Requests, sealed: Sealed) -> None:
        self._requests = requests
        self._sealed = sealed

    async def kubeconfig(self, scope: Scope, snapshot: Snapshot, role: str, ttl_s: float) -> IssuedKubeconfig:
        """Sign a certificate. More than a day has to be asked for, and only admins may have it."""
        cluster = snapshot.cluster
        pki = Pki.from_bytes(await self._open(scope, snapshot, PKI))
        grant = Grant(
            cluster_name=cluster.name,
            endpoint=cluster.endpoint,
            user_id=scope.user_id,
            role=role,
            lifetime=timedelta(seconds=ttl_s),
            long_lived=True,
        )
        issued = await issue_kubeconfig(pki, grant)
        return IssuedKubeconfig(issued.text, issued.serial, issued.not_after)

    async def ssh_key(self, scope: Scope, snapshot: Snapshot) -> str:
        """Open the key."""
        return (await self._open(scope, snapshot, SSH_KEY)).decode()

    async def _open(self, scope: Scope, snapshot: Snapshot, kind: str) -> bytes:
        cluster = snapshot.cluster
        sealed = await self._requests.secret(scope, cluster.id, kind)
        if sealed is None:
            raise RequestError(
                Code.NOT_FOUND, f"cluster {cluster.name} has no {kind} yet; wait until more of it is made"
            )
        try:
            return await self._sealed.open(sealed, context=context_of(cluster.id, kind))
        except KaasError as error:
            if (refusal := _refusal(error, f"the {kind} of cluster {cluster.name}")) is None:
                raise
            LOG.error("cluster %s: %s", cluster.id, error.message)  # noqa: TRY400 - the text has all of it
            raise refusal from error


def _refusal(error: KaasError, what: str) -> RequestError | None:
    """Say what is the matter with the keys, without where they lie: that is for who runs the service, in the log."""
    if isinstance(error, MissingKeyError):
        return RequestError(
            Code.KEY_MISSING,
            f"{what} cannot be opened: it is sealed with key {error.key_id!r}, which this service does not have; "
            "whoever runs the service has to put that key back (key ring or Vault)",
        )
    if error.code is Code.PLATFORM_UNAVAILABLE:
        return RequestError(
            Code.PLATFORM_UNAVAILABLE, f"{what} cannot be opened now: who holds the keys does not answer; try again"
        )
    return None
