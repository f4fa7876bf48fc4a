"""How the parts' commands are started, bounded and ended."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.cluster.commands import require, run, running
from tests.e2e.cluster.errors import AssetError, MissingToolError


async def test_the_output_of_a_command_is_given() -> None:
    assert await run(("sh", "-c", "echo seen; echo other >&2"), timeout_s=10) == "seen\n"


async def test_a_failure_names_the_command_and_the_end_of_what_it_said() -> None:
    with pytest.raises(AssetError, match=r"(?s)sh -c .*ended with 3:\n.*line 40") as caught:
        await run(("sh", "-c", "for n in $(seq 40); do echo line $n >&2; done; exit 3"), timeout_s=10)
    assert "line 10\n" not in str(caught.value)


async def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(AssetError, match="not finished after"):
        await run(("sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"), timeout_s=0.5)
    assert not _alive(int(pid_file.read_text()))


async def test_a_cancelled_command_ends(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = asyncio.create_task(run(("sh", "-c", f"echo $$ > {pipe}; exec sleep 60"), timeout_s=60))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _alive(pid)


async def test_a_program_that_runs_is_ended_with_the_block(tmp_path: Path) -> None:
    async with running(("sleep", "60"), log=tmp_path / "log") as process:
        assert process.returncode is None
    assert process.returncode is not None


async def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        await run(("no-such-program",), timeout_s=1)
    with pytest.raises(MissingToolError, match=r"no-such-program \(package some-package\).*scripts/prepare cluster"):
        require({"no-such-program": "some-package", "sh": "dash"}, "this test")


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
