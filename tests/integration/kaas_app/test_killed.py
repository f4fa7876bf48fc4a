"""A real process that is killed in the middle of a creation, and the next one, which brings it to the same end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kaas.drivers.simulator.invariants import duplicates, leaks, repeated_creates, strangers
from process.life import Stop
from tests.support.ports import free_port
from tests.unit.kaas.app.rig import Running, furnish, until, world_of

LEASE_S = 3600
"""Longer than any test: the next process does not wait for its end."""
AS_THREE = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
"""LISTEN_FDS is about descriptors from 3 on."""


class Child:
    """A service in a process of its own, whose API's socket is ours and outlives it."""

    def __init__(self, folder: Path, listening: socket.socket) -> None:
        self._folder = folder
        self._listening = listening
        self._phone_home = free_port()

    @contextlib.asynccontextmanager
    async def running(self, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
        number = self._listening.fileno()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-c", AS_THREE, str(number), "-m", "kaas.program", "serve"),
            *("--driver=simulator", f"--state-dir={self._folder}", f"--lease={LEASE_S}", "--poll=0.05"),
            *(f"--phone-home-listen=127.0.0.1:{self._phone_home}", "--log-level=error", *flags),
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "api"},
            pass_fds=(number,),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert (await process.stdout.readline()).startswith(b"kaas: API on http://127.0.0.1:")
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.timeout(180)  # two starts of a real process, on whatever else the machine has to do
@pytest.mark.parametrize(
    ("method", "start"),
    [("driver.create", "credential"), ("driver.create", "machine"), ("remote.run", "kubeadm init")],
)
async def test_a_creation_ends_the_same(tmp_path, listening, method, start):
    folder = tmp_path / "state"
    key = furnish(folder)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    child = Child(folder, listening)
    async with httpx.AsyncClient(verify=False, timeout=40) as http:
        service = Running(folder, http, url, key, Stop())
        async with child.running("--simulated-pace=0.1") as process:
            made = await service.ask("POST", "/clusters", {"name": "dev", "workers": 2})
            cluster_id = made.json()["data"]["id"]
            with world_of(folder) as simulator:

                async def is_called() -> bool:
                    return any(call.what.startswith(start) for call in simulator.calls(method=method))

                await until(is_called)
            process.kill()
            await process.wait()
            assert process.returncode == -signal.SIGKILL
        async with child.running("--simulated-pace=0") as process:

            async def runs() -> bool:
                cluster = await service.get("/clusters/dev")
                assert cluster["status"] in {"provisioning", "running"}, cluster
                return bool(cluster["status"] == "running")

            await until(runs)
            assert len(await service.nodes()) == 3
            with world_of(folder) as simulator:
                made_of = Counter(call.what for call in simulator.calls(method="driver.create"))
                # A secret that was in the lost answer alone is taken away and made anew; anything else is found.
                twice = [what for what, times in made_of.items() if times > 1 and not what.startswith("credential")]
                assert twice == []
                assert repeated_creates(simulator.world, cluster_id) == []
                assert duplicates(simulator.world, cluster_id) == []
                assert strangers(simulator.world, cluster_id) == []
            await service.ask("DELETE", "/clusters/dev")

            async def is_gone() -> bool:
                return (await service.ask("GET", "/clusters/dev")).status_code == 404

            await until(is_gone)
            with world_of(folder) as simulator:
                assert leaks(simulator.world, cluster_id) == []
            process.terminate()
            assert await process.wait() == 0
