"""The program as it is put together: real adapters, real sockets, a start, a drain."""

import asyncio
import json
import sys
from pathlib import Path

import grpc.aio
import pytest

from csi.endpoint import UnixEndpoint
from csi.errors import CsiError
from csi.identity import PLUGIN_CAPABILITIES
from csi.metrics import Metrics
from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from csi.pb import pluginregistration_pb2 as reg
from csi.pb import pluginregistration_pb2_grpc as reg_rpc
from csi.program import serve
from node import app
from node.app import MetricsObserver, build
from node.settings import EXTENDED_PLUGIN_CAPABILITIES, NodeSettings
from process.address import TcpEndpoint
from process.life import Stop

OPTIONS = [("grpc.default_authority", "localhost")]


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    (tmp_path / "r").mkdir()
    return NodeSettings(
        endpoint=UnixEndpoint(tmp_path / "csi.sock"),
        http_endpoint=TcpEndpoint("127.0.0.1", 0),
        state_dir=tmp_path / "state",
        kubelet_dir=tmp_path,
        registration_dir=tmp_path / "r",
        node_id="node-1",
        zone="z1",
        grace_s=1.0,
    )


async def test_serves_and_ends(settings, tmp_path: Path) -> None:
    stop = Stop()
    running = asyncio.create_task(serve(settings, build, stop=stop))
    async with (
        grpc.aio.insecure_channel(f"unix:{tmp_path}/csi.sock", options=OPTIONS) as channel,
        grpc.aio.insecure_channel(f"unix:{tmp_path}/r/csi.thecloud.io-reg.sock", options=OPTIONS) as kubelet,
    ):
        info = await rpc.NodeStub(channel).NodeGetInfo(pb.NodeGetInfoRequest(), wait_for_ready=True, timeout=10)
        assert info.node_id == "node-1"
        capabilities = await rpc.IdentityStub(channel).GetPluginCapabilities(pb.GetPluginCapabilitiesRequest())
        assert list(capabilities.capabilities) == [PLUGIN_CAPABILITIES[name] for name in EXTENDED_PLUGIN_CAPABILITIES]
        assert (await rpc.IdentityStub(channel).Probe(pb.ProbeRequest())).ready.value
        known = await reg_rpc.RegistrationStub(kubelet).GetInfo(reg.InfoRequest(), wait_for_ready=True, timeout=10)
        assert (known.name, known.endpoint) == ("csi.thecloud.io", str(settings.socket_for_kubelet))
    stop()
    await running
    assert not (tmp_path / "csi.sock").exists()
    assert (tmp_path / "state").is_dir()


async def test_an_unusable_state_folder_ends_the_start(settings: NodeSettings, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(Exception, match="--state-dir"):
        await serve(settings, build, stop=Stop())


async def test_a_second_process_on_the_same_records_ends_its_start_and_undoes_nothing(
    settings: NodeSettings, monkeypatch
) -> None:
    monkeypatch.setattr(app, "HANDOVER_S", -settings.grace_s - app.ROLLBACK_S)
    async with build(settings, Metrics()):
        (boot,) = (folder for folder in settings.state_folder.iterdir() if folder.is_dir())
        leftover = boot / "record.new"
        leftover.touch()
        with pytest.raises(CsiError, match="another tc-csi-node uses"):
            await serve(settings, build, stop=Stop())
        assert leftover.exists()
        leftover.unlink()
    async with build(settings, Metrics()):
        pass


def test_figures_of_the_host_reach_the_metrics() -> None:
    metrics = Metrics()
    observer = MetricsObserver(metrics)
    observer.device_waited(0.1)
    observer.formatted("ext4", 0.2)
    observer.format_refused("foreign")
    text = metrics.render().decode()
    assert 'thecloud_csi_device_wait_seconds_count{outcome="found"} 1.0' in text
    assert 'thecloud_csi_mkfs_seconds_count{fs_type="ext4"} 1.0' in text
    assert 'thecloud_csi_format_refusals_total{reason="foreign"} 1.0' in text


async def test_the_serving_program_loads_neither_the_doctor_nor_a_client_of_the_platform() -> None:
    heavy = ["httpx", "thecloud", "node.doctor", "node.pre_stop", "rich", "starlette"]
    code = f"import json, sys, node.app; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert json.loads(output) == []
