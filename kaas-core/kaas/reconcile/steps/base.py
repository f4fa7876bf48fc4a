"""What all steps have in common: their fields, what a conductor is set to, and waiting."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kaas.bootstrap.kubeadm import HostQuirks
from kaas.reconcile.step import NOTHING, Result, Work

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How clusters are made here: the part of it that no request says."""

    phone_home_url: str
    """Of our listener, as machines reach it."""
    phone_home_ca_pem: str
    authorized_key_in_user_data: bool = True
    """Whether machines install the cluster's public key themselves; False where the platform does."""
    quirks: HostQuirks = field(default_factory=HostQuirks)
    proxy_mode: str = ""
    image_repository: str = ""
    dns_image_tag: str = ""
    etcd_image_tag: str = ""
    poll_s: float = 1.0
    """Between two looks at something that is waited for."""
    machine_tries: int = 3
    """How many machines the platform may fail to make, one after the other, before a node fails."""
    boot_token_ttl_s: float = 1500.0
    silent_after_s: float = 600.0
    """Without a report for so long, a machine is replaced, once."""
    join_token_ttl_s: float = 900.0
    drain_s: float = 300.0
    drain_dead_s: float = 20.0
    """The same for a node that is not Ready: nothing runs there any more that could be moved."""
    api_patience_s: float = 60.0
    """How long an API that does not answer is waited for before its services are started again."""
    release_s: float = 120.0
    """How long a cluster that is deleted may take to give back what it made itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseStep:
    """A step that does nothing; families fill it in."""

    key: str
    needs: frozenset[str] = frozenset()
    deadline_s: float = 600.0
    inputs: Mapping[str, object] = field(default_factory=dict)

    async def check(self, work: Work) -> Result | None:
        """Look whether it is so already."""
        return None

    async def apply(self, work: Work) -> None:
        """Do it."""

    async def verify(self, work: Work) -> Result:
        """Wait until it is so."""
        return NOTHING


def time_left(work: Work) -> float:
    """Give the seconds that a run still has."""
    return work.deadline - asyncio.get_running_loop().time()


async def pause(work: Work, seconds: float) -> bool:
    """Wait a little; False when the run's time is over."""
    left = time_left(work)
    if left <= 0:
        return False
    await asyncio.sleep(min(seconds, left))
    return True


async def whole(doing: Awaitable[Value]) -> Value:
    """Carry something through that must not be stopped half-way, even when the caller is cancelled meanwhile.

    A request to the platform that is dropped on its way may still be carried out, after somebody has looked.
    """
    task = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
