"""No caller can have the plugin unmount or remove a path of the host, or one of another volume."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

from dataclasses import replace
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.model import DeviceNumber, MountEntry
from tests.support.node_plugin import VOLUME, Plugin


async def refused(call, words: str) -> None:
    with pytest.raises(CsiError, match=words) as caught:
        await call
    assert caught.value.kind is ErrorKind.PRECONDITION


def host_mount(plugin: Plugin, point: Path) -> MountEntry:
    """A mount of a disk that this driver has nothing to do with."""
    number = DeviceNumber(259, 2)
    entry = MountEntry(plugin.host.take("mount"), 1, number, "/", point, ("rw",), "vfat", "/dev/nvme9n1p1", ("rw",))
    plugin.host.add_mount(entry)
    return entry


@pytest.mark.parametrize("kind", ["folder", "file", "nothing"])
async def test_a_path_of_the_host_is_not_removed_for_a_caller(plugin: Plugin, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "empty"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    await plugin.unpublish("nope", str(path))
    assert path.exists() == (kind != "nothing")


async def test_what_looks_like_the_kubelets_folder_is_not_inside_it(plugin: Plugin, tmp_path: Path) -> None:
    kubelet = plugin.settings.kubelet_dir
    kubelet.mkdir(exist_ok=True)
    beside, outside = kubelet.with_name("kubelet-data"), tmp_path / "outside"
    (outside / "empty").mkdir(parents=True)
    beside.mkdir()
    (kubelet / "link").symlink_to(outside)
    for path in (kubelet, beside, kubelet / "link/empty"):
        await plugin.unpublish("nope", str(path))
        assert path.is_dir()


async def test_a_folder_that_a_lost_publication_left_below_the_kubelets_is_removed(plugin: Plugin) -> None:
    target = Path(plugin.target())
    target.mkdir()
    await plugin.unpublish("nope", str(target))
    assert not target.exists()


async def test_the_drivers_own_folders_are_no_targets(plugin: Plugin) -> None:
    own = plugin.settings.kubelet_dir / "plugins/csi.thecloud.io"
    paths = [own / "state", plugin.settings.state_dir / "file"]
    for path in paths:
        path.mkdir(parents=True)
        await plugin.unpublish("nope", str(path))
        assert path.is_dir()


async def test_a_mount_of_the_host_is_not_unmounted_for_a_caller(plugin: Plugin, tmp_path: Path) -> None:
    point = tmp_path.resolve() / "boot"
    point.mkdir()
    entry = host_mount(plugin, point)
    plugin.plug()
    await plugin.stage()
    for volume in ("nope", VOLUME):
        await refused(plugin.unpublish(volume, str(point)), "no record tells")
    await refused(plugin.unstage("nope", str(point)), "no record tells")
    assert plugin.host.top_mount(point) == entry


async def test_in_a_container_the_host_shows_itself_by_the_kubelets_folder(plugin: Plugin) -> None:
    """There the root is the image's, and what the host binds below the kubelet's folder has the host's disk."""
    kubelet = plugin.settings.kubelet_dir
    point = Path(plugin.target())
    point.mkdir(parents=True)
    bound = host_mount(plugin, point)
    plugin.host.add_mount(replace(bound, mount_id=plugin.host.take("mount"), mount_point=kubelet))
    await refused(plugin.unpublish("nope"), "no volume of this driver")
    assert plugin.host.top_mount(point) == bound


async def test_a_publication_outside_of_the_kubelets_folder_is_taken_away_by_its_record(
    plugin: Plugin, tmp_path: Path
) -> None:
    target = tmp_path.resolve() / "elsewhere"
    plugin.plug()
    await plugin.stage()
    await plugin.publish(target=str(target))
    await plugin.unpublish(target=str(target))
    assert plugin.mounted(str(target)) == []
    assert not target.exists()


async def test_a_bind_of_the_volumes_own_disk_is_taken_away_although_its_record_was_lost(
    plugin: Plugin, tmp_path: Path
) -> None:
    target = tmp_path.resolve() / "elsewhere"
    plugin.plug()
    await plugin.stage()
    await plugin.publish(target=str(target))
    await plugin.records.put(replace(await plugin.records.get(VOLUME), publications=()))
    await plugin.unpublish(target=str(target))
    assert not target.exists()


async def test_a_staging_path_is_never_a_target_and_a_target_never_a_staging_path(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    before = plugin.leaks()
    for volume in (VOLUME, "nope"):
        await refused(plugin.unpublish(volume, plugin.staging()), f"belongs to volume {VOLUME} as its staging path")
    await refused(plugin.unstage("nope", plugin.staging()), "as its staging path")
    await refused(plugin.unstage("nope", plugin.target()), "as its target path")
    assert plugin.leaks() == before


async def test_a_path_of_another_volume_is_known_through_links_too(plugin: Plugin, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(Path(plugin.staging()).parent)
    plugin.plug()
    await plugin.stage()
    await refused(plugin.unstage("nope", str(alias / "globalmount")), "belongs to volume")
    await refused(plugin.unpublish("nope", str(alias / "globalmount")), "belongs to volume")
    assert plugin.mounted(plugin.staging())


async def test_the_folder_of_another_volumes_publication_is_left(plugin: Plugin) -> None:
    plugin.plug()
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.target())))
    await refused(plugin.unpublish("nope"), "belongs to volume")
    assert Path(plugin.target()).is_dir()
    await plugin.unpublish()
    assert not Path(plugin.target()).exists()


async def test_an_outdated_claim_of_another_volume_keeps_no_volume_published(plugin: Plugin) -> None:
    plugin.plug()
    plugin.plug("other")
    await plugin.stage()
    await plugin.publish()
    plugin.host.drop_mount(plugin.host.top_mount(Path(plugin.target())))
    way = {"volume_id": "other", "serial": "other", "staging": plugin.staging("other")}
    await plugin.stage(**way)
    await plugin.publish(**way)
    await refused(plugin.unpublish(), "belongs to volume other")
    await plugin.unpublish("other")
    await plugin.unpublish()
    assert not Path(plugin.target()).exists()
