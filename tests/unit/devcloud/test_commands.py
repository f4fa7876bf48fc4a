"""Commands of this host: bounded, ended with their children, complaints kept."""

import asyncio
import os
from pathlib import Path

import pytest

from devcloud import commands
from devcloud.errors import BackendError
from devcloud.nspawn.processes import identify


async def test_output_input_and_exit_code_are_kept() -> None:
    done = await commands.run(["sh", "-c", "cat; echo no >&2; exit 3"], timeout_s=10, stdin=b"in")

    assert (done.exit_code, done.output, done.complaint) == (3, "in", "no")


async def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")

    assert "SECRET" not in await commands.check(["env"], timeout_s=10)


async def test_failure_says_what_was_run_and_what_it_complained_of() -> None:
    with pytest.raises(BackendError, match="ended with 4: why"):
        await commands.check(["sh", "-c", "echo first >&2; echo why >&2; exit 4"], timeout_s=10)
    with pytest.raises(BackendError, match="no-such-program could not be started: No such file"):
        await commands.run(["no-such-program"], timeout_s=10)


async def test_command_past_its_time_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"

    with pytest.raises(commands.CommandTimeoutError, match=r"not finished after 0\.5 s"):
        await commands.run(["sh", "-c", script], timeout_s=0.5)

    assert identify(int((tmp_path / "child").read_text())) is None


async def test_cancelled_command_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(commands.run(["sh", "-c", f"echo $$ > {fifo}; exec sleep 600"], timeout_s=60))
    pid = int((await asyncio.to_thread(fifo.read_text)).strip())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert identify(pid) is None


def test_detached_process_has_its_own_session_and_its_output_in_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        argv = ["/bin/sh", "-c", 'read -r word; echo "$word $A"; echo no >&2']
        pid = commands.spawn_detached(argv, stdin=reading, output=tmp_path / "log", environment={"A": "b"})
        assert os.getsid(pid) == pid
        os.write(writing, b"go\n")
        os.waitpid(pid, 0)
    finally:
        os.close(reading)
        os.close(writing)

    assert (tmp_path / "log").read_text() == "go b\nno\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
