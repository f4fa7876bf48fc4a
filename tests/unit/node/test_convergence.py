"""A death between any two side effects: repeating the call converges, and nothing is formatted twice."""
# ruff: noqa: ASYNC240 - a few files of a temporary folder

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from node.model import MIB
from tests.support.node_plugin import CrashError, Plugin

SMALL = 64 * MIB
EXPECTED = {ErrorKind.PRECONDITION, ErrorKind.ALREADY_EXISTS, ErrorKind.UNKNOWN_OUTCOME}
VOLUMES = {"v1": "serial-1", "v2": "serial-2"}


async def life(plugin: Plugin, way: dict, done: Counter) -> None:
    """What the kubelet does with one volume; `done` counts calls that ended well."""
    await plugin.stage(size_bytes=SMALL, **way)
    done["stage"] += 1
    await plugin.publish(**way)
    done["publish"] += 1
    await plugin.unpublish()
    done["unpublish"] += 1
    await plugin.unstage()
    done["unstage"] += 1


def formats(plugin: Plugin) -> int:
    return len([line for line in plugin.host.commands("mkfs") if "-V" not in line])


@pytest.mark.parametrize("way", [{}, {"block": True}, {"readonly": True}], ids=["mount", "block", "read-only publish"])
@pytest.mark.parametrize("cut", ["killed", "power cut"])
async def test_a_crash_at_every_side_effect_converges(tmp_path: Path, way: dict, cut: str) -> None:
    reached = 0
    for count in itertools.count(1):
        folder = tmp_path / str(count)
        folder.mkdir()
        plugin = Plugin(folder)
        await plugin.start()
        disk = plugin.plug(size_bytes=SMALL)
        done: Counter = Counter()
        plugin.kill_at(count)
        try:
            await life(plugin, way, done)
        except CrashError:
            reached = count
        else:
            break
        if cut == "power cut":
            plugin.reboot()
        await plugin.start()
        before = formats(plugin)
        await life(plugin, way, Counter())
        assert plugin.leaks() == []
        assert await plugin.records.all() == ()
        assert not Path(plugin.target()).exists()
        assert not disk.read_only
        if done["stage"]:
            assert formats(plugin) == before
    assert reached > 5


class Model:
    """Runs steps on a plugin and checks after each what has to hold."""

    def __init__(self, folder: Path) -> None:
        self.plugin = Plugin(folder)
        self.formatted_for_good: dict[str, int] = {}

    async def start(self) -> None:
        await self.plugin.start()
        for serial in VOLUMES.values():
            self.plugin.plug(serial, size_bytes=SMALL)

    async def step(self, name: str, volume: str, pod: str, way: dict) -> None:
        try:
            await getattr(self, name)(volume, pod, way)
        except CsiError as error:
            assert error.kind in EXPECTED, error.message  # noqa: PT017 - success is fine too
        except CrashError:
            await self.plugin.start()
        self.check()

    async def stage(self, volume: str, pod: str, way: dict) -> None:
        await self.plugin.stage(
            volume_id=volume,
            serial=VOLUMES[volume],
            staging=self.plugin.staging(volume),
            size_bytes=SMALL,
            block=way["block"],
        )
        if not way["block"]:
            assert self.disk_at(self.plugin.staging(volume)) == VOLUMES[volume]
            self.formatted_for_good.setdefault(volume, self.formats_of(volume))

    async def publish(self, volume: str, pod: str, way: dict) -> None:
        target = self.plugin.target(f"{volume}-{pod}")
        await self.plugin.publish(volume_id=volume, staging=self.plugin.staging(volume), target=target, **way)
        number = self.plugin.host.kernel.node_number(Path(target)) if way["block"] else None
        seen = self.serial_of(number) if way["block"] else self.disk_at(target)
        assert seen == VOLUMES[volume]
        if way["readonly"] and not way["block"]:
            assert self.plugin.host.top_mount(Path(target)).read_only

    async def unpublish(self, volume: str, pod: str, way: dict) -> None:
        target = self.plugin.target(f"{volume}-{pod}")
        await self.plugin.unpublish(volume, target)
        assert self.plugin.mounted(target) == []
        assert not Path(target).exists()

    async def unstage(self, volume: str, pod: str, way: dict) -> None:
        await self.plugin.unstage(volume, self.plugin.staging(volume))
        assert self.plugin.mounted(self.plugin.staging(volume)) == []
        assert not any(self.disk_of(entry) == VOLUMES[volume] for entry in self.plugin.host.mounts)

    async def restart(self, volume: str, pod: str, way: dict) -> None:
        await self.plugin.start()

    async def reboot(self, volume: str, pod: str, way: dict) -> None:
        self.plugin.reboot()
        await self.plugin.start()

    async def kill_soon(self, volume: str, pod: str, way: dict) -> None:
        self.plugin.kill_at(way["count"])

    def check(self) -> None:
        counts = Counter(str(entry.mount_point) for entry in self.plugin.host.mounts)
        assert max(counts.values()) == 1, counts
        for volume, count in self.formatted_for_good.items():
            assert self.formats_of(volume) == count

    async def finish(self) -> None:
        """Whatever happened: taking everything down leaves nothing."""
        await self.plugin.start()
        for volume in VOLUMES:
            for pod in ("a", "b"):
                await self.plugin.unpublish(volume, self.plugin.target(f"{volume}-{pod}"))
            await self.plugin.unstage(volume, self.plugin.staging(volume))
        assert self.plugin.leaks() == []
        assert await self.plugin.records.all() == ()
        assert len(self.plugin.assembly.locks) == 0

    def formats_of(self, volume: str) -> int:
        name = next(disk.name for disk in self.plugin.host.disks.values() if disk.serial == VOLUMES[volume])
        node = str(self.plugin.host.dev_root / name)
        return len([line for line in self.plugin.host.commands("mkfs") if node in line.split()])

    def disk_at(self, path: str) -> str:
        entry = self.plugin.host.top_mount(Path(path))
        return "" if entry is None else self.disk_of(entry)

    def disk_of(self, entry) -> str:
        disk = self.plugin.host.disk_of(entry)
        return disk.serial if disk else ""

    def serial_of(self, number) -> str:
        return next((disk.serial for disk in self.plugin.host.disks.values() if disk.number == number), "")


STEPS = st.tuples(
    st.sampled_from(["stage", "stage", "publish", "publish", "unpublish", "unstage", "restart", "reboot", "kill_soon"]),
    st.sampled_from(sorted(VOLUMES)),
    st.sampled_from(["a", "b"]),
    st.fixed_dictionaries({"block": st.just(False), "readonly": st.booleans()})
    | st.fixed_dictionaries({"block": st.booleans(), "readonly": st.booleans()}),
    st.integers(1, 25),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=3, max_size=14))
def test_any_sequence_of_calls_crashes_and_restarts_converges(tmp_path_factory, steps) -> None:
    async def run() -> None:
        model = Model(tmp_path_factory.mktemp("node"))
        await model.start()
        for name, volume, pod, way, count in steps:
            if name == "kill_soon":
                model.plugin.kill_at(count)
            else:
                await model.step(name, volume, pod, way)
        await model.finish()

    asyncio.run(run())
