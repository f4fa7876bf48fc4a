"""Opens disks and runs blocking calls on them within a time limit.

Here belong the ways to touch a disk that the other modules share: each call in a thread, each failure a text that names
the disk. Not here: what is read or written.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Iterator
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
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.to_thread(call)
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
    """

    def __init__(self, kernel: Kernel, device: Device) -> None:
        self._kernel = kernel
        self.device = device
        self._stack = contextlib.ExitStack()
        self._exclusive = contextlib.ExitStack()
        self._released = False
        self.lock_fd = -1

    async def take(self, *, deadline: float) -> None:
        """Lock and open the disk. Raises CsiError PRECONDITION when somebody else uses it."""
        now = asyncio.get_running_loop().time()
        # Ends well before the deadline, so that the caller reads what is wrong in place of "took too long".
        limit = now + min(_BUSY_PATIENCE_S, (deadline - now) / 2)
        while not await on_disk(self._try, self.device, "opened", deadline=deadline):
            if asyncio.get_running_loop().time() >= limit:
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"{self.device.describe()} is used by something else on this node (a mount, a mapper, or another "
                    "tool that works on it); it is left alone",
                )
            await asyncio.sleep(_RETRY_S)

    async def let_tools_in(self) -> None:
        """Give up the exclusive opening and keep the lock."""
        await asyncio.to_thread(self._exclusive.close)

    async def release(self) -> None:
        """Let go of everything; safe to call at any time."""
        self._released = True
        await asyncio.to_thread(self._close)

    def _try(self) -> bool:
        self._close()
        try:
            self.lock_fd = self._stack.enter_context(opened(self._kernel, self.device))
            if not self._kernel.try_lock(self.lock_fd):
                self._close()
                return False
            self._exclusive.enter_context(opened(self._kernel, self.device, exclusive=True))
        except OSError as error:
            self._close()
            if error.errno == errno.EBUSY:
                return False
            raise
        except CsiError:
            self._close()
            raise
        if self._released:
            # The caller's time ran out while the kernel hung; nobody is left to let go later.
            self._close()
        return True

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
    try:
        async with asyncio.timeout_at(deadline):
            await places.acquire()
    except TimeoutError:
        raise CsiError(ErrorKind.TIMEOUT, "other formats or checks on this node took all the time; ask again") from None
    try:
        yield
    finally:
        places.release()
