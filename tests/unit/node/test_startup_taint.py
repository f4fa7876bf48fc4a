"""The startup taint goes when the scheduler knows the node's places, and not before."""

import asyncio
import logging
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from csi.registration import Registration
from node.kube.nodes import NodeObject, Taint
from node.startup_taint import StartupTaint

KEY = "csi.thecloud.io/agent-not-ready"
OTHER = Taint("dedicated", "NoSchedule")


class Cluster:
    """One Node and its CSINode; what stands in `trouble` happens to the questions, one after the other."""

    def __init__(self) -> None:
        self.node = NodeObject(taints=(OTHER, Taint(KEY, "NoExecute")))
        self.count: int | None = 20
        self.trouble: list[CsiError] = []
        self.conflicts = 0
        self.questions: list[str] = []

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        self._asked(f"node {name}")
        return self.node

    async def allocatable(self, node_name: str, driver: str, *, deadline: float) -> int | None:
        self._asked(f"csinode {node_name} {driver}")
        return self.count

    async def remove_taint(self, name: str, node: NodeObject, key: str, *, deadline: float) -> bool:
        self._asked(f"patch {name}")
        if self.conflicts:
            self.conflicts -= 1
            return False
        self.node = NodeObject(taints=tuple(taint for taint in node.taints if taint.key != key))
        return True

    def _asked(self, question: str) -> None:
        self.questions.append(question)
        if self.trouble:
            raise self.trouble.pop(0)

    @property
    def has_taint(self) -> bool:
        return self.node.has_taint(KEY)

    def taint(self) -> StartupTaint:
        return StartupTaint(nodes=self, csi_nodes=self, node_name="n", key=KEY, first_pause_s=0.001)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def turn(times: int = 50) -> None:
    for _ in range(times):
        await asyncio.sleep(0.001)


async def test_the_taint_goes_once_the_count_is_known_and_others_stay(cluster: Cluster) -> None:
    cluster.count = None
    clearing = asyncio.create_task(cluster.taint().clear())
    await turn()
    assert cluster.has_taint
    assert not clearing.done()
    assert "patch n" not in cluster.questions
    cluster.count = 20
    await clearing
    assert cluster.node.taints == (OTHER,)


async def test_a_node_without_the_taint_costs_one_question(cluster: Cluster) -> None:
    cluster.node = NodeObject(taints=(OTHER,))
    await cluster.taint().clear()
    assert cluster.questions == ["node n"]


async def test_a_change_by_somebody_else_is_read_again(cluster: Cluster) -> None:
    cluster.conflicts = 3
    await cluster.taint().clear()
    assert not cluster.has_taint
    assert cluster.questions.count("node n") == 4


async def test_trouble_is_told_once_and_asked_again(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.trouble = [CsiError(ErrorKind.UNKNOWN_OUTCOME, "the API is away")] * 3
    with caplog.at_level(logging.INFO):
        await cluster.taint().clear()
    assert caplog.text.count("the API is away") == 1
    assert f"took the startup taint {KEY} from node n, which takes 20 volumes" in caplog.text


async def test_every_registration_looks_again_because_a_node_made_anew_has_the_taint_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    registration = Registration(socket=tmp_path / "r", endpoint=tmp_path / "e")
    running = asyncio.create_task(cluster.taint().run(registration))
    await turn()
    assert cluster.questions == []
    registration.note_registered()
    await turn()
    assert not cluster.has_taint
    seen = len(cluster.questions)
    await turn()
    assert len(cluster.questions) == seen
    cluster.node = NodeObject(taints=(Taint(KEY, "NoSchedule"),))
    registration.note_registered()
    await turn()
    assert not cluster.has_taint
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


async def test_a_plugin_that_somebody_else_registers_looks_once(cluster: Cluster) -> None:
    await cluster.taint().run(None)
    assert not cluster.has_taint
