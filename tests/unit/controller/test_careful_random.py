"""Random histories on a strict platform that is as slow, forgetful and inconsistent as its contract allows.

Two promises of Kubernetes' storage must hold at every moment: what is published stays with its instance until its
unpublish is asked for, and what is unpublished never comes to its instance again unless it is asked for.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from controller.careful import CarefulPairs
from controller.model import Volume
from controller.ports import CloudError, Lane
from controller.written import REMEMBER_S, UNANSWERED_S
from csi.errors import CsiError
from tests.unit.controller.strict_platform import NOBODY, VOLUME, StrictPlatform, answered, unanswered

NODES = ("a-instance", "b-instance", "c-instance")
STEPS = 60
RARE = (927, 1287, 2071, 2169, 5483, 5657, 7875, 8084, 9551)
"""Histories that need a rule which hardly any other one needs."""


class RandomPlatform(StrictPlatform):
    """Does with every call what it may: at once or up to 30 s later, with its answer, without, or with a 500."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._history = [(float("-inf"), NOBODY)]
        self._due: list[tuple[float, Callable[[], None]]] = []
        self.watch: Callable[[], None] = lambda: None

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := min((row for row in self._due if row[0] <= end), key=lambda row: row[0], default=None):
            self._due.remove(due)
            self.now = max(self.now, due[0])
            due[1]()
            self._note()
        self.now = end

    async def get(self, volume_id: str, *, lane: Lane = Lane.READ, deadline: float) -> Volume | None:
        self.pass_time(self._chance.choice((0.0, 0.1, 2.0)))
        if self._chance.random() < 0.1:
            raise unanswered("reading failed")
        shown_at = self.now - self._chance.choice((0.0, 0.0, self._chance.uniform(0, REMEMBER_S - 1)))
        return self.volume(next(holder for at, holder in reversed(self._history) if at <= shown_at))

    def _write(self, act: Callable[[], None]) -> None:
        self.pass_time(self._chance.choice((0.0, 0.1, 2.0)))
        fate = self._chance.random()
        if fate < 0.4:
            act()
            self._note()
        elif fate < 0.5:
            raise answered()
        elif fate < 0.6:
            self._quietly(act)
            raise answered()
        elif fate < 0.7:
            self._quietly(act)
            raise self._no_answer()
        else:
            self._later(act)
            raise self._no_answer()

    def _later(self, act: Callable[[], None]) -> None:
        """Carry it out later, or check later and write later still (platform contract 5.5: no lock in between)."""
        check_at, write_at = sorted(self.now + self._chance.uniform(0, UNANSWERED_S - 3) for _ in range(2))

        def check() -> None:
            before = self.holder
            try:
                act()
            except CloudError:
                return
            wanted, self.holder = self.holder, before
            self._due.append((write_at, lambda: setattr(self, "holder", wanted)))

        if self._chance.random() < 0.9:
            self._due.append((check_at, check))

    def _quietly(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CloudError:
            return
        self._note()

    def _no_answer(self) -> BaseException:
        return asyncio.CancelledError() if self._chance.random() < 0.5 else unanswered()

    def _note(self) -> None:
        self._history.append((self.now, self.holder))
        self.watch()


class Promises:
    """What was answered to Kubernetes, and whether it still holds."""

    def __init__(self, platform: RandomPlatform) -> None:
        self.published: set[str] = set()
        self.unpublished: set[str] = set(NODES)
        self.kept = 0
        self._platform = platform
        platform.watch = self.check

    def check(self) -> None:
        holder = self._platform.holder
        assert self.published <= {holder}, f"published to {self.published}, held by {holder!r}"
        assert holder not in self.unpublished, f"held by {holder}, which was unpublished"


async def succeeds(call: Awaitable[object]) -> bool:
    try:
        await call
    except (CsiError, asyncio.CancelledError):
        return False
    return True


@pytest.mark.parametrize("seed", [*range(250), *RARE])
async def test_promises_hold_through_any_history(seed: int):
    chance = random.Random(seed)
    platform = RandomPlatform(chance)
    promises = Promises(platform)
    pairs = CarefulPairs(platform, clock=platform.clock)  # type: ignore[arg-type]
    for _ in range(STEPS):
        node = chance.choice(NODES[: chance.randint(1, len(NODES))])
        if chance.random() < 0.5:
            promises.unpublished.discard(node)
            if await succeeds(pairs.attach(VOLUME, node, read_only=False, deadline=0.0)):
                promises.published.add(node)
        else:
            promises.published.discard(node)

            async def is_meant(holder: str, node: str = node) -> bool:
                return holder == node

            if await succeeds(pairs.detach(VOLUME, is_meant, deadline=0.0)):
                promises.unpublished.add(node)
        promises.check()
        platform.pass_time(chance.choice((0.0, 0.0, 0.5, 3.0, 12.0, 45.0)))
        promises.check()


@pytest.mark.parametrize("seed", range(20))
async def test_every_history_can_be_brought_to_an_end(seed: int):
    """However it went, asking again for long enough detaches, and then another node gets the volume."""
    chance = random.Random(seed)
    platform = RandomPlatform(chance)
    pairs = CarefulPairs(platform, clock=platform.clock)  # type: ignore[arg-type]

    async def is_meant(_holder: str) -> bool:
        return True

    for round_number in range(10):
        for node in NODES:
            for call in (
                lambda node=node: pairs.attach(VOLUME, node, read_only=False, deadline=0.0),
                lambda: pairs.detach(VOLUME, is_meant, deadline=0.0),
            ):
                for _ in range(100):
                    if await succeeds(call()):
                        break
                    platform.pass_time(5.0)
                else:
                    pytest.fail(f"round {round_number}: no end for {node}")
