import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from controller import access
from controller.app import build, first_features, main, watch_features
from controller.features import ASSUMED
from controller.platform import PlatformOffer
from controller.settings import ControllerSettings
from csi.errors import CsiError, ErrorKind
from csi.metrics import Metrics
from csi.pb import csi_pb2 as pb
from csi.program import ServeAnewError
from devcloud.faults import Fault, Kind
from process.settings import read_settings
from tests.support.devcloud import RunningCloud, devcloud_app
from tests.unit.controller.rig import features_of, open_client
from thecloud.client import Client
from thecloud.settings import PlatformSettings


def settings(**environ: str) -> ControllerSettings:
    good = {
        "TC_ENDPOINT": "unix:///run/x.sock",
        "TC_PLATFORM_URL": "http://127.0.0.1:1",
        "TC_CLUSTER_ID": "c",
        "TC_API_KEY": "thecloud_secret",
    }
    return read_settings(ControllerSettings, [], good | environ)


async def test_what_the_platform_offers_is_announced(tmp_path: Path):
    async with devcloud_app(tmp_path) as cloud, open_client(cloud) as client:
        assert await first_features(PlatformOffer(client)) == await features_of(client)


async def test_a_platform_that_is_away_at_the_start_is_no_reason_to_be_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with devcloud_app(tmp_path, tier="strict") as cloud, open_client(cloud) as client:
        cloud.faults.add(Fault(Kind.UNAUTHORIZED, "GET", "/instance-types", count=3))
        with caplog.at_level(logging.WARNING):
            assert await first_features(PlatformOffer(client)) == ASSUMED
        assert "refuses the API key" in caplog.text


class ToldOffer(PlatformOffer):
    """Tells when the platform has answered at last."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.answered = asyncio.Event()

    async def features(self, *, deadline: float) -> frozenset[str]:
        found = await super().features(deadline=deadline)
        self.answered.set()
        return found


@pytest.mark.parametrize("tier", ["extended", "strict"])
async def test_what_was_announced_wrongly_is_announced_anew_as_soon_as_the_platform_answers(tmp_path: Path, tier: str):
    async with devcloud_app(tmp_path, tier=tier) as cloud, open_client(cloud) as client:
        cloud.faults.add(Fault(Kind.UNAUTHORIZED, count=6))
        offer = ToldOffer(client)
        watching = asyncio.create_task(watch_features(offer, ASSUMED, pause_s=0.001))
        await offer.answered.wait()
        if tier == "strict":
            with pytest.raises(ServeAnewError):
                await watching
        else:
            # All of it is offered, as was assumed.
            await asyncio.wait({watching}, timeout=0.05)
            assert not watching.done()
            watching.cancel()


async def test_a_platform_that_gained_an_ability_is_announced_anew(tmp_path: Path):
    async with devcloud_app(tmp_path) as cloud, open_client(cloud) as client:
        less = (await features_of(client)) - {"volume.resize"}
        with pytest.raises(ServeAnewError):
            await watch_features(PlatformOffer(client), less)


async def test_calls_and_readiness_say_what_is_wrong_while_the_platform_refuses_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with devcloud_app(tmp_path) as cloud:
        monkeypatch.setattr(access, "Client", lambda given, **options: _through(cloud, options))
        cloud.faults.add(Fault(Kind.UNAUTHORIZED, count=None))
        async with build(settings(), Metrics()) as plugin:
            assert pb.PluginCapability.Service.GROUP_CONTROLLER_SERVICE in {
                one.service.type for one in plugin.capabilities
            }
            with pytest.raises(CsiError, match="refuses the API key"):
                await plugin.ready(deadline=asyncio.get_running_loop().time() + 5)


async def test_the_plugin_is_built_ready_and_counts_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with devcloud_app(tmp_path) as cloud:
        monkeypatch.setattr(access, "Client", lambda given, **options: _through(cloud, options))
        metrics = Metrics()
        async with build(settings(), metrics) as plugin:
            assert pb.PluginCapability.Service.CONTROLLER_SERVICE in {one.service.type for one in plugin.capabilities}
            assert len(plugin.services) == 2
            await plugin.ready(deadline=asyncio.get_running_loop().time() + 5)
            cloud.faults.add(Fault(Kind.UNAUTHORIZED, "GET", "/instance-types", count=None))
            with pytest.raises(CsiError) as caught:
                await plugin.ready(deadline=asyncio.get_running_loop().time() + 5)
            assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
            assert "refuses the API key" in caught.value.message
        assert b'route="GET /capabilities"' in metrics.render()


def _through(cloud: RunningCloud, options: dict[str, Any]) -> Client:
    given = PlatformSettings(base_url=cloud.base_url, api_key=cloud.api_key)
    return Client(given, transport=cloud.transport, jitter=lambda: 0.0, **options)


async def test_a_file_without_certificates_is_named(tmp_path: Path):
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(CsiError) as caught:
        async with build(settings(TC_CA_FILE=str(file), TC_PLATFORM_URL="https://127.0.0.1:1"), Metrics()):
            pass
    assert str(file) in caught.value.message


def test_help_and_wrong_settings_end_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("TC_CLUSTER_ID", "TC_PLATFORM_URL", "TC_ENDPOINT", "TC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["--help"]) == 0
    assert main(["serve", "--help"]) == 0
    assert main(["doctor", "--help"]) == 0
    assert "--adopt-name-prefix" in capsys.readouterr().out
    assert main(["serve"]) == main([]) == 2
    assert main(["doctor", "--node", "a"]) == 2
    assert "--cluster-id is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["serve", "--endpoint", "tcp://127.0.0.1:0", "--http-endpoint", "off"], ["doctor"]]
)
def test_a_key_that_is_none_is_a_wrong_setting_and_not_shown(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TC_API_KEY", "thecloud two-words")
    assert main([*command, "--platform-url", "http://127.0.0.1:1", "--cluster-id", "c"]) == 2
    said = capsys.readouterr().err
    assert "TC_API_KEY does not hold a key" in said
    assert "two-words" not in said


def test_the_doctor_tells_a_file_without_certificates_as_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TC_API_KEY", "thecloud_secret")
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    argv = ["--platform-url", "https://127.0.0.1:1", "--cluster-id", "c", "--ca-file", str(file)]
    assert main(["doctor", *argv]) == 1
    said = capsys.readouterr().out
    assert f"--ca-file {file}" in said


def test_the_doctor_ends_with_1_when_something_is_bad(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TC_API_KEY", "thecloud_secret")
    argv = ["--platform-url", "http://127.0.0.1:1", "--cluster-id", "c", "--output", "json", "--limit-s", "2"]
    assert main(["doctor", *argv]) == 1
    report = capsys.readouterr().out
    assert json.loads(report)["ok"] is False
    assert "thecloud_secret" not in report
