"""One signal for many changes of nodes."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ccm.controllers.fleet import FleetWatch
from ccm.desired.selector import Selector
from ccm.kube.model import Node
from ccm.kube.store import Store
from ccm.names import EXCLUDE_LABEL, GOING_TAINT
from tests.unit.ccm.controllers.rig import iid, wire_node

LEAVING = {"key": GOING_TAINT, "value": "1", "effect": "NoSchedule"}


class Pauses:
    """Pauses that a test ends."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._gate = asyncio.Event()

    async def __call__(self, pause_s: float) -> None:
        self.asked.append(pause_s)
        self._gate.clear()
        await self._gate.wait()

    async def end(self) -> None:
        self._gate.set()
        for _ in range(5):
            await asyncio.sleep(0)


class Fleet:
    def __init__(self) -> None:
        self.store: Store[Node] = Store()
        self.signals = 0
        self.pauses = Pauses()
        self.watch = FleetWatch(self.store.values, self._signal, quiet_s=1.0, longest_s=3.0, sleep=self.pauses)
        self.store.subscribe(self.watch.on_node)
        self._version = 0

    def _signal(self) -> None:
        self.signals += 1

    def put(self, number: int, **changed: Any) -> None:
        self._version += 1
        wire = wire_node(number, **changed)
        wire["metadata"] |= {"resourceVersion": str(self._version), "uid": f"uid-{number}"}
        self.store.apply(msgspec.convert(wire, Node))

    def targets(self) -> list[str]:
        return [one.instance_id for one in self.watch.current().targets(Selector())]

    async def quiet(self) -> None:
        for _ in range(8):
            await self.pauses.end()


async def running(do: Callable[[Fleet], Any]) -> Fleet:
    fleet = Fleet()
    task = asyncio.create_task(fleet.watch.run())
    try:
        await do(fleet)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return fleet


async def test_a_hundred_nodes_are_one_signal() -> None:
    async def join(fleet: Fleet) -> None:
        for number in range(100):
            fleet.put(number)
        await fleet.quiet()

    fleet = await running(join)
    assert fleet.signals == 1
    assert len(fleet.targets()) == 100


async def test_a_burst_without_end_is_not_waited_for() -> None:
    async def join(fleet: Fleet) -> None:
        for number in range(4):
            fleet.put(number)
            await fleet.pauses.end()

    fleet = await running(join)
    assert fleet.signals == 1
    assert fleet.pauses.asked == [1.0] * 3


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [
        ({}, {"ready": "False"}, False),
        ({}, {"addresses": [{"type": "InternalIP", "address": "10.9.9.9"}]}, False),
        ({}, {"taints": [LEAVING]}, False),
        ({"taints": [LEAVING]}, {}, True),
        ({}, {"labels": {EXCLUDE_LABEL: ""}}, True),
        ({"labels": {EXCLUDE_LABEL: ""}}, {}, True),
        ({}, {"labels": {"pool": "a"}}, True),
        ({"provider_id": ""}, {}, True),
        ({"provider_id": ""}, {"provider_id": "other://x"}, False),
    ],
)
async def test_which_changes_are_told(before: dict[str, Any], after: dict[str, Any], tells: bool) -> None:
    async def change(fleet: Fleet) -> None:
        fleet.put(1, **before)
        fleet.put(2)
        await fleet.quiet()
        assert fleet.signals == 1
        fleet.put(1, **after)
        await fleet.quiet()

    assert (await running(change)).signals == 1 + tells


async def test_a_node_that_goes_is_told_and_is_no_target() -> None:
    async def change(fleet: Fleet) -> None:
        fleet.put(1)
        fleet.put(2)
        await fleet.quiet()
        fleet.store.replace({"n2": next(one for one in fleet.store.values() if one.key == "n2")})
        await fleet.quiet()

    fleet = await running(change)
    assert (fleet.signals, fleet.targets()) == (2, [iid(2)])
