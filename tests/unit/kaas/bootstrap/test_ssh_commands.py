"""Commands by SSH, against a real OpenSSH server: what goes in, what comes out, and that they end."""

import asyncio
import os
import secrets
import signal

import pytest

from kaas.bootstrap.ssh import MAX_OUTPUT_BYTES
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Output, RemoteFile
from tests.unit.kaas.bootstrap.ssh_rig import Rig, alive, new_mark, within
from tests.unit.kaas.bootstrap.waiting import until


async def test_output_and_exit_code_are_the_commands(rig: Rig):
    output = await rig.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert output == Output(3, "out\n", "err\n")


async def test_a_command_that_fails_is_no_error(rig: Rig):
    assert (await rig.run("false")).exit_code == 1
    assert (await rig.run("/no/such/program")).exit_code == 127


WORDS = (
    *("", "two words", "'", '"', "$(id)", "`id`", "; id", "a\nb", "*", "~", "\\", "--", "\u00e4\u20ac", "&& id #"),
    *("$HOME", "!x", "{a,b}", "<(id)", "-n", "\t"),
)


async def test_arguments_arrive_as_they_are(rig: Rig):
    output = await rig.run("printf", "%s|", *WORDS)
    assert output.stdout == "".join(f"{word}|" for word in WORDS)


async def test_bytes_that_are_no_text_do_not_break_it(rig: Rig):
    assert (await rig.run("printf", r"\377\200ok")).stdout.endswith("ok")


async def test_what_the_shell_says_at_its_start_is_not_the_commands(rig: Rig):
    noise = rig.sshd.folder / ".bashrc"
    noise.write_text("echo welcome\n")
    try:
        assert (await rig.run("echo", "mine")).stdout == "mine\n"
    finally:
        noise.unlink()


async def test_big_input_arrives_whole(rig: Rig):
    data = secrets.token_bytes(5_000_000)
    output = await rig.run("sh", "-c", f"cat > {rig.folder}/big; wc -c < {rig.folder}/big", stdin=data)
    assert output.stdout.strip() == str(len(data))
    assert (rig.folder / "big").read_bytes() == data


async def test_input_that_nobody_reads_is_no_error(rig: Rig):
    output = await rig.run("true", stdin=b"x" * 3_000_000)
    assert output.exit_code == 0


async def test_without_input_a_reader_sees_its_end(rig: Rig):
    assert await rig.run("cat") == Output(0, "", "")


async def test_output_is_bounded_and_what_goes_on_saying_it_is_ended(rig: Rig):
    mark = new_mark()
    with pytest.raises(StepError, match="said more than"):
        await rig.run("sh", "-c", "yes", mark)
    await until(lambda: not alive(mark))
    whole = await rig.run("head", "-c", str(MAX_OUTPUT_BYTES // 2), "/dev/zero")
    assert len(whole.stdout) == MAX_OUTPUT_BYTES // 2


async def test_a_signalled_command_has_the_exit_code_of_a_shell(rig: Rig):
    assert (await rig.run("sh", "-c", "kill -TERM $$")).exit_code == 128 + signal.SIGTERM


async def test_both_streams_at_once_do_not_block_each_other(rig: Rig):
    output = await rig.run("sh", "-c", "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero")
    assert (len(output.stdout), len(output.stderr)) == (1_000_000, 1_000_000)


# Ends


async def test_a_cancelled_command_leaves_no_process(rig: Rig):
    mark = new_mark()
    task = asyncio.create_task(rig.run("sh", "-c", f"sleep {mark} & sleep {mark}; true"))
    await until(lambda: alive(mark))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(mark) == []


async def test_a_cancelled_command_that_ignores_the_polite_signal_is_killed(rig: Rig):
    mark = new_mark()
    started = rig.folder / "started"
    script = f"trap '' TERM; touch {started}; while :; do sleep {mark}; done"
    task = asyncio.create_task(rig.run("sh", "-c", script))
    await until(started.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(mark) == []


async def test_a_command_cancelled_while_it_starts_does_not_run_on(rig: Rig):
    await rig.run("true")
    for turns in (*range(8), 20, 60):
        mark = new_mark()
        task = asyncio.create_task(rig.run("sh", "-c", f"sleep {mark}; true"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive(mark) == [], f"cancelled after {turns} turns"


async def test_at_the_deadline_a_command_is_ended_there_and_said_to_be(rig: Rig):
    mark = new_mark()
    with pytest.raises(StepError, match="sh did not end within") as caught:
        await rig.run("sh", "-c", f"echo half-way; sleep {mark}; true", within_s=2.0)
    assert caught.value.code is Code.NODE_UNREACHABLE
    assert "half-way" in caught.value.log_tail
    assert mark not in str(caught.value)
    assert alive(mark) == []


async def test_a_command_of_its_own_that_exits_like_a_timeout_is_not_one(rig: Rig):
    assert (await rig.run("sh", "-c", "exit 124")).exit_code == 124


async def test_a_machine_that_hangs_is_given_up_at_the_deadline(rig: Rig):
    await rig.run("true")
    path = rig.folder / "never"
    with rig.sshd.frozen():
        # Generous, and far below what it takes to see that the connection is dead.
        async with asyncio.timeout(8):
            with pytest.raises(StepError, match="did not end") as run:
                await rig.run("touch", str(path), within_s=1.0)
            with pytest.raises(StepError, match="in time") as put:
                await rig.ssh.put(rig.target, {str(path): RemoteFile(b"x")}, deadline=within(1.0))
    assert run.value.code is put.value.code is Code.NODE_UNREACHABLE


async def test_no_time_left_means_nothing_is_run(rig: Rig):
    with pytest.raises(StepError) as caught:
        await rig.run("touch", str(rig.folder / "never"), within_s=-1.0)
    assert caught.value.code is Code.NODE_UNREACHABLE
    assert not (rig.folder / "never").exists()


async def test_a_killed_connection_is_told_and_the_next_command_has_a_new_one(rig: Rig):
    mark = new_mark()
    task = asyncio.create_task(rig.run("sh", "-c", f"sleep {mark}; true", within_s=60.0))
    await until(lambda: alive(mark))
    group = os.getpgid(alive(mark)[0])
    rig.sshd.kill_connections()
    with pytest.raises(StepError, match=r"127\.0\.0\.1: sh was not seen to its end") as caught:
        await task
    assert caught.value.code is Code.NODE_UNREACHABLE
    assert (await rig.run("echo", "again")).stdout == "again\n"
    # It was not reachable any more; on a machine `timeout` ends it at the deadline.
    os.killpg(group, signal.SIGKILL)


async def test_a_command_whose_conductor_is_gone_ends_by_itself_at_its_deadline(rig: Rig):
    mark = new_mark()
    task = asyncio.create_task(rig.run("sh", "-c", f"sleep {mark}; true", within_s=2.0))
    await until(lambda: alive(mark))
    rig.sshd.kill_connections()
    with pytest.raises(StepError):
        await task
    await until(lambda: not alive(mark))
