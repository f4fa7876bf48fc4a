"""Commands and files on machines, by SSH: `kaas.domain.ports.Remote`.

A command ends on the machine when its time is over even if nobody here can say so any more (`timeout` runs it), and
when the caller is cancelled: a second session ends its process group, because OpenSSH passes on no signals to what root
runs. Errors name the address, the program and the reason; neither arguments nor output, where secrets may be.
"""

import asyncio
import contextlib
import re
import secrets
import shlex
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncssh

from kaas.bootstrap.connections import Connections, Login, reason_of, unreachable
from kaas.bootstrap.tails import tail
from kaas.domain.ports import Output, RemoteFile, SshTarget

if TYPE_CHECKING:
    from kaas.domain.ports import Remote

MAX_OUTPUT_BYTES = 4 * 1024 * 1024
"""Of each stream; a command that says more is ended."""
_GRACE_S = 4.0
"""Of a command's time, this last part (or a quarter, if that is less) is for ending it."""
_LEAST_S = 0.05
_CLEAN_UP_S = 3.0
_POLITE_S = 1.0
"""Between asking a command to end and ending it."""
_CHUNK = 64 * 1024
_FOLDER_MODE = 0o755
_STARTED = "kaas-process-group="
_GROUP = re.compile(_STARTED.encode() + rb"([0-9]+)\n")
_SIGNALLED = 128
_TIMED_OUT = (124, 137)
"""What `timeout` ends with: after TERM was enough, and after KILL was needed."""

_Process = asyncssh.SSHClientProcess[bytes]


class Ssh:
    """`kaas.domain.ports.Remote`; used as an asynchronous context manager, which closes what is open."""

    def __init__(self, login: Login | None = None) -> None:
        self._connections = Connections(login or Login())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.aclose()

    @property
    def open_connections(self) -> int:
        """How many connections there are, for metrics."""
        return self._connections.open_count

    async def run(self, target: SshTarget, argv: Sequence[str], *, stdin: bytes = b"", deadline: float) -> Output:
        """Run a command. Raises StepError (NODE_UNREACHABLE), also when it did not end in time."""
        loop = asyncio.get_running_loop()
        program = argv[0]
        async with self._connections.use(target, deadline=deadline) as connection:
            left_s = deadline - loop.time()
            grace_s = min(_GRACE_S, left_s / 4)
            limit_s = left_s - grace_s
            if limit_s < _LEAST_S:
                raise unreachable(target, f"no time is left to run {program}")
            command = _command(argv, limit_s=limit_s, kill_after_s=grace_s / 2)
            talk = _Talk(connection, command, stdin, deadline=deadline)
            try:
                # The machine itself ends the command before; this is for one that is slow or gone.
                async with asyncio.timeout_at(deadline - grace_s / 4):
                    output = await talk.through()
                if output.exit_code in _TIMED_OUT and loop.time() >= deadline - grace_s:
                    raise TimeoutError  # noqa: TRY301 - the same to the caller, whoever ended it
            except TimeoutError:
                late = unreachable(target, f"{program} did not end within {limit_s:.1f} s and was ended")
                late.log_tail = talk.log_tail
                raise late from None
            except _TooMuchError:
                raise unreachable(target, f"{program} said more than {MAX_OUTPUT_BYTES} bytes and was ended") from None
            except (OSError, asyncssh.Error) as error:
                raise unreachable(target, f"{program} was not seen to its end: {reason_of(error)}") from error
        return output

    async def put(self, target: SshTarget, files: Mapping[str, RemoteFile], *, deadline: float) -> None:
        """Write files. Raises StepError (NODE_UNREACHABLE), also when the machine does not let one be written."""
        where, sftp = "", None
        async with self._connections.use(target, deadline=deadline) as connection:
            left_s = deadline - asyncio.get_running_loop().time()
            latest = deadline - min(_GRACE_S, left_s) / 4
            try:
                async with asyncio.timeout_at(latest):
                    sftp = await connection.start_sftp_client()
                    for where in dict.fromkeys(str(PurePosixPath(path).parent) for path in files):
                        await sftp.makedirs(where, asyncssh.SFTPAttrs(permissions=_FOLDER_MODE), exist_ok=True)
                    for where in files:
                        await _write(sftp, where, files[where], deadline=deadline)
            except TimeoutError:
                raise unreachable(target, f"{where or 'a file'} was not written there in time") from None
            except (OSError, asyncssh.Error) as error:
                raise unreachable(target, f"{where or 'a file'} cannot be written there: {reason_of(error)}") from error
            finally:
                if sftp is not None:
                    sftp.exit()
                    await _in_peace(sftp.wait_closed(), deadline=deadline)


class _TooMuchError(Exception):
    """A command said more than is kept."""


class _Talk:
    """One command: its input, its output, and its end, however it comes."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, command: str, stdin: bytes, *, deadline: float
    ) -> None:
        self._connection = connection
        self._command = command
        self._stdin = stdin
        self._deadline = deadline
        self._stdout = bytearray()
        self._stderr = bytearray()

    @property
    def log_tail(self) -> str:
        """The end of what it said so far, for people."""
        return tail((self._said() + self._stderr).decode("utf-8", "replace"))

    async def through(self) -> Output:
        """Run it to its end; when that is not waited for, end it on the machine.

        Raises asyncssh.Error, OSError, and _TooMuchError.
        """
        opening = asyncio.ensure_future(self._open())
        try:
            # Not cancelled itself: it may run there already, and only who waits for the answer knows it.
            process = await asyncio.shield(opening)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(process))
                group.create_task(_collect(process.stdout, self._stdout))
                group.create_task(_collect(process.stderr, self._stderr))
            await process.wait_closed()
        except BaseException as error:
            await _in_peace(self._end(opening), deadline=self._deadline)
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return self._output(process)

    async def _open(self) -> _Process:
        return await self._connection.create_process(self._command, encoding=None)

    async def _feed(self, process: _Process) -> None:
        # A command need not read what it is given.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(self._stdin), _CHUNK):
                process.stdin.write(self._stdin[start : start + _CHUNK])
                await process.stdin.drain()
            process.stdin.write_eof()

    async def _end(self, opening: "asyncio.Future[_Process]") -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            process = await opening
            try:
                while (found := _GROUP.search(self._stdout)) is None:
                    chunk = await process.stdout.read(_CHUNK)
                    if not chunk:
                        return
                    self._stdout += chunk
                await self._signal("TERM", int(found[1]))
                try:
                    async with asyncio.timeout(_POLITE_S):
                        await _gone(process)
                except TimeoutError:
                    await self._signal("KILL", int(found[1]))
                    await _gone(process)
            finally:
                process.close()

    async def _signal(self, name: str, group: int) -> None:
        await self._connection.run(f"kill -{name} -{group}")

    def _said(self) -> bytes:
        # What stands before it comes from the shell's own start-up files.
        started = _GROUP.search(self._stdout)
        return bytes(self._stdout[started.end() :] if started else self._stdout)

    def _output(self, process: _Process) -> Output:
        code = process.exit_status
        if process.exit_signal is not None:
            code = _SIGNALLED + getattr(signal, f"SIG{process.exit_signal[0]}", 0)
        if code is None:
            raise asyncssh.ConnectionLost("the connection ended before the command did")
        return Output(code, self._said().decode("utf-8", "replace"), self._stderr.decode("utf-8", "replace"))


async def _collect(stream: asyncssh.SSHReader[bytes], into: bytearray) -> None:
    while chunk := await stream.read(_CHUNK):
        into += chunk
        if len(into) > MAX_OUTPUT_BYTES:
            raise _TooMuchError


def _command(argv: Sequence[str], *, limit_s: float, kill_after_s: float) -> str:
    timeout = ("timeout", f"--kill-after={kill_after_s:.2f}", f"{limit_s:.2f}")
    return f"echo {_STARTED}$$; exec env LC_ALL=C {shlex.join((*timeout, *argv))}"


async def _gone(process: _Process) -> None:
    """Wait until a process has ended and nobody holds its output open."""
    for stream in (process.stdout, process.stderr):
        while await stream.read(_CHUNK):
            pass
    await process.wait_closed()


async def _write(sftp: asyncssh.SFTPClient, path: str, file: RemoteFile, *, deadline: float) -> None:
    name = PurePosixPath(path)
    temporary = str(name.with_name(f".{name.name}.{secrets.token_hex(6)}"))
    try:
        async with sftp.open(temporary, "xb", asyncssh.SFTPAttrs(permissions=file.mode)) as handle:
            # The machine's own mask may have taken something away.
            await handle.chmod(file.mode)
            await handle.write(file.content)
            await handle.fsync()
        await sftp.posix_rename(temporary, path)
    except BaseException:
        await _in_peace(_removed(sftp, temporary), deadline=deadline)
        raise


async def _removed(sftp: asyncssh.SFTPClient, path: str) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        await sftp.remove(path)


async def _in_peace(work: Coroutine[object, object, None], *, deadline: float) -> None:
    """Bring cleaning up to its end, for a short time at most; a cancellation meanwhile is raised afterwards."""
    latest = min(deadline, asyncio.get_running_loop().time() + _CLEAN_UP_S)

    async def limited() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(latest):
                await work

    task = asyncio.ensure_future(limited())
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


if TYPE_CHECKING:
    _CONFORMS: Remote = Ssh()
