"""The command line: what it refuses, and what reset takes away."""

import asyncio
from pathlib import Path

import pytest

from devcloud.command import UsageError, parse_listen, read_settings, run
from devcloud.command import _parser as parser
from devcloud.settings import HostInstance, ImageFolder, Tier
from tests.support.devcloud import devcloud_app, devcloud_server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("127.9.9.9:1", ("127.9.9.9", 1)),
    ],
)
def test_loopback_is_allowed(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text, allow_remote=False) == expected


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"])
def test_other_addresses_need_a_word(text: str) -> None:
    with pytest.raises(UsageError, match="--allow-remote"):
        parse_listen(text, allow_remote=False)
    assert parse_listen(text, allow_remote=True)[1] in {80, 8080}


@pytest.mark.parametrize("text", ["8080", "host:80", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x"])
def test_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_listen(text, allow_remote=True)


def test_settings_of_a_command_line(tmp_path: Path) -> None:
    words = ["serve", "--tier", "strict", "--data-dir", str(tmp_path), "--zone", "a", "--zone", "b", "--no-fsync"]
    hosts = ["--host-instance", "n1", "--host-instance", "n2=b", "--rate-limit", "0", "--quota-vcpus", "99"]

    settings = read_settings(parser().parse_args([*words, *hosts]))

    assert (settings.tier, settings.zones, settings.durable) == (Tier.STRICT, ("a", "b"), False)
    assert settings.host_instances == (HostInstance("n1"), HostInstance("n2", "b"))
    assert (settings.quota.vcpus, settings.rate_limit_rps) == (99, 0.0)


def test_settings_of_machines(tmp_path: Path) -> None:
    words = ["serve", "--backend", "nspawn", "--data-dir", str(tmp_path), "--machine-image", f"debian={tmp_path}"]
    networks = ["--network", "10.77.0.0/24", "--pod-network", "192.168.0.0/16", "--boot-timeout", "9"]

    settings = read_settings(parser().parse_args([*words, *networks]))

    assert settings.machine_images == (ImageFolder("debian", tmp_path),)
    assert (str(settings.network), str(settings.pod_network)) == ("10.77.0.0/24", "192.168.0.0/16")
    assert (settings.boot_timeout_s, settings.stop_timeout_s) == (9.0, 30.0)
    assert settings.has_image("debian")
    assert not settings.has_image("other")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--machine-image", "debian"), "NAME=FOLDER"),
        (("--machine-image", "debian=/no/such/folder"), "NAME=FOLDER"),
        (("--network", "10.77.0.1/24"), "--network"),
        (("--network", "nowhere"), "--network"),
        (("--network", "10.77.0.0/30"), "no room"),
        (("--network", "10.77.0.0/24", "--pod-network", "192.168.0.0/24"), "--pod-network"),
        (("--network", "10.77.0.0/24", "--lb-addresses", "10.77.0.0/25"), "--lb-addresses"),
        (("--network", "10.77.0.0/24", "--lb-addresses", "10.0.0.0/8"), "--lb-addresses"),
        (("--lb-addresses", "somewhere"), "--lb-addresses"),
    ],
)
def test_machines_that_cannot_be_are_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_settings(parser().parse_args(["serve", "--data-dir", str(tmp_path), *words]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--machine-image NAME=FOLDER"),
        (("--host-instance", "node-a"), "is for the back end `host`"),
    ],
)
def test_machines_need_images_and_are_not_this_host(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("devcloud.command._LOOP_CONTROL", tmp_path)

    serve = ["serve", "--backend", "nspawn", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"]
    assert run([*serve, *words]) == 1
    assert said in capsys.readouterr().err


def test_folder_with_machines_is_served_with_machines_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nspawn/machines/id-1").mkdir(parents=True)

    assert run(["serve", "--backend", "none", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"]) == 1
    assert "has machines; serve it with --backend nspawn" in capsys.readouterr().err


def test_entering_no_machine_is_told_apart_from_a_command_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["enter", "--data-dir", str(tmp_path), "web", "--", "true"]) == 255
    assert "instance web" in capsys.readouterr().err


def test_unknown_zone_of_an_instance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--host-instance"):
        read_settings(parser().parse_args(["serve", "--data-dir", str(tmp_path), "--host-instance", "n1=x"]))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith("devcloud ")


def test_host_back_end_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert run(["serve", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"]) == 1
    assert "--backend none" in capsys.readouterr().err


async def test_reset_takes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with devcloud_app(data_dir) as inside, inside.client() as client:
        volume = (await client.post("/volumes", json={"name": "vol-one", "size_gb": 1})).json()["data"]
        await client.post("/snapshots", json={"volume_id": volume["id"]})
    (data_dir / "disks" / "notes.txt").write_text("mine")

    assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
    assert sorted(path.relative_to(data_dir).as_posix() for path in data_dir.rglob("*")) == ["disks", "disks/notes.txt"]

    (data_dir / "disks" / "notes.txt").unlink()
    assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
    assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
    assert not data_dir.exists()


async def test_two_platforms_never_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with devcloud_app(tmp_path):
        assert await asyncio.to_thread(run, ["reset", "--data-dir", str(tmp_path)]) == 1
        assert "another devcloud works on" in capsys.readouterr().err
        assert (tmp_path / "state.db").exists()


async def test_process_tells_where_the_key_is_and_never_the_key(tmp_path: Path) -> None:
    async with devcloud_server(tmp_path, subprocess=True) as served, served.client() as client:
        assert served.process is not None
        assert served.process.stdout is not None
        line = (await served.process.stdout.readline()).decode()
        assert (await client.get("/capabilities")).status_code == 200
        served.process.terminate()
        rest = (await served.process.stdout.read()).decode()

        assert await served.process.wait() == 0
        assert str(tmp_path / "api-key") in line
        assert served.api_key not in line + rest
