"""What is read from Nodes, CSINodes and VolumeAttachments, and the one change that is made."""

import asyncio
import json

import pytest

from csi.errors import CsiError, ErrorKind
from node.kube.api import KubeApi
from node.kube.attachments import Attachment, KubeAttachments
from node.kube.csi_nodes import KubeCsiNodes
from node.kube.nodes import KubeNodes, NodeObject, Taint
from tests.support.fake_kube import ATTACHMENTS, CSI_NODES, DRIVER, NODES, FakeKube

OURS = "csi.thecloud.io/agent-not-ready"
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-21T12:00:00Z"}
MINE = {"key": OURS, "effect": "NoSchedule"}
ALSO_MINE = {"key": OURS, "effect": "NoExecute", "value": "x"}
THEIRS = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


async def test_provider_id_and_zone_are_read(kube: FakeKube, api: KubeApi) -> None:
    kube.put_node("worker 1/x", providerID="thecloud://x", labels={"topology.kubernetes.io/zone": "z1"})
    node = await KubeNodes(api).get("worker 1/x", deadline=soon())
    assert (node.provider_id, node.zone) == ("thecloud://x", "z1")
    assert kube.asked == [("GET", f"{NODES}/worker%201%2Fx")]


@pytest.mark.parametrize("node", [{}, {"spec": None}, {"spec": {"providerID": 5}, "metadata": {"labels": []}}])
async def test_a_node_that_says_nothing_gives_empty_texts(kube: FakeKube, api: KubeApi, node) -> None:
    kube.fail(f"GET {NODES}", 200, json.dumps(node).encode())
    assert await KubeNodes(api).get("n", deadline=soon()) == NodeObject()


async def test_a_node_that_the_cloud_controller_has_not_initialised_is_told_apart(kube: FakeKube, api: KubeApi) -> None:
    taint = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}
    for taints, expected in (([{"key": "other"}, taint], True), ([{"key": "other"}, None, 5], False)):
        kube.put_node("n", *taints)
        assert (await KubeNodes(api).get("n", deadline=soon())).is_uninitialized is expected


async def test_what_says_that_a_node_is_going_away_is_read(kube: FakeKube, api: KubeApi) -> None:
    kube.put_node("n", THEIRS, MINE, unschedulable=True)
    node = await KubeNodes(api).get("n", deadline=soon())
    assert node.taints == (Taint("dedicated", "NoSchedule"), Taint(OURS, "NoSchedule"))
    assert node.is_unschedulable
    assert not node.is_being_deleted
    kube.objects[NODES]["n"]["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    assert (await KubeNodes(api).get("n", deadline=soon())).is_being_deleted


async def test_a_node_that_is_missing_is_named(kube: FakeKube, api: KubeApi) -> None:
    assert await KubeNodes(api).find("n", deadline=soon()) is None
    for ask in (
        KubeNodes(api).get("n", deadline=soon()),
        KubeNodes(api).remove_taint("n", NodeObject(taints=(Taint(OURS),)), OURS, deadline=soon()),
    ):
        with pytest.raises(CsiError, match=r"no node 'n'; check --node-name") as caught:
            await ask
        assert caught.value.kind is ErrorKind.PRECONDITION


@pytest.mark.parametrize(
    "taints", [[MINE], [THEIRS, MINE, UNREACHABLE], [ALSO_MINE, UNREACHABLE, MINE], [MINE, ALSO_MINE, MINE]]
)
async def test_every_taint_of_the_key_goes_and_no_other_one_changes(kube: FakeKube, api: KubeApi, taints) -> None:
    kube.put_node("n", *taints)
    nodes = KubeNodes(api)
    node = await nodes.get("n", deadline=soon())
    assert await nodes.remove_taint("n", node, OURS, deadline=soon())
    assert kube.taints("n") == [taint for taint in taints if taint["key"] != OURS]


async def test_a_node_without_the_taint_is_not_written(kube: FakeKube, api: KubeApi) -> None:
    kube.put_node("n", THEIRS)
    nodes = KubeNodes(api)
    assert await nodes.remove_taint("n", await nodes.get("n", deadline=soon()), OURS, deadline=soon())
    assert kube.count("PATCH") == 0


@pytest.mark.parametrize(
    "now", [[UNREACHABLE, THEIRS, MINE], [MINE], [THEIRS], [], [UNREACHABLE, MINE, THEIRS, ALSO_MINE]]
)
async def test_taints_that_somebody_changed_meanwhile_are_not_overwritten(kube: FakeKube, api: KubeApi, now) -> None:
    kube.put_node("n", THEIRS, MINE, ALSO_MINE)
    nodes = KubeNodes(api)
    node = await nodes.get("n", deadline=soon())
    kube.put_node("n", *now)
    assert await nodes.remove_taint("n", node, OURS, deadline=soon()) is False
    assert kube.taints("n") == now


async def test_taints_that_others_add_behind_ours_survive_its_removal(kube: FakeKube, api: KubeApi) -> None:
    kube.put_node("n", MINE)
    nodes = KubeNodes(api)
    node = await nodes.get("n", deadline=soon())
    kube.put_node("n", MINE, UNREACHABLE)
    assert await nodes.remove_taint("n", node, OURS, deadline=soon())
    assert kube.taints("n") == [UNREACHABLE]


async def test_the_scheduler_knows_a_count_only_where_csinode_has_one(kube: FakeKube, api: KubeApi) -> None:
    csi_nodes = KubeCsiNodes(api)
    assert await csi_nodes.allocatable("n", DRIVER, deadline=soon()) is None
    kube.put_csi_node("n", driver="third.csi")
    assert await csi_nodes.allocatable("n", DRIVER, deadline=soon()) is None
    kube.put_csi_node("n", count=None)
    assert await csi_nodes.allocatable("n", DRIVER, deadline=soon()) is None
    kube.put_csi_node("n", count=7)
    assert await csi_nodes.allocatable("n", DRIVER, deadline=soon()) == 7
    kube.objects[CSI_NODES]["n"] = {"spec": {"drivers": None}}
    assert await csi_nodes.allocatable("n", DRIVER, deadline=soon()) is None


async def test_only_attachments_of_this_driver_and_node_are_listed(kube: FakeKube, api: KubeApi) -> None:
    kube.put_attachment("csi-1", "n", volume="pv-a")
    kube.put_attachment("csi-2", "other")
    kube.put_attachment("csi-3", "n", driver="other.csi")
    attachments = KubeAttachments(api)
    assert await attachments.of_node("n", DRIVER, deadline=soon()) == (Attachment("csi-1", "pv-a"),)
    assert await attachments.exists("csi-1", deadline=soon())
    kube.drop(ATTACHMENTS, "csi-1")
    assert not await attachments.exists("csi-1", deadline=soon())
    assert await attachments.of_node("n", DRIVER, deadline=soon()) == ()
