"""Access to the APIs of clusters, kept for a while.

Each look at a cluster would otherwise open its sealed keys and sign a certificate, and a new certificate is a new
connection.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kaas.domain.ports import KubeAccess

KEPT_S = 1800.0
"""Half of the life of a conductor's certificate: who gets it at the last moment has as much time again."""
_CLUSTERS = 256

Make = Callable[[], Awaitable[KubeAccess]]


@dataclass(slots=True)
class _Slot:
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    access: KubeAccess | None = field(default=None, repr=False)
    endpoint: str = ""
    until: float = 0.0


class Accesses:
    """Remembers one access for each of the `limit` clusters that were asked for last, in memory only.

    `clock` is a time of the day, as certificates go by it.
    """

    def __init__(
        self, *, limit: int = _CLUSTERS, kept_s: float = KEPT_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._limit = limit
        self._kept_s = kept_s
        self._clock = clock
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    async def to(self, cluster_id: str, endpoint: str, make: Make) -> KubeAccess:
        """Give access to a cluster; a new one by `make` where there is none for this endpoint that is good enough.

        Whoever asks while it is being made waits for it.
        """
        slot = self._slots.setdefault(cluster_id, _Slot())
        self._slots.move_to_end(cluster_id)
        while len(self._slots) > self._limit:
            self._slots.popitem(last=False)
        async with slot.making:
            now = self._clock()
            # A clock that was put back would let it be kept for longer than it is good for.
            is_good = slot.endpoint == endpoint and now < slot.until <= now + self._kept_s
            if slot.access is None or not is_good:
                slot.access, slot.endpoint, slot.until = await make(), endpoint, now + self._kept_s
            return slot.access

    def refused(self, access: KubeAccess) -> None:
        """Forget an access that a cluster did not take; a newer one of the same cluster stays."""
        for slot in self._slots.values():
            if slot.access is access:
                slot.access = None

    def forget(self, cluster_id: str) -> None:
        """Forget the access to a cluster that is no more."""
        self._slots.pop(cluster_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._slots.clear()
