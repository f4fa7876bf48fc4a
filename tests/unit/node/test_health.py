"""Health: nothing found means healthy; each kind of damage has a status, a reason and a text."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.health import StorageProblem, VolumeProblem, all_tools
from tests.support.node_plugin import VOLUME, Plugin, until


async def findings(plugin: Plugin, path: str = ""):
    found = await plugin.parts.volume_health.look(VOLUME, published_at=path, deadline=plugin.host.soon())
    assert all(finding.reason.isalpha() and finding.reason[0].isupper() and finding.message for finding in found)
    assert len({(finding.status, finding.reason) for finding in found}) == len(found)
    return {finding.reason: finding.status for finding in found}


@pytest.fixture
async def staged(plugin: Plugin) -> Plugin:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    return plugin


def disk_of(plugin: Plugin):
    return next(iter(plugin.host.disks.values()))


async def test_a_volume_in_order_has_no_findings(staged: Plugin) -> None:
    assert await findings(staged, staged.target()) == {}


async def test_an_unknown_volume_is_not_found(plugin: Plugin) -> None:
    with pytest.raises(CsiError) as caught:
        await findings(plugin)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_a_pulled_disk(staged: Plugin) -> None:
    staged.host.unplug(disk_of(staged))
    assert await findings(staged) == {"DiskGone": VolumeProblem.INACCESSIBLE}


async def test_a_disk_that_cannot_be_read(staged: Plugin) -> None:
    disk_of(staged).unreadable_ranges.append(range(10))
    assert (await findings(staged))["DiskReadError"] is VolumeProblem.INACCESSIBLE


async def test_a_disk_that_hangs_is_looked_at_once_and_named_at_once_from_then_on(staged: Plugin, monkeypatch) -> None:
    entered, let_go = threading.Semaphore(0), threading.Event()

    def hang(disk) -> None:
        entered.release()
        let_go.wait(30)

    staged.host.kernel.on_open = hang
    monkeypatch.setattr("node.health.LOOK_LIMIT_S", 0.05)
    try:
        assert (await findings(staged))["DiskNotAnswering"] is VolumeProblem.INACCESSIBLE
        monkeypatch.setattr("node.health.LOOK_LIMIT_S", 30.0)
        assert (await findings(staged))["DiskNotAnswering"] is VolumeProblem.INACCESSIBLE
        assert await asyncio.to_thread(entered.acquire)
        assert not entered.acquire(blocking=False)
    finally:
        let_go.set()
    staged.host.kernel.on_open = None
    await until(lambda: staged.host.open_files == {})


async def test_a_disk_behind_whose_name_another_answers(staged: Plugin) -> None:
    other = staged.plug("another-serial")
    staged.host.make_node(next(iter(staged.host.disks)), other.number)
    assert (await findings(staged))["DiskReplaced"] is VolumeProblem.INACCESSIBLE


async def test_a_mount_that_answers_with_errors(staged: Plugin) -> None:
    staged.host.path_errors[Path(staged.staging())] = errno.EIO
    assert await findings(staged) == {"MountDamaged": VolumeProblem.INACCESSIBLE}


async def test_a_file_system_that_turned_read_only(staged: Plugin) -> None:
    entry = staged.host.top_mount(Path(staged.staging()))
    staged.host.replace_mount(entry, super_options=("ro",))
    assert await findings(staged) == {"FileSystemReadOnly": VolumeProblem.DEGRADED}


async def test_a_lost_staging_mount(staged: Plugin) -> None:
    staged.host.drop_mount(staged.host.top_mount(Path(staged.staging())))
    assert await findings(staged) == {"NotMounted": VolumeProblem.INACCESSIBLE}


async def test_a_lost_publication(staged: Plugin) -> None:
    staged.host.drop_mount(staged.host.top_mount(Path(staged.target())))
    assert await findings(staged) == {}
    assert await findings(staged, staged.target()) == {"NotPublished": VolumeProblem.INACCESSIBLE}


async def test_a_write_protected_disk(staged: Plugin) -> None:
    (staged.host.sys_root / "block" / disk_of(staged).name / "ro").write_text("1\n")
    assert await findings(staged) == {"DiskReadOnly": VolumeProblem.DEGRADED}


async def test_errors_that_ext4_recorded(staged: Plugin) -> None:
    folder = staged.host.sys_root / "fs/ext4" / disk_of(staged).name
    folder.mkdir(parents=True)
    (folder / "errors_count").write_text("0\n")
    assert await findings(staged) == {}
    (folder / "errors_count").write_text("3\n")
    assert await findings(staged) == {"FileSystemErrors": VolumeProblem.DEGRADED}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("corruption_errs 2", {"ChecksumErrors": VolumeProblem.DATA_LOSS}),
        ("write_errs 1", {"DiskErrors": VolumeProblem.DEGRADED}),
        ("write_errs 0", {}),
    ],
)
async def test_errors_that_btrfs_counted(plugin: Plugin, line: str, expected) -> None:
    plugin.plug()
    await plugin.stage(fs_type="btrfs")
    uuid = next((plugin.host.sys_root / "fs/btrfs").iterdir())
    stats = uuid / "devinfo/1/error_stats"
    stats.parent.mkdir(parents=True)
    stats.write_text(f"read_errs 0\n{line}\n")
    assert await findings(plugin) == expected


async def test_a_raw_volume_in_order_has_no_findings(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage(block=True)
    await plugin.publish(block=True, readonly=True)
    assert await findings(plugin, plugin.target()) == {}


async def storage(plugin: Plugin):
    return {finding.reason: finding.status for finding in await plugin.parts.storage_health.look()}


async def test_a_host_in_order_has_no_findings(plugin: Plugin) -> None:
    assert await storage(plugin) == {}


async def test_what_a_host_can_lack(plugin: Plugin) -> None:
    plugin.host.missing.add("xfs_growfs")
    plugin.hears_events = False
    plugin.plug()
    await plugin.stage()
    plugin.records._path(VOLUME).write_text("{")
    await plugin.records.get(VOLUME)
    assert await storage(plugin) == dict.fromkeys(
        ("ToolsMissing", "NoKernelEvents", "RecordsDamaged"), StorageProblem.DEGRADED
    )
    (plugin.host.sys_root / "block").rename(plugin.host.sys_root / "away")
    assert (await storage(plugin))["DisksUnreadable"] is StorageProblem.UNREACHABLE


def test_the_tools_of_every_file_system_are_known() -> None:
    assert {"blkid", "mount", "umount", "mkfs.ext4", "e2fsck", "resize2fs", "xfs_growfs", "btrfs"} <= all_tools()


async def test_tables_that_cannot_be_read_are_an_error_that_says_so(staged: Plugin) -> None:
    (staged.host.sys_root / "block").rename(staged.host.sys_root / "away")
    with pytest.raises(CsiError, match="cannot be read") as caught:
        await findings(staged)
    assert caught.value.kind is ErrorKind.INTERNAL
