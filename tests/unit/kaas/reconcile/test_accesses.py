"""What is kept of the ways into clusters, and until when."""

import asyncio
from dataclasses import dataclass, field

import pytest

from kaas.crypto.kubeconfig import CONDUCTOR_LIFETIME
from kaas.domain.ports import KubeAccess
from kaas.reconcile.accesses import KEPT_S, Accesses

AT = "10.0.0.1:6443"


@dataclass
class Rig:
    now: float = 1_000_000.0
    made: int = 0
    accesses: Accesses = field(init=False)

    def __post_init__(self) -> None:
        self.accesses = Accesses(limit=2, kept_s=100.0, clock=lambda: self.now)

    async def make(self) -> KubeAccess:
        self.made += 1
        await asyncio.sleep(0)
        return KubeAccess(f"https://{AT}", b"ca", b"certificate %d" % self.made, b"the key itself")

    async def to(self, cluster: str, endpoint: str = AT) -> KubeAccess:
        return await self.accesses.to(cluster, endpoint, self.make)


async def test_it_is_made_once_also_for_many_at_once() -> None:
    rig = Rig()
    found = await asyncio.gather(*(rig.to("a") for _ in range(5)))
    assert rig.made == 1
    assert all(one is found[0] for one in found)


async def test_it_is_made_again_when_its_time_is_over() -> None:
    rig = Rig()
    first = await rig.to("a")
    rig.now += 99.0
    assert await rig.to("a") is first
    rig.now += 1.0
    assert await rig.to("a") is not first


async def test_a_clock_that_was_put_back_keeps_nothing_for_longer() -> None:
    rig = Rig()
    first = await rig.to("a")
    rig.now -= 3600.0
    assert await rig.to("a") is not first


async def test_what_is_kept_is_good_for_as_long_again() -> None:
    assert CONDUCTOR_LIFETIME.total_seconds() >= 2 * KEPT_S


async def test_another_endpoint_needs_another_one() -> None:
    rig = Rig()
    first = await rig.to("a")
    assert await rig.to("a", "10.0.0.2:6443") is not first


async def test_a_refused_one_is_forgotten_and_a_newer_one_is_not() -> None:
    rig = Rig()
    first, other = await rig.to("a"), await rig.to("b")
    rig.accesses.refused(first)
    second = await rig.to("a")
    assert second is not first
    rig.accesses.refused(first)
    assert await rig.to("a") is second
    assert await rig.to("b") is other


async def test_only_the_last_used_are_kept() -> None:
    rig = Rig()
    first = await rig.to("a")
    second = await rig.to("b")
    assert await rig.to("a") is first
    await rig.to("c")
    assert len(rig.accesses) == 2
    assert await rig.to("a") is first
    assert await rig.to("b") is not second


async def test_a_try_that_failed_is_tried_again() -> None:
    rig = Rig()

    async def fail() -> KubeAccess:
        raise OSError("no keys")

    for _ in range(2):
        with pytest.raises(OSError, match="no keys"):
            await rig.accesses.to("a", AT, fail)
    assert (await rig.to("a")).client_cert_pem == b"certificate 1"


async def test_forgotten_clusters_and_closing_leave_nothing() -> None:
    rig = Rig()
    await rig.to("a")
    await rig.to("b")
    rig.accesses.forget("a")
    assert len(rig.accesses) == 1
    rig.accesses.clear()
    assert len(rig.accesses) == 0
