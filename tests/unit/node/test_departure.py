"""When the pre-stop hook waits, for what, and how long."""

import asyncio
import logging
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.departure import DEPARTURE_TAINTS, Departure, why_leaving
from node.kube.attachments import Attachment
from node.kube.nodes import NodeObject, Taint

AWAY = CsiError(ErrorKind.UNKNOWN_OUTCOME, "the API is away")
REFUSED = CsiError(ErrorKind.PRECONDITION, "its role needs `list` on volumeattachments")
CORDONED = NodeObject(is_unschedulable=True)


class Cluster:
    """A Node and its VolumeAttachments; `later` is done to it at each look at one of them."""

    def __init__(self, node: NodeObject | None = CORDONED, *names: str) -> None:
        self.node = node
        self.names = list(names)
        self.trouble: list[CsiError] = []
        self.later: list[str | None] = []
        """A name that appears, or None for the first one that goes."""
        self.questions: list[str] = []
        self.away_after: int | None = None

    async def find(self, name: str, *, deadline: float) -> NodeObject | None:
        self._asked("node")
        return self.node

    async def of_node(self, node_name: str, driver: str, *, deadline: float) -> tuple[Attachment, ...]:
        self._asked("list")
        assert (node_name, driver) == ("n", "csi.thecloud.io")
        return tuple(Attachment(name, f"pv-{name}") for name in self.names)

    async def exists(self, name: str, *, deadline: float) -> bool:
        self._asked("one")
        if self.later:
            change = self.later.pop(0)
            self.names = self.names[1:] if change is None else [*self.names, change]
        return name in self.names

    def _asked(self, question: str) -> None:
        self.questions.append(question)
        if self.trouble:
            raise self.trouble.pop(0)
        if self.away_after is not None and len(self.questions) > self.away_after:
            raise AWAY

    async def wait(self, *, limit_s: float = 10.0, patience_s: float = 0.05) -> str:
        departure = Departure(nodes=self, attachments=self, node_name="n", patience_s=patience_s, first_pause_s=0.001)
        return await departure.wait(limit_s=limit_s)


@pytest.mark.parametrize(
    "node",
    [
        NodeObject(),
        NodeObject(taints=(Taint("dedicated", "NoSchedule"),)),
        NodeObject(taints=(Taint("node.kubernetes.io/not-ready", "NoExecute"),)),
        NodeObject(taints=(Taint("node.kubernetes.io/disk-pressure", "NoSchedule"),)),
        NodeObject(taints=(Taint("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"),)),
    ],
)
async def test_a_node_that_stays_is_left_at_once_with_one_question(node: NodeObject) -> None:
    cluster = Cluster(node, "a")
    assert await cluster.wait() == "node n stays, so nothing is waited for"
    assert cluster.questions == ["node"]


@pytest.mark.parametrize("row", DEPARTURE_TAINTS)
@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_each_taint_of_the_table_says_that_a_node_goes_away(row, effect: str) -> None:
    assert why_leaving(NodeObject(taints=(Taint("x"), Taint(row.key, effect)))) == f"{row.meaning} (taint {row.key})"


def test_the_page_names_each_taint() -> None:
    page = (Path(__file__).parents[3] / "docs/node-life.md").read_text()
    assert [row.key for row in DEPARTURE_TAINTS if f"`{row.key}`" not in page] == []


@pytest.mark.parametrize("node", [CORDONED, NodeObject(is_being_deleted=True), None])
async def test_a_node_that_is_cordoned_deleted_or_gone_goes_away(node: NodeObject | None) -> None:
    cluster = Cluster(node)
    assert (await cluster.wait()).endswith("; no volume of csi.thecloud.io is attached to it")
    assert cluster.questions == ["node", "list"]


async def test_it_waits_until_the_last_volume_is_detached(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(CORDONED, "a", "b")
    cluster.later = ["a2", None, None, None]
    with caplog.at_level(logging.INFO):
        outcome = await cluster.wait()
    assert "2 volumes are gone after" in outcome
    assert "waiting until 2 volumes are detached: pv-a, pv-b" in caplog.text
    assert cluster.names == []


async def test_a_volume_that_came_meanwhile_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(CORDONED, "a")
    cluster.later = ["b", None, None]
    await cluster.wait()
    assert cluster.names == []
    assert cluster.questions.count("list") >= 2


async def test_many_volumes_that_stay_cost_one_question_per_look() -> None:
    cluster = Cluster(CORDONED, *(f"v{number}" for number in range(50)))
    outcome = await cluster.wait(limit_s=0.02)
    assert "after 0.02 s 50 volumes are still attached: pv-v0, pv-v1" in outcome
    assert outcome.endswith(", …")
    looks = cluster.questions.count("one")
    assert looks <= 8
    assert cluster.questions == ["node", "list", *["one"] * looks]


async def test_the_limit_bounds_the_wait() -> None:
    begun = asyncio.get_running_loop().time()
    assert "still attached" in await Cluster(CORDONED, "a").wait(limit_s=0.05)
    assert asyncio.get_running_loop().time() - begun < 5


async def test_an_api_that_is_away_for_a_moment_is_asked_again() -> None:
    cluster = Cluster(CORDONED, "a")
    cluster.trouble = [AWAY, AWAY]
    cluster.later = [None]
    assert "1 volume is gone" in await cluster.wait(patience_s=10.0)


@pytest.mark.parametrize("answers", [0, 1, 2, 5])
async def test_an_api_that_stays_away_ends_the_wait_soon(answers: int) -> None:
    cluster = Cluster(CORDONED, "a")
    cluster.away_after = answers
    with pytest.raises(CsiError, match="the API is away"):
        await cluster.wait(limit_s=3600.0)


async def test_a_refusal_is_not_asked_again() -> None:
    cluster = Cluster(CORDONED, "a")
    cluster.trouble = [REFUSED]
    with pytest.raises(CsiError, match="its role needs"):
        await cluster.wait(patience_s=3600.0)
    assert cluster.questions == ["node"]
