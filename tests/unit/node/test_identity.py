"""Which instance this host is: the surest source first, a foreign platform refused by name."""

import asyncio
import json
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.identity import NodeIdentities
from node.kube.nodes import UNINITIALIZED_TAINT, NodeObject, Taint

UUID = "4f8b1c9e-5a3d-4c6f-9b0a-1d2e3f405162"
OTHER = "11111111-2222-4333-8444-555555555555"


class Nodes:
    """The cluster's Node objects."""

    def __init__(
        self, provider_id: str = "", zone: str = "", error: CsiError | None = None, *, tainted: bool = False
    ) -> None:
        self.node = NodeObject(provider_id, zone, (Taint(UNINITIALIZED_TAINT),) if tainted else ())
        self.error = error
        self.asked: list[str] = []

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return self.node


async def resolve(**sources):
    identities = NodeIdentities(**{"host_name": lambda: "host-1", **sources})
    return await identities.resolve(deadline=asyncio.get_running_loop().time() + 5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    return tmp_path


def write_cloud_init(root: Path, **facts) -> None:
    (root / "run/cloud-init/instance-data.json").write_text(json.dumps({"v1": facts}))


def write_dmi(root: Path, uuid: str) -> None:
    (root / "sys/class/dmi/id/product_uuid").write_text(uuid + "\n")


async def test_a_setting_outrules_every_other_source(root: Path) -> None:
    nodes = Nodes(f"thecloud://{UUID}", "z-label")
    found = await resolve(node_id="me", zone="z1", node_name="n1", nodes=nodes, root=root)
    assert (found.node_id, found.node_id_source, found.zone, found.zone_source) == ("me", "setting", "z1", "setting")
    assert nodes.asked == []


async def test_the_provider_id_names_the_instance(root: Path) -> None:
    write_cloud_init(root, instance_id=OTHER)
    nodes = Nodes(f"thecloud://{UUID.upper()}", "z-label")
    found = await resolve(node_name="n1", nodes=nodes, root=root)
    assert (found.node_id, found.node_id_source) == (UUID, "Node.spec.providerID")
    assert (found.zone, found.zone_source) == ("z-label", "Node label")


@pytest.mark.parametrize(
    "provider_id", ["aws:///eu-1/i-123", "thecloud://", "thecloud://web-1", f"thecloud:/{UUID}", UUID]
)
async def test_a_foreign_provider_id_is_an_error_that_names_it(root: Path, provider_id: str) -> None:
    with pytest.raises(CsiError, match="thecloud://<instance UUID>") as caught:
        await resolve(node_name="n1", nodes=Nodes(provider_id), root=root)
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert provider_id in caught.value.message


@pytest.mark.parametrize("kind", [ErrorKind.TIMEOUT, ErrorKind.UNKNOWN_OUTCOME])
async def test_an_api_that_is_away_is_waited_for_and_not_answered_for(root: Path, kind: ErrorKind) -> None:
    write_cloud_init(root, instance_id=UUID)
    nodes = Nodes(f"thecloud://{UUID}", "z-label", CsiError(kind, "the API is away"))
    identities = NodeIdentities(node_name="n1", nodes=nodes, root=root)
    deadline = asyncio.get_running_loop().time() + 5
    for ask in (identities.resolve, identities.check):
        with pytest.raises(CsiError, match=r"the API is away.*Ask again") as caught:
            await ask(deadline=deadline)
        assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    nodes.error = None
    assert (await identities.resolve(deadline=deadline)).zone == "z-label"


async def test_an_api_that_is_away_is_no_matter_where_settings_tell_all(root: Path) -> None:
    nodes = Nodes(error=CsiError(ErrorKind.UNKNOWN_OUTCOME, "away"))
    assert (await resolve(node_id="me", zone="z1", node_name="n1", nodes=nodes, root=root)).node_id == "me"
    with pytest.raises(CsiError):
        await resolve(node_id="me", node_name="n1", nodes=nodes, root=root)


async def test_an_api_that_refuses_does_not_stop_the_node(root: Path) -> None:
    write_cloud_init(root, instance_id=UUID, availability_zone="z-init")
    nodes = Nodes(error=CsiError(ErrorKind.PRECONDITION, "refused"))
    found = await resolve(node_name="n1", nodes=nodes, root=root)
    assert (found.node_id, found.node_id_source) == (UUID, "cloud-init")
    assert (found.zone, found.zone_source) == ("z-init", "cloud-init")


async def test_a_node_that_is_not_initialised_has_no_identity_yet(root: Path) -> None:
    nodes = Nodes(tainted=True)
    identities = NodeIdentities(node_name="n1", nodes=nodes, root=root)
    deadline = asyncio.get_running_loop().time() + 5
    with pytest.raises(CsiError, match="cloud controller manager has not set") as caught:
        await identities.resolve(deadline=deadline)
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    nodes.node = NodeObject(f"thecloud://{UUID}", "z1")
    found = await identities.resolve(deadline=deadline)
    assert (found.node_id, found.zone) == (UUID, "z1")


async def test_an_answer_without_a_zone_is_asked_again_but_not_by_probes(root: Path) -> None:
    nodes = Nodes(f"thecloud://{UUID}")
    identities = NodeIdentities(node_name="n1", nodes=nodes, root=root, zone_pause_s=0.0)
    deadline = asyncio.get_running_loop().time() + 5
    assert (await identities.resolve(deadline=deadline)).zone == ""
    await identities.check(deadline=deadline)
    assert nodes.asked == ["n1"]
    nodes.node = NodeObject(f"thecloud://{UUID}", "z1")
    assert [(await identities.resolve(deadline=deadline)).zone for _ in range(2)] == ["z1", "z1"]
    assert nodes.asked == ["n1", "n1"]


async def test_a_kubelet_that_asks_often_does_not_make_the_cluster_answer_each_time(root: Path) -> None:
    nodes = Nodes(f"thecloud://{UUID}")
    identities = NodeIdentities(node_name="n1", nodes=nodes, root=root)
    deadline = asyncio.get_running_loop().time() + 5
    for _ in range(20):
        assert (await identities.resolve(deadline=deadline)).node_id == UUID
    assert nodes.asked == ["n1"]


@pytest.mark.parametrize("instance_id", ["i-0abc", "iid-local01", "", 5, None])
async def test_an_instance_id_that_is_no_uuid_is_another_platforms(root: Path, instance_id) -> None:
    write_cloud_init(root, instance_id=instance_id, availability_zone=instance_id)
    found = await resolve(root=root)
    assert (found.node_id, found.node_id_source) == ("host-1", "host name")


@pytest.mark.parametrize("content", ["", "[]", '{"v1": []}', "\x00"])
async def test_damaged_instance_data_is_no_source(root: Path, content: str) -> None:
    (root / "run/cloud-init/instance-data.json").write_text(content)
    assert (await resolve(root=root)).node_id == "host-1"


async def test_the_firmware_is_believed_only_where_it_is_said_to_be_right(root: Path) -> None:
    write_dmi(root, UUID.upper())
    assert (await resolve(root=root)).node_id == "host-1"
    found = await resolve(root=root, use_dmi=True)
    assert (found.node_id, found.node_id_source) == (UUID, "DMI product UUID")


@pytest.mark.parametrize(
    "uuid", ["03000200-0400-0500-0006-000700080009", "Not Settable", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
async def test_a_placeholder_of_the_firmware_is_no_source(root: Path, uuid: str) -> None:
    write_dmi(root, uuid)
    assert (await resolve(root=root, use_dmi=True)).node_id == "host-1"


async def test_the_node_name_comes_before_the_containers_host_name(root: Path) -> None:
    found = await resolve(root=root, node_name="worker-1")
    assert (found.node_id, found.node_id_source, found.zone) == ("worker-1", "Node name", "")


@pytest.mark.parametrize("name", ["", "localhost", "x" * 300])
async def test_a_name_that_tells_nothing_is_an_error(root: Path, name: str) -> None:
    with pytest.raises(CsiError, match="--node-id") as caught:
        await resolve(root=root, host_name=lambda: name)
    assert caught.value.kind is ErrorKind.PRECONDITION


@pytest.mark.parametrize("zone", ["-z", "a b", "x" * 64, "zone/1"])
async def test_a_zone_that_kubernetes_would_refuse_is_ignored(root: Path, zone: str) -> None:
    assert (await resolve(root=root, node_name="n", nodes=Nodes("", zone))).zone == ""


async def test_many_callers_ask_once_and_a_failure_is_asked_again() -> None:
    nodes = Nodes(f"thecloud://{UUID}", "z1")
    identities = NodeIdentities(node_name="n1", nodes=nodes)
    deadline = asyncio.get_running_loop().time() + 5
    found = await asyncio.gather(*(identities.resolve(deadline=deadline) for _ in range(20)))
    assert len(set(found)) == 1
    assert nodes.asked == ["n1"]
    foreign = Nodes("aws:///i-1")
    failing = NodeIdentities(node_name="n1", nodes=foreign)
    for _ in range(2):
        with pytest.raises(CsiError):
            await failing.resolve(deadline=deadline)
    assert foreign.asked == ["n1", "n1"]
