"""Which instance of the platform a node of Kubernetes is.

A node id is either an instance's uuid or a host name. Names are matched against one listing, shared and cached below
the port; an id that it lacks is looked for in a fresh one before anybody is told "not found".
"""

from collections.abc import Mapping, Sequence

from controller import features as offer
from controller.model import Instance
from controller.names import is_uuid
from controller.ports import CloudInstances
from csi.errors import CsiError, ErrorKind

CACHE_S = 60.0
"""How old a listing may be that finds a node."""
_GUEST_PREFIX = "thecloud-"
_GUEST_DIGITS = 8


class Nodes:
    """Finds instances by node id, and node ids by instance."""

    def __init__(self, instances: CloudInstances) -> None:
        self._instances = instances
        self._seen: dict[str, str] = {}

    async def resolve(
        self, node_id: str, *, features: frozenset[str], deadline: float, fresh: bool = False
    ) -> Instance:
        """Give the instance behind a node id.

        `fresh` distrusts the cached listing. Raises CsiError NOT_FOUND when no instance matches, PRECONDITION when
        several do; both say what was compared.
        """
        if is_uuid(node_id) and features >= offer.GUARDED_ATTACH:
            # The platform itself says precisely when this instance does not exist, so no listing is needed.
            return self._remember(node_id, Instance(id=node_id.lower(), name=""))
        matches: Sequence[Instance] = ()
        for max_age_s in (0.0,) if fresh else (CACHE_S, 0.0):
            matches = matches_of(node_id, await self._instances.all(max_age_s=max_age_s, deadline=deadline), features)
            if matches:
                break
        if len(matches) == 1:
            return self._remember(node_id, matches[0])
        if matches:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"node {node_id!r} matches {len(matches)} instances of the platform: "
                f"{', '.join(sorted(match.id for match in matches)[:8])}. Rename all but one, or start the node plugin "
                "with the uuid of its instance as node id.",
            )
        raise CsiError(
            ErrorKind.NOT_FOUND,
            f"node {node_id!r} is no instance of the platform: compared with {_compared(node_id, features)} of every "
            "instance of the tenant. If the node exists, start its plugin with the uuid of its instance as node id.",
        )

    async def ids_of(
        self, instance_ids: Sequence[str], *, features: frozenset[str], deadline: float
    ) -> Mapping[str, tuple[str, ...]]:
        """Give the node ids under which each instance is known to Kubernetes.

        An instance that was published to by this process has the id that was used then; any other one has every form
        that leads to it, since the node alone decides which form it reports.
        """
        known = {instance: node for node, instance in self._seen.items()}
        if all(instance in known for instance in instance_ids):
            return {instance: (known[instance],) for instance in instance_ids}
        listing = await self._instances.all(max_age_s=CACHE_S, deadline=deadline)
        by_id = {instance.id: instance for instance in listing}
        return {
            wanted: (known[wanted],) if wanted in known else _forms(by_id.get(wanted), wanted, listing, features)
            for wanted in instance_ids
        }

    def _remember(self, node_id: str, instance: Instance) -> Instance:
        for stale in [node for node, seen in self._seen.items() if seen == instance.id and node != node_id]:
            del self._seen[stale]
        self._seen[node_id] = instance.id
        return instance


def matches_of(node_id: str, listing: Sequence[Instance], features: frozenset[str]) -> list[Instance]:
    """Give the instances that a node id may mean; the first rule that matches anything decides.

    A uuid is an instance's id. A host name is compared with the guest's host name where the platform tells it; else
    with the name that the platform gives guests (`thecloud-` and the first eight digits of the id), then with the name
    of the instance (platform contract 4.3).
    """
    if is_uuid(node_id):
        return [instance for instance in listing if instance.id == node_id.lower()]
    if offer.HOSTNAME in features:
        return [instance for instance in listing if instance.hostname == node_id]
    by_guest_name = [instance for instance in listing if _guest_name(instance.id) == node_id]
    return by_guest_name or [instance for instance in listing if instance.name == node_id]


def _forms(
    instance: Instance | None, instance_id: str, listing: Sequence[Instance], features: frozenset[str]
) -> tuple[str, ...]:
    if instance is None:
        return (instance_id,)
    names = (instance.hostname,) if offer.HOSTNAME in features else (_guest_name(instance.id), instance.name)
    unique = [name for name in names if name and matches_of(name, listing, features) == [instance]]
    return (instance.id, *dict.fromkeys(unique))


def _guest_name(instance_id: str) -> str:
    return _GUEST_PREFIX + instance_id[:_GUEST_DIGITS]


def _compared(node_id: str, features: frozenset[str]) -> str:
    if is_uuid(node_id):
        return "the id"
    if offer.HOSTNAME in features:
        return "the host name"
    return f"the name and {_GUEST_PREFIX}<first {_GUEST_DIGITS} digits of the id>"
