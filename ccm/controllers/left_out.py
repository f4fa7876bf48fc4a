"""Tells of nodes that load balancers send nothing to although nobody asked for that: their provider id is not ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ccm.controllers.telling import Recorder
from ccm.desired.nodeset import skipped_because
from ccm.kube.model import Node

log = logging.getLogger(__name__)

NO_TARGET = "NoLoadBalancerTarget"
MOST_AT_ONCE = 10
"""So many nodes get an event of their own in one look; of more at once, one line of the log tells."""


@dataclass(slots=True)
class _Case:
    node: Node
    why: str
    since: float
    is_told: bool = False


class LeftOut:
    """Tells of each such node once, and again when the reason has changed.

    `patience_s` is how long it must have been so: a node that has just joined has no provider id for a while.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        patience_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._recorder = recorder
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._cases: dict[str, _Case] = {}
        """By the node's uid."""
        self._bell = asyncio.Event()

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """Take a change of a node, as `Store.subscribe` gives it."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._cases.pop(old.metadata.uid, None)
        if new is None:
            return
        why, uid = skipped_because(new), new.metadata.uid
        known = self._cases.get(uid)
        if not why:
            self._cases.pop(uid, None)
        elif known is None or known.why != why:
            self._cases[uid] = _Case(new, why, self._clock())
            self._bell.set()

    async def run(self) -> None:
        """Look a while after each change, for ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            await self._sleep(self._patience_s)
            if self.look():
                self._bell.set()

    def look(self) -> bool:
        """Tell of those that have been so for long enough; says whether others are left to be looked at later."""
        untold = [one for one in self._cases.values() if not one.is_told]
        ripe = [one for one in untold if self._clock() >= one.since + self._patience_s]
        for one in ripe:
            one.is_told = True
        for one in ripe[:MOST_AT_ONCE]:
            text = f"Load balancers send nothing to this node: {one.why}"
            self._recorder.warning(one.node, NO_TARGET, text)
        if more := [one.node.metadata.name for one in ripe[MOST_AT_ONCE:]]:
            shown = ", ".join(more[:MOST_AT_ONCE]) + (", …" if len(more) > MOST_AT_ONCE else "")
            log.warning(
                "load balancers send nothing to %d more nodes without a provider id of ours: %s", len(more), shown
            )
        return len(ripe) < len(untold)
