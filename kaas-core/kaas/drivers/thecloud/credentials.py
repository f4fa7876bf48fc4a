"""Credentials: an API key of each cluster's own, so that it can be ended alone.

The platform gives all keys of a user the same rights: what is separate is that a cluster's key can be revoked, and that
the key of this service never leaves it.
"""

from collections.abc import Sequence

from kaas.domain.ports import Condition, CredentialFacts, CredentialWish, External, Kind
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import translated
from thecloud.api_keys import ApiKey
from thecloud.client import Client
from thecloud.errors import Missing


class Credentials:
    """API keys, which have no mark but a name that holds a part of the cluster's id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the keys that have a name of this cluster; their secrets are not told again."""
        with translated(f"looking for the API key of cluster {cluster_id}"):
            found = await self._client.api_keys.list(deadline=deadline)
        return [
            _external(one, cluster_id)
            for one in found
            if marks.is_name_of(one.name, cluster_id) and name in ("", one.name)
        ]

    async def create(self, cluster_id: str, wish: CredentialWish, *, deadline: float) -> External:
        """Make a key, after ending those of the name: whoever asks for one does not have their secrets."""
        for one in await self.find(cluster_id, wish.name, deadline=deadline):
            await self.delete(one, deadline=deadline)
        with translated(f"making the API key {wish.name!r}"):
            made = await self._client.api_keys.create(name=wish.name, deadline=deadline)
        return _external(made.key, cluster_id, CredentialFacts(secret=made.secret))

    async def delete(self, external: External, *, deadline: float) -> None:
        """Revoke the key of the recorded id, if it still has the recorded name."""
        with translated(f"revoking the API key {external.name!r}"):
            listed = await self._client.api_keys.list(deadline=deadline)
            found = next((one for one in listed if one.id == external.id), None)
            if found is None:
                return
            if found.name != external.name:
                raise marks.not_ours(external, f"it is called {found.name!r}")
            try:
                await self._client.api_keys.revoke(found.id, deadline=deadline)
            except Missing:
                return


def _external(one: ApiKey, cluster_id: str, facts: CredentialFacts | None = None) -> External:
    return External(
        Kind.CREDENTIAL, one.id, one.name, Condition.READY, facts=facts or CredentialFacts(), cluster_id=cluster_id
    )
