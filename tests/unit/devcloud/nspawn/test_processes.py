"""Telling processes apart: a number alone proves nothing."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from devcloud.commands import spawn_detached
from devcloud.nspawn import processes
from devcloud.nspawn.processes import Process
from tests.unit.devcloud.nspawn.fake_proc import FakeProc


def test_same_number_with_another_start_is_another_process(tmp_path: Path) -> None:
    FakeProc(tmp_path).add(7, 100)

    assert processes.identify(7, tmp_path) == Process(7, 100)
    assert processes.is_alive(Process(7, 100), tmp_path)
    assert not processes.is_alive(Process(7, 99), tmp_path)
    assert not processes.is_alive(Process(8, 100), tmp_path)


def test_process_that_only_waits_to_be_reaped_is_dead(tmp_path: Path) -> None:
    FakeProc(tmp_path).add(7, 100, state="Z")

    assert processes.identify(7, tmp_path) is None


def test_first_of_a_container_is_known_by_its_number_inside_and_its_program(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    proc.add(1, 1, program="/usr/lib/systemd/systemd")
    proc.add(7, 100, inner=(1,), program="/usr/bin/systemd-nspawn")
    proc.add(8, 100, inner=(1,), program="/usr/lib/systemd/systemd")
    proc.add(9, 100, inner=(2,), program="/usr/lib/systemd/systemd")

    assert [pid for pid in (1, 7, 8, 9, 10) if processes.is_first_of_container(pid, tmp_path)] == [8]


async def test_only_the_very_process_is_signalled() -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    found = processes.identify(child.pid)
    assert found is not None

    assert not processes.send(Process(found.pid, found.started + 1), signal.SIGKILL)
    assert processes.is_alive(found)
    assert processes.send(found, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    assert not processes.send(found, signal.SIGKILL)


async def test_end_of_a_process_is_waited_for_and_reaped() -> None:
    reading, writing = os.pipe()
    pid = spawn_detached(["/bin/sh", "-c", "read -r x"], stdin=reading, output=Path("/dev/null"), environment={})
    found = processes.identify(pid)
    assert found is not None
    waiting = asyncio.create_task(processes.wait_end(found))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()

    os.close(reading)
    os.close(writing)
    async with asyncio.timeout(10):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    # Whoever asks later, also about a number that is somebody else's by now, is answered at once.
    await processes.wait_end(found)
    await processes.wait_end(Process(os.getpid(), 1))
