"""Real machines: a platform with the back end `nspawn`, on a small image that the first run builds.

The machines of a module are shared by its tests, and so is its event loop.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from devcloud import loop
from devcloud.commands import Finished
from devcloud.errors import BackendError
from devcloud.nspawn import enter
from devcloud.nspawn.backend import site_name
from devcloud.nspawn.processes import Process, identify
from devcloud.settings import ImageFolder
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.support.machine_image import machine_image
from tests.support.tools import MissingToolError

IMAGE = "debian"
NETWORK = "10.77.0.0/24"
PODS = "192.168.0.0/16"
LIMIT_S = 600
"""Time limit of a test, the build of the image included."""
_LOOK_S = 0.05
_WAIT_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def image() -> Path:
    """Give the folder of the machine image."""
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    try:
        return machine_image()
    except MissingToolError as error:
        pytest.skip(str(error))


class Machines:
    """A platform with machines, and short words for what tests do with them."""

    def __init__(self, served: ServedCloud, client: httpx.AsyncClient) -> None:
        self.served = served
        self.client = client

    async def data(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def launch(self, name: str, **more: Any) -> str:
        made = await self.data("POST", "/instances", json={"name": name, "image": IMAGE, "hostname": name, **more})
        return str(made["id"])

    async def row(self, ref: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.data("GET", f"/instances/{ref}")
        return found

    async def settle(self, ref: str, wanted: str) -> dict[str, Any]:
        """Wait until an instance has a status; ERROR is a failure unless it is the one."""
        async with asyncio.timeout(_WAIT_S):
            while (row := await self.row(ref))["status"] != wanted:
                assert row["status"] != "ERROR", await self.data("GET", "/events?limit=3")
                await asyncio.sleep(_LOOK_S)
        return row

    async def run(self, machine: str, *argv: str, timeout_s: float = 30.0) -> Finished:
        return await enter.run(self.served.data_dir, machine, argv, timeout_s=timeout_s)

    async def shell(self, machine: str, script: str) -> str:
        """Run a script that has to succeed in a machine and give what it wrote."""
        done = await self.run(machine, "sh", "-euc", script)
        assert done.exit_code == 0, f"{script}: {done.output}{done.stderr.decode()}"
        return done.output.strip()

    async def make_volume(self, name: str) -> Any:
        return await self.data("POST", "/volumes", json={"name": name, "size_gb": 1})

    async def attach(self, volume: Any, instance_id: str) -> str:
        body = {"instance_id": instance_id}
        return str((await self.data("POST", f"/volumes/{volume['id']}/attach", json=body))["device_path"])

    async def detach(self, volume: Any, instance_id: str, wait_s: float = 5.0) -> httpx.Response:
        body = {"instance_id": instance_id, "wait_s": wait_s}
        return await self.client.post(f"/volumes/{volume['id']}/detach", json=body)

    async def settle_run(self, machine: str, *, after: Process | None) -> None:
        """Wait until a machine is up in another run than the one whose first process is given."""
        await until(lambda: self._run_of(machine) not in {None, after})
        async with asyncio.timeout(_WAIT_S):
            while True:
                done = await self.run(machine, "systemctl", "is-system-running", "--wait")
                if done.output.strip() == "running":
                    return
                await asyncio.sleep(_LOOK_S)

    async def gone(self, *machines: str) -> None:
        """Wait until machines do not run."""
        await until(lambda: all(self._run_of(machine) is None for machine in machines))

    def _run_of(self, machine: str) -> Process | None:
        try:
            return identify(self.leader(machine))
        except BackendError:
            return None

    def leader(self, machine: str) -> int:
        """Give the number of a machine's first process."""
        return enter.find_running(self.served.data_dir, machine)


async def until(looks_right: Callable[[], bool], *, every_s: float = _LOOK_S) -> None:
    """Wait for something outside of this process."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            if looks_right():
                return
            await asyncio.sleep(every_s)


@contextlib.asynccontextmanager
async def machines_in(data_dir: Path, image: Path, *, subprocess: bool = False) -> AsyncIterator[Machines]:
    """Run a platform with machines; whatever is left of it in the end is a failure."""
    arguments = ("--machine-image", f"{IMAGE}={image}", "--network", NETWORK, "--pod-network", PODS, "--no-fsync")
    options: dict[str, Any] = {"subprocess": True, "arguments": arguments} if subprocess else inside_options(image)
    running = devcloud_server(data_dir, backend="nspawn", nodes=(), **options)
    async with running as served, served.client(timeout=_WAIT_S) as client:
        yield Machines(served, client)
    assert leftovers(data_dir) == []


def inside_options(image: Path) -> dict[str, Any]:
    """Give the settings of a platform with machines in this process."""
    return {
        "machine_images": (ImageFolder(IMAGE, image),),
        "network": IPv4Network(NETWORK),
        "pod_network": IPv4Network(PODS),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(image: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machines]:
    """Give two running machines, `w1` and `w2`."""
    async with machines_in(tmp_path_factory.mktemp("platform") / "data", image) as machines:
        for name in ("w1", "w2"):
            await machines.launch(name)
        for name in ("w1", "w2"):
            await machines.settle(name, "RUNNING")
        yield machines


def leftovers(data_dir: Path) -> list[str]:
    """Say what a platform with machines has left on this host."""
    name = site_name(data_dir)
    found = [f"mount {line.split()[4]}" for line in _lines("/proc/self/mountinfo") if f"{data_dir}/" in line]
    found += [f"loop{item.number}" for item in loop.attached_loops() if item.backing_file.is_relative_to(data_dir)]
    found += [str(path) for path in Path("/run/netns").glob(name)]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
    # One that only waits to be reaped, by whatever is first on this host, is none.
    inside = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cgroup") if name in _text(path)]
    found += [f"process {pid}" for pid in inside if identify(pid) is not None]
    ids = [path.name for path in (data_dir / "nspawn/machines").glob("*")]
    found += [str(path) for path in Path("/run/systemd/nspawn").glob("*/*") if any(known in path.name for known in ids)]
    return found


def idle_loops(numbers: set[int]) -> set[int]:
    """Give those of some loop devices that the kernel has."""
    return {number for number in numbers if Path(f"/sys/block/loop{number}").exists()}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
