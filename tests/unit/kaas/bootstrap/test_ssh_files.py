"""Files by SSH, against a real OpenSSH server: whole or not at all, with their modes, and nothing left over."""

import asyncio
import secrets
import stat
from pathlib import Path

import pytest

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import RemoteFile
from tests.unit.kaas.bootstrap.ssh_rig import Rig, within
from tests.unit.kaas.bootstrap.waiting import until


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _content_and_mode(path: str) -> tuple[bytes, int]:
    return Path(path).read_bytes(), _mode(Path(path))


async def test_files_have_their_content_their_modes_and_their_parents(rig: Rig):
    folder = rig.folder / "etc" / "kubernetes"
    big = secrets.token_bytes(3_000_000)
    files = {
        str(folder / "pki" / "ca.key"): RemoteFile(b"key", 0o600),
        str(folder / "pki" / "ca.crt"): RemoteFile(b"crt", 0o644),
        str(folder / "world"): RemoteFile(b"", 0o666),
        str(folder / "big"): RemoteFile(big, 0o400),
    }
    await rig.ssh.put(rig.target, files, deadline=within(20))
    for path, file in files.items():
        assert _content_and_mode(path) == (file.content, file.mode)
    assert _mode(folder) == 0o755
    assert sorted(path.name for path in folder.iterdir()) == ["big", "pki", "world"]
    assert sorted(path.name for path in (folder / "pki").iterdir()) == ["ca.crt", "ca.key"]


async def test_a_file_that_is_there_is_replaced_whole_with_the_new_mode(rig: Rig):
    path = rig.folder / "file"
    path.write_bytes(b"a longer content of before")
    path.chmod(0o666)
    before = path.stat().st_ino
    await rig.ssh.put(rig.target, {str(path): RemoteFile(b"new")}, deadline=within(10))
    assert path.read_bytes() == b"new"
    assert _mode(path) == 0o600
    assert path.stat().st_ino != before


async def test_a_link_is_replaced_and_not_followed(rig: Rig):
    (rig.folder / "elsewhere").write_bytes(b"untouched")
    (rig.folder / "link").symlink_to(rig.folder / "elsewhere")
    await rig.ssh.put(rig.target, {str(rig.folder / "link"): RemoteFile(b"new")}, deadline=within(10))
    assert (rig.folder / "elsewhere").read_bytes() == b"untouched"
    assert not (rig.folder / "link").is_symlink()


async def test_what_cannot_be_written_names_the_path_and_leaves_nothing(rig: Rig):
    (rig.folder / "taken").mkdir()
    with pytest.raises(StepError, match="taken") as caught:
        await rig.ssh.put(rig.target, {str(rig.folder / "taken"): RemoteFile(b"SECRET")}, deadline=within(10))
    assert caught.value.code is Code.NODE_UNREACHABLE
    assert "SECRET" not in str(caught.value)
    assert sorted(path.name for path in rig.folder.iterdir()) == ["taken"]


async def test_a_cancelled_write_leaves_neither_half_a_file_nor_a_temporary_one(rig: Rig):
    path = rig.folder / "new" / "file"
    task = asyncio.create_task(rig.ssh.put(rig.target, {str(path): RemoteFile(b"x" * 50_000_000)}, deadline=within(30)))
    await until(lambda: path.parent.exists() and list(path.parent.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(path.parent.iterdir()) == []


async def test_a_write_that_is_out_of_time_says_so(rig: Rig):
    with pytest.raises(StepError) as caught:
        await rig.ssh.put(rig.target, {str(rig.folder / "file"): RemoteFile(b"x")}, deadline=within(-1))
    assert caught.value.code is Code.NODE_UNREACHABLE
    assert not (rig.folder / "file").exists()
