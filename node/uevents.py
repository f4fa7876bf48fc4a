"""Hears from the kernel that block devices come and go.

Only a bell: it says "look again", never what happened, so an event that is lost, late or forged costs at most a rescan.
Not here: looking (`devices`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)


class KernelDiskEvents:
    """Rings for each uevent of the block subsystem; silent where the kernel's events cannot be had."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Event] = set()
        self._monitor: Any = None

    @property
    def is_listening(self) -> bool:
        """Whether events are heard."""
        return self._monitor is not None

    async def start(self) -> None:
        """Begin to hear events. Without pyudev or the netlink socket it says so once, and rescans must do."""
        try:
            self._monitor = await asyncio.to_thread(_open_monitor)
        except (ImportError, OSError) as error:
            log.warning("no kernel events for disks; arrivals are seen by rescans alone: %s", error)
            return
        asyncio.get_running_loop().add_reader(self._monitor.fileno(), self._ring)

    def stop(self) -> None:
        """End the listening; safe to call twice or without a start."""
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor = None

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Give an event that is set at every change; see `ports.DiskEvents.listen`."""
        bell = asyncio.Event()
        self._listeners.add(bell)
        try:
            yield bell
        finally:
            self._listeners.discard(bell)

    def _ring(self) -> None:
        try:
            while self._monitor is not None and self._monitor.poll(timeout=0) is not None:
                pass
        except OSError as error:
            # The kernel drops events when nobody reads in time (ENOBUFS); that is a reason to look as well.
            log.info("kernel events for disks were dropped: %s", error)
        for bell in self._listeners:
            bell.set()


def _open_monitor() -> Any:
    # Loaded here and not at the top: it costs start-up time and memory that commands such as `--help` need not pay.
    import pyudev  # noqa: PLC0415

    # "kernel" and not "udev": udev tells after its rules have run, and may not run at all in a container.
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.filter_by("block")
    monitor.start()
    return monitor


class NoDiskEvents:
    """Never rings; for hosts and tests that rely on rescans."""

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Give an event that nobody sets."""
        yield asyncio.Event()
