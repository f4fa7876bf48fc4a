"""What machines do by themselves: they boot, and tell so."""

import asyncio
import base64
import contextlib
import hashlib
import logging
import random
import re
import shlex
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from kaas.domain.store import Boots
from kaas.drivers.simulator.records import Machine
from kaas.drivers.simulator.world import World

_log = logging.getLogger(__name__)

_ENCODED = re.compile(r"printf %s '?([A-Za-z0-9+/=]+)'? \| base64 -d \| sh")
_LOOK_S = 0.5
"""Between two looks for machines that another process made."""
_AT_ONCE = 16
"""Machines that tell of their boot at one time."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a machine tells, with what its user data said of whom to tell it."""

    url: str
    ca_pem: str
    token: str = field(repr=False)
    phase: str
    ssh_host_key: str
    log_tail: str


Phone = Callable[[Report], Awaitable[bool]]
"""Carries a report; False when nobody wanted it, and it is told again later."""


def to_store(boots: Boots) -> Phone:
    """Give a way of telling without a listener between, as the listener would write it down."""

    async def phone(report: Report) -> bool:
        digest = hashlib.sha256(report.token.encode()).hexdigest()
        return await boots.report_boot(
            digest, phase=report.phase, ssh_host_key=report.ssh_host_key, log_tail=report.log_tail
        )

    return phone


async def over_https(report: Report) -> bool:
    """Tell it as a machine does: to the URL, with the authority and the token of the user data."""
    trust = ssl.create_default_context(cadata=report.ca_pem)
    body = {"phase": report.phase, "ssh_host_key": report.ssh_host_key, "log_tail": report.log_tail}
    try:
        async with httpx.AsyncClient(verify=trust, timeout=20) as client:
            answer = await client.post(report.url, json=body, headers={"Authorization": f"Bearer {report.token}"})
    except httpx.HTTPError as error:
        _log.info("a report was not taken: %s", error)
        return False
    return answer.is_success


class Life:
    """Lets machines boot, of all users of one world."""

    def __init__(self, world: World, phone: Phone) -> None:
        self._world = world
        self._phone = phone
        self._made = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._chance = random.Random()  # noqa: S311 - to spread load, not to keep a secret

    def machine_made(self) -> None:
        """Be told of a new machine."""
        self._made.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let machines live inside of the block."""
        task = asyncio.create_task(self._run(), name="simulated machines")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._made.clear()
            now = self._world.clock()
            waiting = self._world.ground.waiting(Machine)
            due = [one for one in waiting if one.boots_at is not None and one.boots_at <= now and one.lives(now)]
            # Other processes of this world tell the same; each begins elsewhere, so that they seldom do it twice.
            self._chance.shuffle(due)
            async with asyncio.TaskGroup() as group:
                for machine in due:
                    group.create_task(self._boot(machine))
            pause_s = min(
                (one.boots_at - now for one in waiting if one.boots_at and one.boots_at > now), default=_LOOK_S
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause_s, _LOOK_S)):
                    await self._made.wait()

    async def _boot(self, machine: Machine) -> None:
        async with self._room:
            told = _told(machine)
            latest = self._world.machine(machine.id)
            if told is None or latest is None or latest.reported or not await self._phone(told):
                return
        with self._world.ground.change():
            latest = self._world.machine(machine.id)
            if latest is not None:
                latest.reported = True
                self._world.ground.put(latest)


def _told(machine: Machine) -> Report | None:
    """Run the first-boot commands: give what they report; None where there is nobody to report to."""
    for command in machine.user_data:
        if (found := _ENCODED.fullmatch(command)) is None:
            continue
        lines = shlex.split(base64.b64decode(found[1]).decode().split("\nset -u\n")[0])
        said = dict(line.partition("=")[::2] for line in lines)
        return Report(
            url=said["url"],
            ca_pem=said["ca"],
            token=said["token"],
            phase="failed" if machine.boot_error else "booted",
            ssh_host_key="" if machine.boot_error else machine.host_key,
            log_tail=machine.boot_error,
        )
    return None
