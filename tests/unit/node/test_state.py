"""Records: private, atomic, and never able to stop the plugin by being damaged."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from node.model import DeviceNumber
from node.shield import finish, give_up
from node.state import FolderInUseError, Phase, Publication, StagedVolume, VolumeRecords, read_boot_id
from tests.support.node_plugin import until

RECORD = StagedVolume(
    volume_id="v1",
    serial="s1",
    phase=Phase.STAGED,
    device_name="vda",
    device=DeviceNumber(252, 16),
    sequence=7,
    block=False,
    fs_type="ext4",
    staging_path="/staging",
    mount_flags=("noatime",),
    access_mode="SINGLE_NODE_WRITER",
    read_only=False,
    publications=(Publication("/pod", read_only=True, access_mode="SINGLE_NODE_WRITER"),),
)


@pytest.fixture
def records(tmp_path: Path) -> VolumeRecords:
    made = VolumeRecords(tmp_path / "state", boot_id="boot")
    made.prepare()
    return made


async def test_records_are_served_while_disks_that_hang_hold_every_other_thread(records: VolumeRecords) -> None:
    let_go = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hung = loop.run_in_executor(None, let_go.wait, 30)
    try:
        async with asyncio.timeout(10):
            await records.put(RECORD)
            assert await records.all() == (RECORD,)
    finally:
        let_go.set()
    await hung


async def test_a_record_comes_back_as_it_was_stored(records: VolumeRecords) -> None:
    await records.put(RECORD)
    assert await records.get("v1") == RECORD
    assert await records.all() == (RECORD,)
    await records.remove("v1")
    await records.remove("v1")
    assert await records.get("v1") is None


async def test_folder_and_files_are_private(records: VolumeRecords, tmp_path: Path) -> None:
    await records.put(RECORD)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    folder = tmp_path / "state/boot"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in (*folder.iterdir(), tmp_path / "state/.lock")] == [0o600] * 2


@pytest.mark.parametrize("volume_id", ["../../etc/passwd", "/etc/passwd", "a" * 128, "..", "ä/ö", "x\ny"])
async def test_an_id_cannot_choose_a_path(records: VolumeRecords, tmp_path: Path, volume_id: str) -> None:
    await records.put(replace(RECORD, volume_id=volume_id))
    assert (await records.get(volume_id)).volume_id == volume_id
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state"]
    assert len(list((tmp_path / "state/boot").glob("*.json"))) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"volume_id": "v1"}', b'{"volume_id": 5}'])
async def test_a_damaged_record_is_set_aside_and_counts_as_none(records, tmp_path: Path, content: bytes) -> None:
    await records.put(RECORD)
    await records.put(replace(RECORD, volume_id="v2"))
    file = records._path("v1")
    file.write_bytes(content)
    assert [record.volume_id for record in await records.all()] == ["v2"]
    assert await records.get("v1") is None
    assert records.set_aside_files() == (file.name + ".corrupt",)
    await records.put(RECORD)
    assert await records.get("v1") == RECORD


async def test_a_record_of_a_later_format_is_set_aside(records: VolumeRecords) -> None:
    await records.put(replace(RECORD, version=2))
    assert await records.get("v1") is None
    assert len(records.set_aside_files()) == 1


async def test_a_record_under_another_volumes_name_is_set_aside(records: VolumeRecords) -> None:
    await records.put(RECORD)
    records._path("v1").rename(records._path("v2"))
    assert await records.get("v2") is None
    assert len(records.set_aside_files()) == 1


async def test_what_an_interrupted_write_left_is_dropped_at_the_start(records: VolumeRecords) -> None:
    await records.put(RECORD)
    half = records._path("v1").with_suffix(".new")
    half.write_bytes(b"{")
    assert await records.all() == (RECORD,)
    records.prepare()
    assert not half.exists()


async def test_records_of_an_earlier_boot_are_gone_and_what_is_not_ours_stays(
    records: VolumeRecords, tmp_path: Path, caplog
) -> None:
    await records.put(RECORD)
    records._path("v2").write_bytes(b"torn by a power cut")
    records.release()
    (tmp_path / "state/of others").mkdir()
    (tmp_path / "state/of others/notes.txt").write_text("not ours")
    (tmp_path / "state/notes.txt").write_text("not ours")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/v1.json").write_text("not ours")
    (tmp_path / "state/link").symlink_to(tmp_path / "elsewhere")
    after = VolumeRecords(tmp_path / "state", boot_id="next boot")
    after.prepare()
    assert await after.all() == ()
    assert after.set_aside_files() == ()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"state/.lock", "state/notes.txt", "state/of others/notes.txt", "elsewhere/v1.json"}
    assert "of others" in caplog.text
    assert not (tmp_path / "state/boot").exists()


async def test_a_write_that_fails_keeps_the_old_record(records: VolumeRecords, monkeypatch) -> None:
    await records.put(RECORD)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(CsiError, match="No space left") as caught:
            await records.put(replace(RECORD, fs_type="xfs"))
    assert caught.value.kind is ErrorKind.INTERNAL
    assert await records.get("v1") == RECORD


async def test_an_unusable_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    records = VolumeRecords(tmp_path / "state", boot_id="boot")
    with pytest.raises(CsiError, match="--state-dir"):
        records.prepare()
    for call in (records.get("v1"), records.put(RECORD), records.remove("v1")):
        with pytest.raises(CsiError):
            await call
    assert records.set_aside_files() == ()


def test_an_unreadable_boot_identity_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CsiError, match="boot"):
        read_boot_id(tmp_path)


@given(st.text(min_size=1), st.lists(st.text(), max_size=4))
def test_any_text_survives_storage(tmp_path_factory, volume_id: str, flags: list[str]) -> None:
    records = VolumeRecords(tmp_path_factory.mktemp("state"), boot_id="boot")
    records.prepare()
    record = replace(RECORD, volume_id=volume_id.encode("utf-8", "replace").decode(), mount_flags=tuple(flags))
    try:
        "".join(flags).encode()
    except UnicodeEncodeError:
        return
    records._write(record)
    assert records._read(records._path(record.volume_id)) == record


async def test_cancel_during_a_write_waits_for_its_end(records: VolumeRecords, monkeypatch) -> None:
    loop = asyncio.get_running_loop()
    started, go_on = asyncio.Event(), asyncio.Event()
    real = os.replace

    def slow(old: Path, new: Path) -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        real(old, new)

    monkeypatch.setattr(os, "replace", slow)
    task = asyncio.create_task(records.put(RECORD))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    assert await records.get("v1") == RECORD


async def test_shielded_work_ends_before_the_cancellation_goes_on() -> None:
    gate = asyncio.Event()
    done = []

    async def work() -> None:
        await gate.wait()
        done.append(True)

    task = asyncio.create_task(finish(work(), limit_s=5.0))
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_shielded_work_that_hangs_is_given_up_at_its_limit() -> None:
    with pytest.raises(TimeoutError):
        await finish(asyncio.Event().wait(), limit_s=0.01)


async def test_shielded_work_that_fails_after_a_cancellation_is_kept_as_the_cause() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        raise CsiError(ErrorKind.INTERNAL, "broken")

    task = asyncio.create_task(finish(work(), limit_s=5.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, CsiError)


@pytest.mark.parametrize("after", [CsiError(ErrorKind.INTERNAL, "no growth today."), OSError("no growth today")])
async def test_an_undo_that_hangs_does_not_hide_what_failed(after: Exception) -> None:
    with pytest.raises(CsiError, match=r"no growth today\. Undoing it failed too: not finished") as caught:
        await give_up(asyncio.sleep(3600), after=after, what="volume", limit_s=0.01)
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_an_undo_that_fails_for_a_cancelled_call_is_logged(caplog) -> None:
    caplog.set_level(logging.ERROR)

    async def fail() -> None:
        raise OSError("busy")

    await give_up(fail(), after=asyncio.CancelledError(), what="volume v1", limit_s=1.0)
    assert "volume v1" in caplog.text
    assert "busy" in caplog.text


async def test_a_folder_has_one_owner_and_the_second_touches_nothing(records: VolumeRecords, tmp_path: Path) -> None:
    half = records._path("v1").with_suffix(".new")
    half.write_bytes(b"being written")
    second = VolumeRecords(tmp_path / "state", boot_id="boot")
    with pytest.raises(FolderInUseError, match="another tc-csi-node uses") as caught:
        second.prepare()
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert half.exists()
    records.release()
    records.release()
    second.prepare()
    assert not half.exists()
    with pytest.raises(FolderInUseError):
        records.prepare()


async def test_a_folder_is_waited_for_until_its_owner_ended(records: VolumeRecords, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    second = VolumeRecords(tmp_path / "state", boot_id="boot")
    with pytest.raises(FolderInUseError):
        await second.prepare_when_free(limit_s=0.0)
    waiting = asyncio.create_task(second.prepare_when_free(limit_s=60.0))
    await until(lambda: "waiting up to 60 s" in caplog.text)
    records.release()
    await waiting
    with pytest.raises(FolderInUseError):
        records.prepare()


def test_a_lock_ends_with_its_process_and_is_not_inherited_by_commands(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys; from node.state import VolumeRecords; records = VolumeRecords(pathlib.Path("
        "sys.argv[1]), boot_id='boot'); records.prepare(); "
        "command = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL); "
        "print(command.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "state")]
    records = VolumeRecords(tmp_path / "state", boot_id="boot")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        command = int(process.stdout.readline())
        try:
            with pytest.raises(FolderInUseError):
                records.prepare()
            process.kill()
            process.wait()
            records.prepare()
            records.release()
        finally:
            os.kill(command, signal.SIGKILL)
