"""Key pairs: the public SSH key that a cluster's machines trust."""

from collections.abc import Sequence

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, External, KeyPairWish, Kind
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import translated
from thecloud.client import Client
from thecloud.errors import Conflict, Missing
from thecloud.presence import Gone
from thecloud.ssh_keys import SshKey


class KeyPairs:
    """SSH keys, which have no mark but a name that holds a part of the cluster's id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the keys that have a name of this cluster."""
        with translated(f"looking for the key pair of cluster {cluster_id}"):
            found = await self._client.ssh_keys.list(deadline=deadline)
        return [
            _external(one, cluster_id)
            for one in found
            if marks.is_name_of(one.name, cluster_id) and name in ("", one.name)
        ]

    async def create(self, cluster_id: str, wish: KeyPairWish, *, deadline: float) -> External:
        """Keep the public key; the same key under the name is taken as it is, another one is refused."""
        try:
            with translated(f"keeping the public key {wish.name!r}"):
                made = await self._client.ssh_keys.create(name=wish.name, public_key=wish.public_key, deadline=deadline)
        except StepError as error:
            if not isinstance(error.__cause__, Conflict):
                raise
            made = await self._same(wish, error, deadline=deadline)
        return _external(made, cluster_id)

    async def delete(self, external: External, *, deadline: float) -> None:
        """Forget the key of the recorded id, if it still has the recorded name."""
        with translated(f"deleting key pair {external.name!r}"):
            found = await self._client.ssh_keys.get(external.id, deadline=deadline)
            if isinstance(found, Gone):
                return
            if found.name != external.name:
                raise marks.not_ours(external, f"it is called {found.name!r}")
            try:
                await self._client.ssh_keys.delete(found.id, deadline=deadline)
            except Missing:
                return

    async def _same(self, wish: KeyPairWish, taken: StepError, *, deadline: float) -> SshKey:
        """Give the key that has the name, if it is the one that is wished."""
        with translated(f"looking for the public key {wish.name!r}"):
            listed = await self._client.ssh_keys.list(deadline=deadline)
        found = next((one for one in listed if one.name == wish.name), None)
        if found is None:
            raise StepError(Code.PLATFORM_UNAVAILABLE, f"{taken.message}, and yet the platform lists no such key")
        if _key(found.public_key) != _key(wish.public_key):
            raise StepError(
                Code.PLATFORM_REFUSED,
                f"the tenant has another public key under the name {wish.name!r} ({found.id}, {found.fingerprint}); "
                "find out whose it is and delete it",
            )
        return found


def _key(public_key: str) -> tuple[str, ...]:
    """Give type and key without the comment."""
    return tuple(public_key.split()[:2])


def _external(one: SshKey, cluster_id: str) -> External:
    return External(Kind.KEY_PAIR, one.id, one.name, Condition.READY, cluster_id=cluster_id)
