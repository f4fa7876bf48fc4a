"""Commands end with the caller, children included, and never without an answer."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.commands import OUTPUT_LIMIT_BYTES, HostRunner
from node.model import CommandResult


def soon(seconds: float = 20.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def python(code: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", code, *words)


async def gone(pid: int) -> bool:
    """Whether a process ended; an orphan is reaped by init, a moment after it was killed."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]  # noqa: ASYNC240
        except OSError:
            return True
        if state == "Z":
            return True
        await asyncio.sleep(0.01)
    return False


async def read_fifo_line(fifo: Path) -> str:
    return await asyncio.to_thread(fifo.read_text)


async def test_exit_code_and_both_streams_come_back() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = await HostRunner().run(python(code), deadline=soon())
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert "out" in result.output
    assert "err" in result.output


async def test_a_command_ended_by_a_signal_says_so() -> None:
    result = await HostRunner().run(python("import os; os.kill(os.getpid(), 9)"), deadline=soon())
    assert result.exit_code == -9
    assert result.output == "no output"


async def test_the_environment_is_clean_and_standard_input_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_TEST", "leak")
    code = (
        "import os, sys; print(*os.environ); print(repr(sys.stdin.read()))\n"
        "try: open('made', 'w')\nexcept OSError as error: print(type(error).__name__)\n"
        "print(all(name.isdecimal() for name in os.listdir('.')))"
    )
    result = await HostRunner().run(python(code), deadline=soon())
    names, stdin, refusal, empty = result.stdout.splitlines()
    assert {"HOME", "LC_ALL", "PATH"} <= set(names.split()) <= {"HOME", "LC_ALL", "LC_CTYPE", "PATH"}
    # No relative name in an argument can be a device or a file, and nothing can be made where the command runs.
    assert (stdin, refusal, empty) == ("''", "FileNotFoundError", "True")


async def test_no_shell_reads_the_arguments() -> None:
    result = await HostRunner().run(python("import sys; print(sys.argv[1])", "$(id); `id` *"), deadline=soon())
    assert result.stdout == "$(id); `id` *\n"


async def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(CsiError, match=r"mkfs\.none is not installed") as caught:
        await HostRunner().run(("mkfs.none",), deadline=soon())
    assert caught.value.kind is ErrorKind.INTERNAL


async def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CsiError, match="could not be started"):
        await HostRunner().run((str(tmp_path),), deadline=soon())


async def test_more_output_than_is_kept_does_not_block_the_command() -> None:
    code = f"import sys; sys.stdout.write('x' * {OUTPUT_LIMIT_BYTES * 5}); sys.stderr.write('done')"
    result = await HostRunner().run(python(code), deadline=soon())
    assert (len(result.stdout), result.stderr, result.exit_code) == (OUTPUT_LIMIT_BYTES, "done", 0)


def running(word: str) -> bool:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Processes of other tests come and go.
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes())
    return any(word.encode() in line for line in lines)


FAMILY = """
import os, sys, time
child = os.fork()
if child == 0:
    time.sleep(600)
with open(sys.argv[1], "w") as fifo:
    fifo.write(f"{os.getpid()} {child}")
time.sleep(600)
"""


async def started_family(fifo: Path, deadline: float) -> tuple["asyncio.Future[CommandResult]", list[int]]:
    os.mkfifo(fifo)
    task = asyncio.ensure_future(HostRunner().run(python(FAMILY, str(fifo)), deadline=deadline))
    return task, [int(word) for word in (await read_fifo_line(fifo)).split()]


async def test_cancelling_kills_the_command_with_its_children(tmp_path: Path) -> None:
    task, pids = await started_family(tmp_path / "fifo", soon())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [await gone(pid) for pid in pids] == [True, True]


async def test_the_deadline_kills_the_command_with_its_children(tmp_path: Path) -> None:
    task, pids = await started_family(tmp_path / "fifo", soon(2.0))
    with pytest.raises(CsiError, match="it was stopped") as caught:
        await task
    assert caught.value.kind is ErrorKind.TIMEOUT
    assert [await gone(pid) for pid in pids] == [True, True]


async def test_a_second_cancel_during_the_kill_does_not_leave_the_command(tmp_path: Path) -> None:
    task, pids = await started_family(tmp_path / "fifo", soon())
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [await gone(pid) for pid in pids] == [True, True]


async def test_a_cancel_while_the_command_starts_leaves_no_process() -> None:
    for turns in range(6):
        task = asyncio.ensure_future(HostRunner().run(("sleep", f"60{os.getpid()}{turns}"), deadline=soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not running(f"60{os.getpid()}{turns}")


async def test_a_passed_descriptor_is_open_in_the_command(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("inside")
    fd = os.open(file, os.O_RDONLY)
    try:
        code = "import os, sys; print(os.read(int(sys.argv[1]), 10).decode())"
        result = await HostRunner().run(python(code, str(fd)), deadline=soon(), pass_fds=(fd,))
    finally:
        os.close(fd)
    assert result.stdout == "inside\n"


@pytest.mark.parametrize("way", ["run", "run_through"])
async def test_a_command_whose_time_is_over_is_not_started(way: str) -> None:
    # It is not installed either: the time is looked at first.
    with pytest.raises(CsiError, match="not started") as caught:
        await getattr(HostRunner(), way)(("resize2fs.none",), deadline=soon(0.0))
    assert caught.value.kind is ErrorKind.TIMEOUT


async def test_a_lasting_command_answers_as_any_other(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = await HostRunner().run_through(python(code), deadline=soon())
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    with pytest.raises(CsiError, match=r"e2fsck\.none is not installed"):
        await HostRunner().run_through(("e2fsck.none",), deadline=soon())


async def test_a_lasting_command_is_not_stopped_by_more_output_than_is_kept() -> None:
    code = (
        f"import os\nfor _ in range(20):\n try: os.write(1, b'x' * {OUTPUT_LIMIT_BYTES // 8})\n"
        " except OSError: pass\nos.write(2, b'done')"
    )
    result = await HostRunner().run_through(python(code), deadline=soon())
    assert (result.stdout, result.stderr, result.exit_code) == ("x" * OUTPUT_LIMIT_BYTES, "done", 0)


async def test_a_lasting_command_that_hangs_is_stopped_at_its_own_limit(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    work = asyncio.ensure_future(HostRunner().run_through(python(FAMILY, str(fifo)), deadline=soon(2.0)))
    pids = [int(word) for word in (await read_fifo_line(fifo)).split()]
    with pytest.raises(CsiError, match="did not come to an end"):
        await work
    assert [await gone(pid) for pid in pids] == [True, True]


LASTING = """
import os, sys
fifo, ended = sys.argv[1:]
with open(fifo, "w") as file:
    file.write(str(os.getpid()))
with open(fifo) as file:
    file.read()
print("words that nobody reads", flush=True)
os.rename(fifo, ended)
"""


async def test_a_lasting_command_goes_on_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    fifo, ended = tmp_path / "fifo", tmp_path / "ended"
    os.mkfifo(fifo)
    work = asyncio.ensure_future(HostRunner().run_through(python(LASTING, str(fifo), str(ended)), deadline=soon()))
    pid = int(await read_fifo_line(fifo))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await asyncio.to_thread(fifo.write_text, "go on")
    assert await gone(pid)
    assert ended.exists()


PLUGIN = """
import asyncio, sys
from node.commands import HostRunner
async def main():
    loop = asyncio.get_running_loop()
    task = loop.create_task(HostRunner().run_through(sys.argv[1:], deadline=loop.time() + 600))
    while not task.done():
        await asyncio.sleep(0)
        if sys.stdin.read():
            break
asyncio.run(main())
"""


async def test_a_lasting_command_outlives_the_plugin_and_does_not_hold_up_its_end(tmp_path: Path) -> None:
    fifo, ended = tmp_path / "fifo", tmp_path / "ended"
    os.mkfifo(fifo)
    words = (sys.executable, "-c", PLUGIN, *python(LASTING, str(fifo), str(ended)))
    plugin = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE)
    pid = int(await read_fifo_line(fifo))
    await plugin.communicate(b"end")
    assert plugin.returncode == 0
    await asyncio.to_thread(fifo.write_text, "go on")
    assert await gone(pid)
    assert ended.exists()


async def test_the_end_of_the_plugin_waits_for_lasting_commands(tmp_path: Path) -> None:
    fifo, ended = tmp_path / "fifo", tmp_path / "ended"
    os.mkfifo(fifo)
    runner = HostRunner()
    work = asyncio.ensure_future(runner.run_through(python(LASTING, str(fifo), str(ended)), deadline=soon()))
    await read_fifo_line(fifo)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    drained = asyncio.ensure_future(runner.drain())
    await asyncio.sleep(0)
    assert not drained.done()
    await asyncio.to_thread(fifo.write_text, "go on")
    await drained
    assert ended.exists()
    await runner.drain()
