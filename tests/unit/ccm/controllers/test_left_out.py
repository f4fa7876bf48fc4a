"""Nodes that load balancers send nothing to are told of, once and not in crowds."""

import asyncio
from typing import Any

import msgspec
import pytest

from ccm.controllers.left_out import MOST_AT_ONCE, NO_TARGET, LeftOut
from ccm.kube.model import Node
from tests.unit.ccm.controllers.rig import Clock, wire_node
from tests.unit.ccm.controllers.service_rig import Said

PATIENCE_S = 60.0


class Nodes:
    """Nodes as a watch shows them."""

    def __init__(self) -> None:
        self.clock, self.said = Clock(), Said()
        self.left_out = LeftOut(self.said, patience_s=PATIENCE_S, clock=self.clock, sleep=self._sleep)
        self.pauses = 0
        self._seen: dict[int, Node] = {}

    def put(self, number: int, *, uid: str = "", **changed: Any) -> None:
        wire = wire_node(number, **changed)
        wire["metadata"]["uid"] = uid or f"uid-{number}"
        new = msgspec.convert(wire, Node)
        self.left_out.on_node(self._seen.get(number), new)
        self._seen[number] = new

    def drop(self, number: int) -> None:
        self.left_out.on_node(self._seen.pop(number), None)

    def told(self) -> list[str]:
        """The nodes that are told of when they have been as they are for long enough."""
        before = len(self.said.all)
        self.clock.now += PATIENCE_S
        assert not self.left_out.look()
        assert {one[1] for one in self.said.all} <= {NO_TARGET}
        return [name for _, _, name, _ in self.said.all[before:]]

    async def _sleep(self, pause_s: float) -> None:
        self.pauses += 1
        self.clock.now += pause_s
        await asyncio.sleep(0)


def test_a_node_is_told_of_once_and_again_when_the_reason_has_changed() -> None:
    nodes = Nodes()
    nodes.put(1)
    nodes.put(2, provider_id="")
    assert nodes.told() == ["n2"]
    nodes.put(2, provider_id="", ready="False")
    assert nodes.told() == []
    nodes.put(2, provider_id="other://x")
    assert nodes.told() == ["n2"]
    assert "other://x" in nodes.said.all[-1][3]


@pytest.mark.parametrize("ends", ["initialized", "deleted", "replaced"])
def test_a_node_that_is_only_joining_is_not_told_of(ends: str) -> None:
    nodes = Nodes()
    nodes.put(1, provider_id="")
    nodes.clock.now += PATIENCE_S - 1
    assert nodes.left_out.look()
    if ends == "deleted":
        nodes.drop(1)
    else:
        nodes.put(1, uid="another" if ends == "replaced" else "")
    assert nodes.told() == []


def test_many_at_once_are_few_events_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    for number in range(100):
        nodes.put(number, provider_id=f"other://{number}")
    assert len(nodes.told()) == MOST_AT_ONCE
    assert [record.args[0] for record in caplog.records if record.args] == [100 - MOST_AT_ONCE]
    assert nodes.told() == []


async def test_it_looks_until_everything_is_told_and_then_waits() -> None:
    nodes = Nodes()
    task = asyncio.create_task(nodes.left_out.run())
    try:
        nodes.put(1, provider_id="")
        for _ in range(10):
            await asyncio.sleep(0)
        assert (nodes.said.reasons(), nodes.pauses) == ([NO_TARGET], 1)
    finally:
        task.cancel()
        await asyncio.wait([task])
