"""A stage that fails or is cancelled: nothing is left behind, or the next call finishes the undoing."""

import asyncio
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.state import Phase
from tests.support.node_plugin import SIZE, VOLUME, Plugin


async def test_a_failed_restore_of_the_staging_mount_keeps_what_pods_use(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.staging())))
    plugin.host.runner.fail_next("mount", 32, "no")
    with pytest.raises(CsiError):
        await plugin.stage()
    record = await plugin.records.get(VOLUME)
    assert [p.target_path for p in record.publications] == [plugin.target()]
    await plugin.stage()
    await plugin.unpublish()
    await plugin.unstage()
    assert plugin.leaks() == []


async def test_a_failed_mount_leaves_nothing(plugin: Plugin) -> None:
    plugin.plug()
    plugin.host.runner.fail_next("mount", 32, "bad superblock", midway=True)
    with pytest.raises(CsiError, match="bad superblock"):
        await plugin.stage()
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()
    assert len(plugin.assembly.locks) == 0


async def test_cancel_during_mount_leaves_no_mount_no_record_and_no_lock(plugin: Plugin) -> None:
    plugin.plug()
    gate = plugin.host.runner.gate("mount")
    task = asyncio.create_task(plugin.stage())
    await gate.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert plugin.leaks() == []
    assert await plugin.records.all() == ()
    assert len(plugin.assembly.locks) == 0


async def test_an_undo_that_fails_is_done_by_the_next_stage(plugin: Plugin) -> None:
    plugin.plug(size_bytes=SIZE)
    await plugin.stage()
    await plugin.unstage()
    disk = next(iter(plugin.host.disks.values()))
    plugin.host.grow_disk(disk, 2 * SIZE)
    plugin.host.runner.fail_next("resize2fs", 1, "no growth today")
    plugin.host.busy.add(Path(plugin.staging()))
    # A final code would tell the caller that nothing is mounted.
    with pytest.raises(CsiError, match=r"no growth today.*Undoing it failed too: .*busy") as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    with pytest.raises(CsiError, match=r"earlier stage is still to be undone: .*busy") as caught:
        await plugin.stage()
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    assert (await plugin.records.get(VOLUME)).phase is Phase.STAGING
    plugin.host.busy.clear()
    await plugin.stage()
    assert (await plugin.records.get(VOLUME)).phase is Phase.STAGED
    assert len(plugin.mounted(plugin.staging())) == 1


async def test_a_device_path_that_changed_hands_is_unmounted_again(plugin: Plugin) -> None:
    wanted = plugin.plug()
    other = plugin.plug("other")
    await plugin.stage(volume_id="other", serial="other", staging=plugin.staging("other"))
    await plugin.unstage("other", plugin.staging("other"))
    await plugin.stage()
    await plugin.unstage()
    gate = plugin.host.runner.gate("mount")
    task = asyncio.create_task(plugin.stage())
    await gate.started.wait()
    plugin.host.make_node(wanted.name, other.number)
    gate.go_on.set()
    with pytest.raises(CsiError, match=str(other.number)) as caught:
        await task
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert plugin.leaks() == []


async def test_a_cancelled_stage_whose_undo_fails_stays_cancelled(plugin: Plugin) -> None:
    plugin.plug()
    gate = plugin.host.runner.gate("mount")
    task = asyncio.create_task(plugin.stage())
    await gate.started.wait()
    plugin.host.runner.fail_next("umount", 32, "target is busy")
    plugin.host.busy.add(Path(plugin.staging()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disk_that_is_checked_without_its_caller_is_not_unstaged(plugin: Plugin, monkeypatch) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.unstage()
    gate = plugin.host.runner.gate("e2fsck")
    task = asyncio.create_task(plugin.stage())
    await gate.started.wait()
    assert (await plugin.records.get(VOLUME)).phase is Phase.STAGING
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with monkeypatch.context() as patch:
        patch.setattr("node.release.RELEASE_WAIT_S", 0.01)
        with pytest.raises(CsiError, match="file system tool still works on it") as caught:
            await plugin.unstage()
    assert caught.value.kind is ErrorKind.PRECONDITION
    gate.go_on.set()
    await plugin.unstage()
    assert await plugin.records.all() == ()


async def test_a_stage_that_is_refused_leaves_no_record(plugin: Plugin) -> None:
    plugin.plug()
    with pytest.raises(CsiError):
        await plugin.stage(allocated_bytes=4096)
    assert await plugin.records.all() == ()
