"""Power of instances through the HTTP API, with machines that do as the test says; both tiers where both have it."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from devcloud.errors import BackendError
from devcloud.machines import End, Ended, Machine, NoMachines
from devcloud.settings import ImageFolder
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFtYWxnYW1hdGVkLXRlc3Qta2V5LTAwMDAwMDAw someone@example.org"


class ToldMachines(NoMachines):
    """Machines that come up when the test lets them, and end when it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.booted: list[Machine] = []
        self.alive: set[str] = set()
        self.known: set[str] = set()
        self.held: set[str] = set()
        self.calls: list[str] = []
        self.let_up = asyncio.Event()
        self.let_up.set()
        self.refusal: BackendError | None = None
        self.stays = False
        self.news: asyncio.Queue[Ended] = asyncio.Queue()
        self.changed = asyncio.Event()

    async def boot(self, machine: Machine) -> None:
        self.booted.append(machine)
        self.changed.set()
        self.known.add(machine.instance_id)
        self.alive.add(machine.instance_id)
        await self.let_up.wait()
        if self.refusal is not None:
            raise self.refusal

    async def halt(self, instance_id: str, *, force: bool) -> None:
        self.calls.append("kill" if force else "power off")
        if self.stays:
            raise BackendError("it does not end")
        self.alive.discard(instance_id)

    async def remove(self, instance_id: str) -> None:
        self.calls.append("remove")
        if self.stays:
            raise BackendError("it does not end")
        self.alive.discard(instance_id)
        self.known.discard(instance_id)

    async def hold(self, instance_id: str, *, held: bool) -> None:
        (self.held.add if held else self.held.discard)(instance_id)

    async def is_running(self, instance_id: str) -> bool:
        return instance_id in self.alive

    async def made(self) -> frozenset[str]:
        return frozenset(self.known)

    async def ended(self) -> AsyncIterator[Ended]:
        while True:
            yield await self.news.get()

    def end(self, instance_id: str, end: End) -> None:
        self.alive.discard(instance_id)
        self.news.put_nowait(Ended(instance_id, end, "seen by the test"))


class Told(Site):
    """A platform whose machines do as the test says."""

    machines: ToldMachines

    async def launch(self, name: str = "web", **more: Any) -> str:
        made = await self.data("POST", "/instances", json={"name": name, "image": "img", **more})
        return str(made["id"])

    async def status(self, ref: str = "web") -> str:
        return str((await self.data("GET", f"/instances/{ref}"))["status"])

    async def settle(self, wanted: str, ref: str = "web") -> None:
        """Wait until an instance has a status."""
        waiter = self.inside.cloud.hub
        async with asyncio.timeout(10):
            while await self.status(ref) != wanted:
                await waiter.subscribe().wait(0.01)


@pytest.fixture(params=["strict", "extended"])
async def told(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Told]:
    async for site in platform(tmp_path, request.param, ToldMachines()):
        yield site


@pytest.fixture
async def extended_told(tmp_path: Path) -> AsyncIterator[Told]:
    async for site in platform(tmp_path, "extended", ToldMachines()):
        yield site


async def platform(folder: Path, tier: str, machines: ToldMachines, **more: Any) -> AsyncIterator[Told]:
    images = (ImageFolder("img", folder),)
    options: dict[str, Any] = {"backend": "nspawn", "nodes": (), "machine_images": images, "machines": machines, **more}
    async with devcloud_app(folder, tier=tier, **options) as inside, inside.client() as client:
        site = Told(inside, client)
        object.__setattr__(site, "machines", machines)
        yield site


async def test_instance_starts_until_its_machine_is_up(told: Told) -> None:
    told.machines.let_up.clear()
    instance_id = await told.launch()
    assert await told.status() == "STARTING"
    told.machines.let_up.set()
    await told.settle("RUNNING")

    (machine,) = told.machines.booted
    seen = await told.data("GET", f"/instances/{instance_id}")
    assert machine.instance_id == instance_id
    assert machine.hostname == f"thecloud-{instance_id[:8]}"
    assert machine.address == seen["private_ip"].partition("/")[0]
    assert machine.memory_bytes == 1 << 30


async def test_machine_gets_what_the_launch_says(told: Told) -> None:
    key = await told.data("POST", "/ssh-keys", json={"name": "mine", "public_key": PUBLIC_KEY})
    more = {"env": ["A=1"], "cmd": ["touch /x"], "memory_limit": 4096, "ssh_key_id": key["id"]}
    await told.launch(**more)
    await told.settle("RUNNING")

    (machine,) = told.machines.booted
    assert (machine.environment, machine.commands, machine.memory_bytes) == (("A=1",), ("touch /x",), 4096)
    assert machine.authorized_keys == (PUBLIC_KEY,)


async def test_machine_that_does_not_come_up_is_an_error_with_its_reason(told: Told) -> None:
    told.machines.refusal = BackendError("no machine image 'img'")
    await told.launch()
    await told.settle("ERROR")

    (event,) = [item for item in await told.data("GET", "/events") if item["action"] == "INSTANCE_ERROR"]
    assert event["metadata"]["reason"] == "no machine image 'img'"
    assert not told.machines.alive


async def test_image_that_is_not_there_is_refused_at_launch(extended_told: Told) -> None:
    error = await extended_told.error(404, "POST", "/instances", json={"name": "web", "image": "other"})

    assert error["details"] == {"resource": "image", "id": "other"}


@pytest.mark.parametrize("wrong", ["-a", "a b", "a\nb", "a..b", "ä", "a" * 64])
async def test_host_name_is_checked(extended_told: Told, wrong: str) -> None:
    await extended_told.error(400, "POST", "/instances", json={"name": "web", "image": "img", "hostname": wrong})


async def test_network_without_room_ends_in_error(tmp_path: Path) -> None:
    async for told in platform(tmp_path, "extended", ToldMachines(), network=IPv4Network("10.0.0.0/29")):
        for name, status in (("one", "RUNNING"), ("two", "RUNNING"), ("three", "ERROR")):
            await told.launch(name)
            await told.settle(status, name)


async def test_stop_powers_off_and_waits_for_it(told: Told) -> None:
    await told.launch()
    await told.settle("RUNNING")

    for _ in range(2):
        await told.data("POST", "/instances/web/stop")

    assert (await told.status(), told.machines.calls) == ("STOPPED", ["power off"])


async def test_instance_that_does_not_stop_keeps_its_status(told: Told) -> None:
    await told.launch()
    await told.settle("RUNNING")
    told.machines.stays = True

    assert (await told.call("POST", "/instances/web/stop")).status_code == 500
    assert (await told.call("DELETE", "/instances/web")).status_code == 500
    assert await told.status() == "RUNNING"
    told.machines.stays = False


async def test_stop_and_terminate_do_not_wait_for_a_boot(told: Told) -> None:
    told.machines.let_up.clear()
    for name in ("one", "two"):
        await told.launch(name)
    await told.data("POST", "/instances/one/stop")
    await told.data("DELETE", "/instances/two")

    assert await told.status("one") == "STOPPED"
    assert not told.machines.alive


async def test_pause_holds_the_machine(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")

    await told.data("POST", "/instances/web/pause")
    assert told.machines.held == {instance_id}
    await told.data("POST", "/instances/web/resume")
    assert not told.machines.held


async def test_machine_that_powers_itself_off_is_stopped(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")
    told.machines.end(instance_id, End.POWERED_OFF)
    await told.settle("STOPPED")


async def test_machine_that_dies_is_an_error_that_the_events_tell(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")
    told.machines.end(instance_id, End.CRASHED)
    await told.settle("ERROR")

    newest = (await told.data("GET", "/events?limit=1"))[0]
    assert (newest["action"], newest["resource_id"]) == ("INSTANCE_ERROR", instance_id)
    assert newest["metadata"] == {"name": "web", "reason": "seen by the test"}


async def test_machine_that_reboots_runs_again_without_a_call(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")
    told.machines.end(instance_id, End.REBOOTED)
    async with asyncio.timeout(10):
        while len(told.machines.booted) < 2:
            told.machines.changed.clear()
            await told.machines.changed.wait()

    assert await told.status() == "RUNNING"
    assert told.machines.booted[0] == told.machines.booted[1]
    assert told.machines.alive == {instance_id}


async def test_reboot_that_fails_is_an_error(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")
    told.machines.refusal = BackendError("it does not come up")
    told.machines.end(instance_id, End.REBOOTED)
    await told.settle("ERROR")


async def test_old_news_of_a_machine_that_runs_again_changes_nothing(told: Told) -> None:
    instance_id = await told.launch()
    await told.settle("RUNNING")
    told.machines.news.put_nowait(Ended(instance_id, End.CRASHED, "an earlier run"))
    told.machines.news.put_nowait(Ended("no such instance", End.CRASHED, "an earlier life"))
    other = await told.launch("other")
    await told.settle("RUNNING", "other")
    # News comes in order: what was before this is known by then.
    told.machines.end(other, End.CRASHED)
    await told.settle("ERROR", "other")
    await told.inside.cloud.tasks.drain()

    assert await told.status() == "RUNNING"


async def test_start_brings_up_what_is_off(extended_told: Told) -> None:
    told = extended_told
    instance_id = await told.launch()
    await told.settle("RUNNING")
    await told.data("POST", "/instances/web/start")
    assert len(told.machines.booted) == 1

    for end, status in ((End.POWERED_OFF, "STOPPED"), (End.CRASHED, "ERROR")):
        told.machines.end(instance_id, end)
        await told.settle(status)
        told.machines.let_up.clear()
        await told.data("POST", "/instances/web/start")
        assert await told.status() == "STARTING"
        told.machines.let_up.set()
        await told.settle("RUNNING")

    await told.data("POST", "/instances/web/pause")
    assert (await told.call("POST", "/instances/web/start")).status_code == 409


async def test_reboot_stops_and_starts(extended_told: Told) -> None:
    told = extended_told
    await told.launch()
    await told.settle("RUNNING")

    await told.data("POST", "/instances/web/reboot")
    await told.settle("RUNNING")
    await told.data("POST", "/instances/web/reboot", json={"force": True})
    await told.settle("RUNNING")
    await told.data("POST", "/instances/web/stop", json={"force": True})

    assert told.machines.calls == ["power off", "kill", "kill"]
    assert len(told.machines.booted) == 3
    assert (await told.error(409, "POST", "/instances/web/reboot"))["type"] == "INSTANCE_NOT_RUNNING"


async def test_strict_platform_neither_starts_nor_reboots(tmp_path: Path) -> None:
    async for told in platform(tmp_path, "strict", ToldMachines()):
        await told.launch()
        await told.settle("RUNNING")
        for verb in ("start", "reboot"):
            answer = await told.call("POST", f"/instances/web/{verb}")
            assert (answer.status_code, answer.text) == (404, "404 page not found")
        # A body is not read there, so it is not refused either.
        await told.data("POST", "/instances/web/stop", content=b"rubbish")


async def test_killed_instance_is_an_error(told: Told) -> None:
    await told.launch()
    await told.settle("RUNNING")

    await told.data("POST", "/_devcloud/instances/web/kill")

    assert (await told.status(), told.machines.calls[0]) == ("ERROR", "kill")


async def test_terminate_removes_the_machine_before_its_disks(told: Told) -> None:
    seen: list[bool] = []

    class Watching(ToldMachines):
        async def withdraw(self, serial: str) -> None:
            seen.append(bool(self.known))
            await super().withdraw(serial)

    told.machines.__class__ = Watching
    volume = await told.make_volume()
    instance_id = await told.launch()
    await told.settle("RUNNING")
    await told.attach(volume, instance_id)
    await told.data("DELETE", "/instances/web")

    assert seen == [False]
    assert (await told.data("GET", f"/volumes/{volume['id']}"))["status"] == "AVAILABLE"


async def test_start_of_the_platform_brings_machines_and_rows_in_line(tmp_path: Path) -> None:
    machines = ToldMachines()
    ids: dict[str, str] = {}
    async for told in platform(tmp_path, "extended", machines):
        for name in ("runs", "off", "died", "lost", "coming"):
            ids[name] = await told.launch(name)
            await told.settle("RUNNING", name)
        await told.data("POST", "/instances/off/stop")
        machines.let_up.clear()
        await told.data("POST", "/instances/coming/reboot")
    # What a killed platform left: a machine that should be off, one that is gone, one without a row, and news.
    again = ToldMachines()
    again.known = {ids["runs"], ids["off"], ids["died"], ids["coming"], "stray"}
    again.alive = {ids["runs"], ids["off"], "stray"}
    again.end(ids["died"], End.CRASHED)
    async for told in platform(tmp_path, "extended", again):
        for name, status in (("runs", "RUNNING"), ("off", "STOPPED"), ("died", "ERROR"), ("lost", "ERROR")):
            await told.settle(status, name)
        await told.settle("RUNNING", "coming")
        assert again.alive == {ids["runs"], ids["coming"]}
        assert "stray" not in again.known
