"""Work on a disk that goes on when its caller has given up, because cutting it off could damage a file system.

e2fsck and an offline resize2fs are not safe against SIGKILL, and on a large disk they take longer than any call. So
they run beside the call: the call waits as long as its time allows and then says that the work goes on; the next call
waits for the same work, and hears of its failure. The disk's lock goes with the work and its tools.

When the plugin ends, it waits for the tools (`HostRunner.drain`). If it is killed meanwhile and they are not (in a
container they usually are), they go on by themselves; the lock that they hold keeps the next process away until they
have ended. Not here: which tools, and what their answers mean (`filesystems`).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from csi.errors import CsiError, ErrorKind
from node.disk_calls import Claim, take_place
from node.model import Device, DeviceNumber
from node.ports import Kernel

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Work = Callable[[int], Coroutine[Any, Any, Answer]]
"""Gets the descriptor of the disk's lock, to hand it to its tools."""

LIMIT_S = 24 * 3600.0
"""A tool that takes longer hangs."""
ANSWER_S = 1.0
"""Kept of the caller's time at most, so that the answer arrives before the caller stops listening."""


class LastingWork:
    """At most one piece of work for each disk, and a few at once."""

    def __init__(self, kernel: Kernel, *, limit: int) -> None:
        self._kernel = kernel
        self._places = asyncio.Semaphore(limit)
        self._running: dict[DeviceNumber, asyncio.Task[Any]] = {}
        self._unheard: dict[DeviceNumber, tuple[Device, CsiError]] = {}
        """Failures of work whose caller had gone."""

    async def settle(self, device: Device, *, deadline: float) -> None:
        """Wait until nothing works on the disk any more.

        Raises CsiError BUSY when something still does at the end of the caller's time; and, once, what made earlier
        work fail that nobody waited for. Without that, a long check of a damaged disk would be begun again for ever.
        """
        running = self._running.get(device.number)
        if running is not None:
            await _watch(running, device, deadline)
        worked_on, failure = self._unheard.pop(device.number, (None, None))
        if failure is not None and worked_on is not None and _is_same(worked_on, device):
            raise failure

    async def run(self, claim: Claim, name: str, work: Work[Answer], *, deadline: float) -> Answer:
        """Do the work on a claimed disk and give its answer; `name` says what it is in errors and the log.

        Raises CsiError BUSY when it is not done in time, TIMEOUT when it could not begin, and what the work raises.
        """
        await take_place(self._places, deadline=deadline)
        try:
            lock_fd = claim.share()
        except BaseException:
            self._places.release()
            raise
        device = claim.device
        task = asyncio.create_task(self._through(work, lock_fd), name=name)
        self._running[device.number] = task
        task.add_done_callback(lambda ended: self._running.pop(device.number))
        try:
            await _watch(task, device, deadline)
        except BaseException:
            task.add_done_callback(lambda ended: self._keep_end(ended, device))
            raise
        return task.result()

    async def _through(self, work: Work[Answer], lock_fd: int) -> Answer:
        try:
            return await work(lock_fd)
        finally:
            self._kernel.close(lock_fd)
            self._places.release()

    def _keep_end(self, task: asyncio.Task[Any], device: Device) -> None:
        name, disk = task.get_name(), device.describe()
        if task.cancelled():
            log.warning("%s: this program ends while %s works on it", disk, name)
        elif (error := task.exception()) is None:
            log.info("%s: %s came to its end after its caller had gone", disk, name)
        else:
            log.error("%s: %s failed after its caller had gone: %s", disk, name, error)
            if isinstance(error, CsiError):
                self._unheard[device.number] = (device, error)


async def _watch(task: asyncio.Task[Any], device: Device, deadline: float) -> None:
    left_s = max(deadline - asyncio.get_running_loop().time(), 0.0)
    await asyncio.wait({task}, timeout=left_s - min(ANSWER_S, left_s / 10))
    if not task.done():
        raise CsiError(
            ErrorKind.BUSY,
            f"{task.get_name()} is still working on {device.describe()}; it goes on and nothing else touches the disk "
            "until it has ended. Ask again.",
        )


def _is_same(one: Device, other: Device) -> bool:
    return (one.identities, one.sequence) == (other.identities, other.sequence)
