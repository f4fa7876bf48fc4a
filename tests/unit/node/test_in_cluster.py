"""The whole node plugin between a kubelet and a Kubernetes API: births, restarts, and a zone that comes late."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import csi.program
import csi.registrar
from csi.endpoint import UnixEndpoint
from csi.program import serve
from node import app
from node.kube import api
from node.settings import NodeSettings
from process.address import TcpEndpoint
from process.life import Stop
from tests.support.fake_kube import DRIVER, NODES, FakeKube
from tests.support.kubelet import Kubelet
from tests.support.ports import free_port

UUID = "4f8b1c9e-5a3d-4c6f-9b0a-1d2e3f405162"
STARTUP = {"key": "csi.thecloud.io/agent-not-ready", "effect": "NoExecute"}
UNINITIALIZED = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule", "value": "true"}
DEDICATED = {"key": "dedicated", "effect": "NoSchedule", "value": "db"}
ZONE = {"topology.kubernetes.io/zone": "z1"}


@pytest.fixture
def cluster(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    """A cluster that this process seems to be a pod of, and in which nobody has to wait long."""
    for name, value in kube.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(app, "in_cluster", partial(api.in_cluster, account_dir=kube.account_dir))
    monkeypatch.setattr(csi.registrar, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(csi.program, "Registrar", partial(csi.registrar.Registrar, look_s=0.02))
    monkeypatch.setattr(app, "ZoneWatch", partial(app.ZoneWatch, first_pause_s=0.02))
    monkeypatch.setattr(app, "StartupTaint", partial(app.StartupTaint, first_pause_s=0.02))
    monkeypatch.setattr(app, "NodeIdentities", partial(app.NodeIdentities, zone_pause_s=0.0))
    return kube


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name leaves room for those of sockets."""
    with tempfile.TemporaryDirectory(prefix="node-") as made:
        yield Path(made)


def settings_for(folder: Path, **changes: Any) -> NodeSettings:
    return NodeSettings(
        **{
            "endpoint": UnixEndpoint(folder / "csi.sock"),
            "kubelet_endpoint": folder / "csi.sock",
            "http_endpoint": TcpEndpoint("127.0.0.1", free_port()),
            "kubelet_dir": folder / "kubelet",
            "registration_dir": folder / "registry",
            "node_name": "n",
            "grace_s": 0.5,
        }
        | changes
    )


@contextlib.asynccontextmanager
async def plugin(settings: NodeSettings) -> AsyncIterator["asyncio.Task[None]"]:
    """One life of the plugin; its end is part of every test."""
    assert settings.registration_dir is not None
    settings.registration_dir.mkdir(exist_ok=True)
    stop = Stop()
    task = asyncio.create_task(serve(settings, app.build, stop=stop))
    try:
        yield task
    finally:
        stop()
        async with asyncio.timeout(10):
            await task


async def until(claim: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110 - the cluster in small tells of nothing
            await asyncio.sleep(0.01)


async def ready(settings: NodeSettings) -> str:
    assert settings.http_endpoint is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.http_endpoint.port)
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer.partition("\r\n\r\n")[2].strip()


async def test_a_node_is_born_and_its_startup_taint_goes_last(cluster: FakeKube, folder: Path) -> None:
    settings = settings_for(folder)
    cluster.put_node("n", DEDICATED, STARTUP, UNINITIALIZED)
    async with Kubelet(folder / "registry", asks_node_info=True).running() as kubelet, plugin(settings):
        await until(lambda: kubelet.errors)
        assert "has not set its provider id and zone yet" in kubelet.errors[0]
        assert "has not set its provider id and zone yet" in await ready(settings)
        # The cloud controller manager does its work; the plugin is offered again and registered, with its zone.
        cluster.put_node("n", DEDICATED, STARTUP, providerID=f"thecloud://{UUID}", labels=ZONE)
        await until(lambda: kubelet.registrations)
        # Twice when the machine is slow and the second offer comes before the registration.
        assert set(kubelet.zones) == {"z1"}
        await asyncio.sleep(0.1)
        assert cluster.taints("n") == [DEDICATED, STARTUP]
        cluster.put_csi_node("n", count=20)
        await until(lambda: cluster.taints("n") == [DEDICATED])
        assert cluster.count("PATCH") == 1


async def test_a_kubelet_that_starts_again_and_a_plugin_that_starts_again_find_each_other(
    cluster: FakeKube, folder: Path
) -> None:
    settings = settings_for(folder)
    node = {"providerID": f"thecloud://{UUID}", "labels": ZONE}
    cluster.put_node("n", STARTUP, **node)
    cluster.put_csi_node("n")
    async with plugin(settings):
        async with Kubelet(folder / "registry", asks_node_info=True).running() as kubelet:
            await until(lambda: kubelet.registrations)
            await until(lambda: cluster.taints("n") == [])
        # The Node was deleted and its kubelet made it anew, with the taint that its configuration says.
        cluster.put_node("n", STARTUP, **node)
        async with Kubelet(folder / "registry", asks_node_info=True).running() as kubelet:
            await until(lambda: kubelet.registrations)
            await until(lambda: cluster.taints("n") == [])
    cluster.put_node("n", STARTUP, **node)
    async with Kubelet(folder / "registry", asks_node_info=True).running() as kubelet, plugin(settings):
        await until(lambda: kubelet.registrations)
        await until(lambda: cluster.taints("n") == [])


async def test_a_zone_that_is_set_late_reaches_the_kubelet(cluster: FakeKube, folder: Path) -> None:
    cluster.put_node("n", providerID=f"thecloud://{UUID}")
    async with (
        Kubelet(folder / "registry", asks_node_info=True).running() as kubelet,
        plugin(settings_for(folder)),
    ):
        await until(lambda: kubelet.zones == [""])
        cluster.put_node("n", providerID=f"thecloud://{UUID}", labels=ZONE)
        await until(lambda: kubelet.zones == ["", "z1"])


async def test_a_platform_without_zones_is_not_asked_for_one(cluster: FakeKube, folder: Path) -> None:
    cluster.put_node("n", providerID=f"thecloud://{UUID}")
    settings = settings_for(folder, plugin_capabilities=("CONTROLLER_SERVICE",), startup_taint="")
    async with Kubelet(folder / "registry", asks_node_info=True).running() as kubelet, plugin(settings):
        await until(lambda: kubelet.registrations)
        asked = len(cluster.asked)
        await asyncio.sleep(0.2)
        assert len(cluster.asked) == asked
    assert kubelet.registrations == 1


async def test_a_node_without_the_taint_costs_one_question_and_no_right_to_patch(
    cluster: FakeKube, folder: Path
) -> None:
    cluster.put_node("n", DEDICATED, providerID=f"thecloud://{UUID}", labels=ZONE)
    cluster.fail("PATCH /", 403)
    async with (
        Kubelet(folder / "registry", asks_node_info=True).running() as kubelet,
        plugin(settings_for(folder)),
    ):
        await until(lambda: kubelet.registrations)
        await until(lambda: cluster.count("GET", NODES) >= 2)
        await asyncio.sleep(0.2)
        # One for the identity, one for the taint.
        assert len(cluster.asked) == 2


async def test_the_plugin_ends_while_the_api_hangs(cluster: FakeKube, folder: Path) -> None:
    cluster.put_node("n", STARTUP, providerID=f"thecloud://{UUID}", labels=ZONE)
    cluster.put_csi_node("n", driver=DRIVER)
    hanging = asyncio.Event()
    released = threading.Event()
    loop = asyncio.get_running_loop()

    def hang(method: str, path: str) -> None:
        if method == "PATCH":
            loop.call_soon_threadsafe(hanging.set)
            released.wait(10)

    cluster.before = hang
    try:
        async with (
            Kubelet(folder / "registry", asks_node_info=True).running(),
            plugin(settings_for(folder)) as task,
        ):
            await hanging.wait()
        assert task.exception() is None
    finally:
        released.set()
