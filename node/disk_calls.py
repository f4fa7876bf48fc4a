"""Opens disks and runs blocking calls on them within a time limit.

Here belong the ways to touch a disk that the other modules share: each call in a thread, each failure a text that names
the disk. Not here: what is read or written.
"""

import asyncio
import contextlib
import errno
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

from csi.errors import CsiError, ErrorKind
from node.model import Device
from node.ports import Kernel

Answer = TypeVar("Answer")

_RETRY_S = 0.02
_BUSY_PATIENCE_S = 2.0
"""udev opens and locks a disk for a moment when it appears; what lasts longer is a real user."""


@contextlib.contextmanager
def opened(kernel: Kernel, device: Device, *, writable: bool = False, exclusive: bool = False) -> Iterator[int]:
    """Open the disk, prove by its numbers that it is the one meant, and close it again (blocking)."""
    fd = kernel.open_device(device.path, writable=writable, exclusive=exclusive)
    try:
        number = kernel.device_number(fd)
        if number != device.number:
            raise CsiError(
                ErrorKind.PRECONDITION, f"{device.path} leads to {number} and not to the disk meant, {device.number}"
            )
        yield fd
    finally:
        kernel.close(fd)


async def on_disk(call: Callable[[], Answer], device: Device, done: str, *, deadline: float) -> Answer:
    """Run a blocking call on a disk in a thread; `done` says what the disk is to be ("read").

    Raises CsiError INTERNAL for an I/O error, TIMEOUT at the deadline. A call that hangs in the kernel stays in
    its thread and closes its own descriptors when the kernel lets it go.
    """
    return await _answered(asyncio.to_thread(call), device, done, deadline)


async def _answered(call: Awaitable[Answer], device: Device, done: str, deadline: float) -> Answer:
    try:
        async with asyncio.timeout_at(deadline):
            return await call
    except TimeoutError:
        raise CsiError(ErrorKind.TIMEOUT, f"{device.path}: the disk did not answer in time (to be {done})") from None
    except OSError as error:
        raise CsiError(
            ErrorKind.INTERNAL,
            f"{device.describe()} cannot be {done}: {error.strerror or error}. Nothing is concluded about its content.",
        ) from error


class Claim:
    """A disk that nobody else uses while it is looked at and changed.

    Two things hold it. The advisory lock, which udev respects, lives on a descriptor that commands inherit: should this
    process be killed, an orphaned mkfs still keeps the next one away. It also keeps the disk's number from being given
    to another disk. The exclusive opening proves that no mount, mapper or swap uses the disk; it has to be let go
    before a tool runs, because the tools open the disk exclusively themselves.

    The lock outlives the claim where work on the disk does: a thread that hangs in the kernel and a tool that goes on
    without its caller hold copies of the lock's descriptor, so that nobody formats or mounts what they still write to.
    """

    def __init__(self, kernel: Kernel, device: Device) -> None:
        self._kernel = kernel
        self.device = device
        self._stack = contextlib.ExitStack()
        self._exclusive = contextlib.ExitStack()
        self._released = False
        self.lock_fd = -1

    async def take(self, *, deadline: float) -> None:
        """Lock and open the disk.

        Raises CsiError BUSY when a tool or an earlier call works on it, PRECONDITION when something else uses it.
        """
        now = asyncio.get_running_loop().time()
        # Ends well before the deadline, so that the caller reads what is wrong in place of "took too long".
        limit = now + min(_BUSY_PATIENCE_S, (deadline - now) / 2)
        while (obstacle := await on_disk(self._try, self.device, "opened", deadline=deadline)) is not None:
            if asyncio.get_running_loop().time() >= limit:
                raise obstacle
            await asyncio.sleep(_RETRY_S)

    async def run(self, call: Callable[[], Answer], done: str, *, deadline: float) -> Answer:
        """Run a blocking call as `on_disk` does; until it really ended, also after the deadline, the disk stays locked.

        Otherwise a write that hung could land on what the next call has made and mounted.
        """
        lock_fd = self.share()
        given_up = threading.Event()

        def locked() -> Answer:
            try:
                if given_up.is_set():
                    raise TimeoutError  # it never began, and nobody waits for it
                return call()
            finally:
                self._kernel.close(lock_fd)

        # Shielded: a call that still waits for a thread must not vanish from the queue with the lock in its hand.
        work = asyncio.get_running_loop().run_in_executor(None, locked)
        try:
            return await _answered(asyncio.shield(work), self.device, done, deadline)
        finally:
            given_up.set()

    def share(self) -> int:
        """Give another descriptor of the lock, for work that may outlive this claim and then closes it."""
        return self._kernel.duplicate(self.lock_fd)

    async def let_tools_in(self) -> None:
        """Give up the exclusive opening and keep the lock."""
        await asyncio.to_thread(self._exclusive.close)

    async def release(self) -> None:
        """Let go of everything; safe to call at any time."""
        self._released = True
        await asyncio.to_thread(self._close)

    def _try(self) -> CsiError | None:
        """Lock and open the disk, or say what stands against it."""
        self._close()
        try:
            self.lock_fd = self._stack.enter_context(opened(self._kernel, self.device))
            if not self._kernel.try_lock(self.lock_fd):
                self._close()
                return self._obstacle(ErrorKind.BUSY, "a tool, or an earlier call that the disk has not answered yet")
            self._exclusive.enter_context(opened(self._kernel, self.device, exclusive=True))
        except OSError as error:
            self._close()
            if error.errno == errno.EBUSY:
                return self._obstacle(ErrorKind.PRECONDITION, "a mount, a mapper, or a program that has it open")
            raise
        except CsiError:
            self._close()
            raise
        if self._released:
            # The caller's time ran out while the kernel hung; nobody is left to let go later.
            self._close()
        return None

    def _obstacle(self, kind: ErrorKind, users: str) -> CsiError:
        again = " Ask again." if kind is ErrorKind.BUSY else ""
        text = f"{self.device.describe()} is used by something else on this node ({users}); it is left alone.{again}"
        return CsiError(kind, text)

    def _close(self) -> None:
        self._exclusive.close()
        self._stack.close()


@contextlib.asynccontextmanager
async def claimed(kernel: Kernel, device: Device, *, deadline: float) -> AsyncIterator[Claim]:
    """Hold a `Claim` for a while; raises as `Claim.take`."""
    claim = Claim(kernel, device)
    try:
        await claim.take(deadline=deadline)
        yield claim
    finally:
        # Shielded, so that a cancelled caller does not leave the disk locked.
        await asyncio.shield(asyncio.ensure_future(claim.release()))


@contextlib.asynccontextmanager
async def turn(places: asyncio.Semaphore, *, deadline: float) -> AsyncIterator[None]:
    """Hold one of a limited number of places. Raises CsiError TIMEOUT when none came free in time."""
    await take_place(places, deadline=deadline)
    try:
        yield
    finally:
        places.release()


async def take_place(places: asyncio.Semaphore, *, deadline: float) -> None:
    """Take one of a limited number of places, for work that gives it back later. Raises as `turn`."""
    try:
        async with asyncio.timeout_at(deadline):
            await places.acquire()
    except TimeoutError:
        raise CsiError(ErrorKind.TIMEOUT, "other formats or checks on this node took all the time; ask again") from None
