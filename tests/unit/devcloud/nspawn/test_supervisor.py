"""Runs of machines on a host that does as the test says: coming up, ending, being asked to end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devcloud.errors import BackendError
from devcloud.machines import End, Ended, Machine
from devcloud.nspawn.processes import Process
from devcloud.nspawn.records import Finding, MachineFolder, Run
from devcloud.nspawn.supervisor import Supervisor

MACHINE = Machine("id-1", "web", "web", "debian", "10.77.0.5")
KEEPER, LEADER = Process(7, 100), Process(9, 102)


class FakeHost:
    """A host with one machine."""

    def __init__(self, folder: MachineFolder) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.starts = 0
        self.is_up = asyncio.Event()
        self.is_up.set()
        self.end = asyncio.Event()
        self.refusal: BackendError | None = None
        self.obeys = True
        self.dies = True
        self.leaves = False

    def ended(self, status: int | None) -> None:
        """Let the machine's container end."""
        self.folder.exit_status.unlink(missing_ok=True)
        if status is not None:
            self.folder.exit_status.write_text(f"{status}\n")
        self.end.set()

    async def start(self, machine: Machine) -> Run:
        self.starts += 1
        if self.refusal is not None:
            raise self.refusal
        self.end.clear()
        return Run("boot-1", KEEPER)

    async def settle(self, instance_id: str, run: Run) -> Run:
        return Run(run.boot, run.keeper, LEADER)

    async def wait_up(self, run: Run) -> None:
        await self.is_up.wait()

    async def wait_end(self, run: Run) -> None:
        await self.end.wait()

    def power_off(self, run: Run) -> bool:
        self.calls.append("power off")
        if self.obeys:
            self.ended(0)
        return run.leader is not None

    def kill(self, run: Run) -> bool:
        self.calls.append("kill")
        if self.dies:
            self.ended(1)
        return True

    async def hold(self, instance_id: str, *, held: bool) -> None:
        self.calls.append("hold" if held else "let go")

    async def sweep(self, instance_id: str, *, timeout_s: float) -> None:
        self.calls.append("sweep")
        if self.leaves:
            raise BackendError("something stays")


class Rig:
    """A supervisor over a fake host."""

    def __init__(self, folder: Path, *, boot_timeout_s: float = 10.0, stop_timeout_s: float = 10.0) -> None:
        self.folder = MachineFolder(folder / MACHINE.instance_id)
        self.folder.path.mkdir()
        self.host = FakeHost(self.folder)
        self.equipped: list[Run] = []
        self.runs = Supervisor(self.host, self._equip, boot_timeout_s=boot_timeout_s, stop_timeout_s=stop_timeout_s)

    async def _equip(self, instance_id: str, run: Run) -> None:
        assert instance_id == MACHINE.instance_id
        self.equipped.append(run)

    async def boot(self) -> None:
        await self.runs.boot(MACHINE, self.folder)

    async def news(self) -> Ended:
        async with asyncio.timeout(10):
            return await anext(self.runs.ended())

    @property
    def is_running(self) -> bool:
        return MACHINE.instance_id in self.runs.running


@contextlib.asynccontextmanager
async def rig_in(folder: Path, **limits: float) -> AsyncIterator[Rig]:
    rig = Rig(folder, **limits)
    yield rig
    await rig.runs.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_in(tmp_path) as made:
        yield made


async def test_machine_has_its_disks_before_it_is_up(rig: Rig) -> None:
    rig.host.is_up.clear()
    booting = asyncio.create_task(rig.boot())
    await asyncio.wait({booting}, timeout=0.05)
    assert not booting.done()
    assert rig.equipped == [Run("boot-1", KEEPER, LEADER)]
    assert rig.runs.running == {"id-1": rig.equipped[0]}
    rig.host.is_up.set()
    await booting


async def test_machine_that_runs_is_only_waited_for(rig: Rig) -> None:
    await rig.boot()
    await rig.boot()

    assert rig.host.starts == 1


async def test_boot_that_takes_too_long_leaves_nothing_running(tmp_path: Path) -> None:
    async with rig_in(tmp_path, boot_timeout_s=0.05) as rig:
        rig.host.is_up.clear()
        rig.folder.console.write_text("Starting things\nstill at it\n")

        with pytest.raises(
            BackendError, match=r"not up after 0\.05 s; its console ends with: Starting things; still at it"
        ):
            await rig.boot()

        assert not rig.is_running
        assert "kill" in rig.host.calls


async def test_machine_that_ends_on_its_way_up_is_an_error_that_says_why(rig: Rig) -> None:
    rig.host.is_up.clear()
    booting = asyncio.create_task(rig.boot())
    await asyncio.wait({booting}, timeout=0.05)
    rig.folder.console.write_text("no init found\nAttempted to remove disk file system under x\n")
    rig.host.ended(1)

    with pytest.raises(BackendError, match=r"ended while it came up: .* status 1: no init found"):
        await booting
    assert not rig.is_running


async def test_machine_that_reboots_on_its_way_up_is_started_again(rig: Rig) -> None:
    rig.host.is_up.clear()
    booting = asyncio.create_task(rig.boot())
    await asyncio.wait({booting}, timeout=0.05)
    rig.host.is_up.set()
    rig.host.is_up.clear()
    rig.host.ended(133)
    await asyncio.wait({booting}, timeout=0.05)
    rig.host.is_up.set()
    await booting

    assert rig.host.starts == 2
    assert rig.is_running


async def test_start_that_is_refused_is_an_error(rig: Rig) -> None:
    rig.host.refusal = BackendError("there is no machine image 'x'")

    with pytest.raises(BackendError, match="no machine image"):
        await rig.boot()
    assert not rig.is_running


@pytest.mark.parametrize(
    ("status", "end"),
    [(0, End.POWERED_OFF), (133, End.REBOOTED), (1, End.CRASHED), (137, End.CRASHED), (None, End.CRASHED)],
)
async def test_end_that_nobody_asked_for_is_told(rig: Rig, status: int | None, end: End) -> None:
    await rig.boot()
    rig.host.ended(status)
    news = await rig.news()

    assert (news.instance_id, news.end) == ("id-1", end)
    assert not rig.is_running
    # Whatever systemd-nspawn left is gone before anybody hears of it.
    assert rig.host.calls == ["sweep"]


async def test_end_is_told_also_when_something_stays(rig: Rig) -> None:
    await rig.boot()
    rig.host.leaves = True
    rig.host.ended(0)

    assert (await rig.news()).end is End.POWERED_OFF


async def test_halt_asks_first_and_is_no_news(rig: Rig) -> None:
    await rig.boot()
    await rig.runs.halt("id-1", force=False)

    assert rig.host.calls == ["let go", "power off", "sweep"]
    assert not rig.is_running
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(rig.runs.ended())


async def test_machine_that_does_not_power_off_is_killed(tmp_path: Path) -> None:
    async with rig_in(tmp_path, stop_timeout_s=0.05) as rig:
        await rig.boot()
        rig.host.obeys = False
        await rig.runs.halt("id-1", force=False)

        assert rig.host.calls == ["let go", "power off", "kill", "sweep"]


async def test_forced_halt_does_not_ask(rig: Rig) -> None:
    await rig.boot()
    await rig.runs.halt("id-1", force=True)

    assert rig.host.calls == ["let go", "kill", "sweep"]


async def test_machine_that_could_not_be_ended_is_news_when_it_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devcloud.nspawn.supervisor._DIE_S", 0.02)
    await rig.boot()
    rig.host.dies = False
    with pytest.raises(BackendError, match="does not end"):
        await rig.runs.halt("id-1", force=True)
    assert rig.is_running
    rig.host.ended(1)

    assert (await rig.news()).end is End.CRASHED


async def test_halt_of_a_machine_that_does_not_run_sweeps_up_after_it(rig: Rig) -> None:
    await rig.runs.halt("id-1", force=True)

    assert rig.host.calls == ["sweep"]


async def test_machine_that_goes_on_is_taken_over(rig: Rig) -> None:
    rig.folder.write_run(Run("boot-1", KEEPER, LEADER))
    await rig.runs.take_over(rig.folder, Finding.GOES_ON)
    assert rig.is_running
    assert rig.equipped

    rig.host.ended(0)
    assert (await rig.news()).end is End.POWERED_OFF


@pytest.mark.parametrize(
    ("finding", "status", "end"),
    [
        (Finding.ENDED, 0, End.POWERED_OFF),
        (Finding.ENDED, 133, End.REBOOTED),
        (Finding.ENDED, None, End.CRASHED),
        (Finding.LOST, 0, End.CRASHED),
        (None, None, End.CRASHED),
    ],
)
async def test_end_while_no_platform_was_there_is_told(
    rig: Rig, finding: Finding | None, status: int | None, end: End
) -> None:
    if finding is not None:
        rig.folder.write_run(Run("boot-1", KEEPER, LEADER))
    rig.host.ended(status)
    await rig.runs.take_over(rig.folder, finding)

    assert (await rig.news()).end is end
    assert not rig.is_running


async def test_closing_ends_nothing(rig: Rig) -> None:
    await rig.boot()
    await rig.runs.close()

    assert rig.host.calls == []
