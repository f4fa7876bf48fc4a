"""Which instance of the platform a node of Kubernetes is.

A node id is either an instance's uuid or a host name. Names are matched against one listing, shared and cached below
the port; an id that it lacks is looked for in a fresh one before anybody is told "not found".
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from controller import features as offer
from controller.model import Instance
from controller.names import is_uuid
from controller.ports import CloudInstances
from csi.errors import CsiError, ErrorKind

CACHE_S = 60.0
"""How old a listing may be that finds a node."""
_MAX_PUBLISHED = 10_000
_GUEST_PREFIX = "thecloud-"
_GUEST_DIGITS = 8


class Nodes:
    """Finds instances by node id, and node ids by instance."""

    def __init__(self, instances: CloudInstances) -> None:
        self._instances = instances
        self._published: OrderedDict[str, str] = OrderedDict()
        """The instance that each node id meant when a volume was last attached to it; no instance twice."""
        self._node_of: dict[str, str] = {}

    async def resolve(
        self, node_id: str, *, features: frozenset[str], deadline: float, fresh: bool = False
    ) -> Instance:
        """Give the instance behind a node id.

        `fresh` distrusts the cached listing. Raises CsiError NOT_FOUND when no instance matches, PRECONDITION when
        several do; both say what was compared.
        """
        if is_uuid(node_id) and features >= offer.GUARDED_ATTACH:
            # The platform itself says precisely when this instance does not exist, so no listing is needed.
            return Instance(id=node_id.lower(), name="")
        matches: Sequence[Instance] = ()
        for max_age_s in (0.0,) if fresh else (CACHE_S, 0.0):
            matches = await self._matches(node_id, max_age_s, features=features, deadline=deadline)
            if matches:
                break
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise _ambiguous(node_id, matches)
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
        known = self._node_of
        if all(instance in known for instance in instance_ids):
            return {instance: (known[instance],) for instance in instance_ids}
        listing = await self._instances.all(max_age_s=CACHE_S, deadline=deadline)
        by_id = {instance.id: instance for instance in listing}
        return {
            wanted: (known[wanted],) if wanted in known else _forms(by_id.get(wanted), wanted, listing, features)
            for wanted in instance_ids
        }

    def note_published(self, node_id: str, instance_id: str) -> None:
        """Remember what a node id meant when a volume was attached to it."""
        self._forget(node_id)
        self._forget(self._node_of.get(instance_id, ""))
        self._published[node_id] = instance_id
        self._node_of[instance_id] = node_id
        if len(self._published) > _MAX_PUBLISHED:
            self._forget(next(iter(self._published)))

    async def guess(self, node_id: str, *, features: frozenset[str], deadline: float) -> str:
        """Give the instance that a node id probably means, or an empty text: for calls that the platform checks."""
        if is_uuid(node_id):
            return node_id.lower()
        if node_id in self._published:
            return self._published[node_id]
        matches = await self._matches(node_id, CACHE_S, features=features, deadline=deadline)
        return matches[0].id if len(matches) == 1 else ""

    async def means(self, node_id: str, holder_id: str, *, features: frozenset[str], deadline: float) -> bool:
        """Say whether the holder of a volume is the instance behind a node id, to be detached on the node's behalf.

        No is said only of a definite other: by its uuid, or by a fresh listing. A holder that is definitely gone counts
        as meant when the node is gone as well. Raises CsiError PRECONDITION when several instances match and one of
        them is the holder, UNKNOWN_OUTCOME when what the platform shows does not go together.
        """
        if is_uuid(node_id):
            return node_id.lower() == holder_id
        if self._published.get(node_id) == holder_id:
            return True
        matches: Sequence[Instance] = ()
        for max_age_s in (CACHE_S, 0.0):
            matches = await self._matches(node_id, max_age_s, features=features, deadline=deadline)
            if [match.id for match in matches] == [holder_id]:
                return True
        if any(match.id == holder_id for match in matches):
            raise _ambiguous(node_id, matches)
        return not matches and await self._is_gone_with(node_id, holder_id, features=features, deadline=deadline)

    async def _is_gone_with(self, node_id: str, holder_id: str, *, features: frozenset[str], deadline: float) -> bool:
        """Say whether the holder is as gone as a node that a listing lacks; False when it is another node's."""
        holder = await self._instances.get(holder_id, deadline=deadline)
        if holder is not None and not matches_of(node_id, (holder,), features):
            return False
        # A listing in between keeps the two looks apart, and proves that the platform shows this tenant at all.
        listing = await self._instances.all(max_age_s=0.0, deadline=deadline)
        is_listed = any(instance.id == holder_id for instance in listing) or matches_of(node_id, listing, features)
        if holder is None and not is_listed and await self._instances.get(holder_id, deadline=deadline) is None:
            return True
        raise CsiError(
            ErrorKind.UNKNOWN_OUTCOME,
            f"node {node_id!r}: the platform shows its instance at one time and lacks it at another, and it may be "
            f"instance {holder_id}, which holds the volume; ask again",
        )

    async def _matches(
        self, node_id: str, max_age_s: float, *, features: frozenset[str], deadline: float
    ) -> Sequence[Instance]:
        return matches_of(node_id, await self._instances.all(max_age_s=max_age_s, deadline=deadline), features)

    def _forget(self, node_id: str) -> None:
        instance_id = self._published.pop(node_id, None)
        if instance_id is not None:
            del self._node_of[instance_id]


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


def _ambiguous(node_id: str, matches: Sequence[Instance]) -> CsiError:
    return CsiError(
        ErrorKind.PRECONDITION,
        f"node {node_id!r} matches {len(matches)} instances of the platform: "
        f"{', '.join(sorted(match.id for match in matches)[:8])}. Rename all but one, or start the node plugin "
        "with the uuid of its instance as node id.",
    )


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
