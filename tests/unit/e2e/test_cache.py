"""The rules of the cache: nothing half-made is found, a change of input is seen, one maker at a time."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.cluster.cache import Artefact, Cache, digest, digest_of_files
from tests.e2e.cluster.errors import AssetError
from tests.support.cache import cache_folder

ARTEFACT = Artefact("kind", "thing", "0123")


async def _write(folder: Path) -> None:
    (folder / "content").write_text("made")


async def _refuse(folder: Path) -> None:
    raise AssertionError(f"{folder} was made again")


async def test_an_artefact_is_made_once_and_found_afterwards(tmp_path: Path) -> None:
    lines: list[str] = []
    made = await Cache(tmp_path, report=lines.append).obtain(ARTEFACT, _write)
    assert made == tmp_path / "kind" / "thing-0123"
    assert (made / "content").read_text() == "made"
    assert await Cache(tmp_path, report=lines.append).obtain(ARTEFACT, _refuse) == made
    assert [line.split()[0] for line in lines] == ["making", "made", "found"]


async def test_another_key_is_another_artefact(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = await cache.obtain(ARTEFACT, _write)
    assert await cache.obtain(Artefact("kind", "thing", "4567"), _write) != first


async def test_a_failed_build_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    async def fail(folder: Path) -> None:
        await _write(folder)
        raise AssetError("no")

    cache = Cache(tmp_path)
    with pytest.raises(AssetError, match="no"):
        await cache.obtain(ARTEFACT, fail)
    assert [path.name for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []
    assert (await cache.obtain(ARTEFACT, _write)).is_dir()


async def test_a_cancelled_build_leaves_nothing(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def hang(folder: Path) -> None:
        await _write(folder)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Cache(tmp_path).obtain(ARTEFACT, hang))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []


_KILLED_MAKER = """
import asyncio, sys
from pathlib import Path
from tests.e2e.cluster.cache import Artefact, Cache

async def hang(folder):
    (folder / "content").write_text("half")
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(Cache(Path(sys.argv[1])).obtain(Artefact("kind", "thing", "0123"), hang))
"""


async def test_a_killed_build_is_not_found_and_its_rest_goes_with_the_next_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    argv = (sys.executable, "-c", _KILLED_MAKER, str(tmp_path))
    maker = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd=root)
    assert maker.stdout is not None
    assert await maker.stdout.readline() == b"started\n"
    maker.kill()
    await maker.wait()
    left = [path for path in (tmp_path / "kind").iterdir() if path.is_dir()]
    assert len(left) == 1
    assert left[0] != tmp_path / "kind" / "thing-0123"
    made = await Cache(tmp_path).obtain(ARTEFACT, _write)
    assert (made / "content").read_text() == "made"
    assert [path for path in (tmp_path / "kind").iterdir() if path.is_dir()] == [made]


async def test_two_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    makers = 0

    async def count(folder: Path) -> None:
        nonlocal makers
        makers += 1
        await asyncio.sleep(0)
        await _write(folder)

    # Two caches, as two processes have; the lock is on the file, not in the object.
    await asyncio.gather(*(Cache(tmp_path).obtain(ARTEFACT, count) for _ in range(3)))
    assert makers == 1


async def test_the_wait_for_another_maker_has_an_end(tmp_path: Path) -> None:
    started, enough = asyncio.Event(), asyncio.Event()

    async def hold(folder: Path) -> None:
        await _write(folder)
        started.set()
        await enough.wait()

    holder = asyncio.create_task(Cache(tmp_path).obtain(ARTEFACT, hold))
    await started.wait()
    with pytest.raises(AssetError, match=r"another process has been making .*thing-0123"):
        await Cache(tmp_path, wait_s=0.0).obtain(ARTEFACT, _refuse)
    enough.set()
    await holder


async def _two_keys(folder: Path, *, proc: Path, age_s: float) -> tuple[Cache, Path]:
    """Give a cache that obtained one key, and the folder of another key that was last obtained so long ago."""
    old = await Cache(folder).obtain(Artefact("kind", "thing", "old"), _write)
    then = time.time() - age_s
    os.utime(old.with_name(".thing-old.lock"), (then, then))
    cache = Cache(folder, proc=proc)
    await cache.obtain(ARTEFACT, _write)
    return cache, old


async def test_prune_removes_other_keys_that_nobody_used_for_long_and_nothing_else(tmp_path: Path) -> None:
    other = await Cache(tmp_path).obtain(Artefact("another", "thing", "old"), _write)
    cache, old = await _two_keys(tmp_path, proc=tmp_path / "proc", age_s=100)
    assert await cache.prune(unused_s=200) == []
    assert await cache.prune(unused_s=50) == [old]
    assert not old.exists()
    assert cache.path(ARTEFACT).is_dir()
    assert other.is_dir()


async def test_to_find_an_artefact_is_to_use_it(tmp_path: Path) -> None:
    cache, old = await _two_keys(tmp_path, proc=tmp_path / "proc", age_s=100)
    assert await Cache(tmp_path).obtain(Artefact("kind", "thing", "old"), _refuse) == old
    assert await cache.prune(unused_s=50) == []


@pytest.mark.parametrize(
    "line",
    [
        "90 1 8:1 / {old}/point rw - ext4 /dev/x rw",
        "90 1 0:5 / /machine rw - overlay ov rw,lowerdir={old}/root,upperdir=/up,workdir=/work",
        "90 1 0:5 / /machine rw - overlay ov rw,lowerdir=/a:{old},upperdir=/up,workdir=/work",
    ],
)
async def test_what_another_process_has_mounted_is_not_removed(tmp_path: Path, line: str) -> None:
    table = tmp_path / "proc" / "123" / "mountinfo"
    table.parent.mkdir(parents=True)
    cache, old = await _two_keys(tmp_path, proc=tmp_path / "proc", age_s=100)
    table.write_text(f"22 1 0:21 / /proc rw - proc proc rw\n{line.format(old=old)}\n")
    assert await cache.prune(unused_s=50) == []
    table.write_text(line.format(old=f"{old}er") + "\n")
    assert await cache.prune(unused_s=50) == [old]


def test_a_key_tells_apart_what_only_joins_to_the_same_text() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a", "b") == digest(b"a", b"b")


def test_the_key_of_files_follows_their_names_and_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    before = digest_of_files([one, two], below=tmp_path)
    assert digest_of_files([two, one], below=tmp_path) == before
    two.write_text("3")
    assert digest_of_files([one, two], below=tmp_path) != before


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("THECLOUD_CACHE", raising=False)
    assert cache_folder() == tmp_path / "thecloud-kubernetes"
    monkeypatch.setenv("THECLOUD_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
