"""The process is killed at every request that it makes, before it is sent or after it was carried out.

Another process goes on. However often and wherever that happens: no service has two load balancers, none is left over,
and no service names the address of one that is not there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.support.fake_cloud import server_error
from tests.unit.ccm.controllers.service_rig import (
    WEB,
    KilledError,
    ServiceRig,
    running_service_rig,
    tls_secret,
    wire_service,
)


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Two nodes, a platform, and a service controller."""
    async with running_service_rig() as running:
        running.add_nodes(1, 2)
        yield running


@dataclass(frozen=True)
class Story:
    """What a user does, and what must be at the end."""

    before: Callable[[ServiceRig], None]
    act: Callable[[ServiceRig], None]
    balancers: int
    owner: str = "web"


def nothing(rig: ServiceRig) -> None:
    pass


def a_service(rig: ServiceRig) -> None:
    rig.put(wire_service())


def a_tls_service(rig: ServiceRig) -> None:
    rig.put(tls_secret("shop", "first"))
    rig.put(wire_service(ports={443: "TCP"}, annotations={"tls-cert": "secret:shop", "protocol": "https"}))


def two_that_share(rig: ServiceRig) -> None:
    older = {"share-with": "default/guest"}
    rig.put(wire_service("web", annotations=older))
    younger = {"share-with": "default/web"}
    rig.put(wire_service("guest", ports={81: "TCP"}, annotations=younger, created="2026-02-02T00:00:00Z"))


def more_ports_and_nodes(rig: ServiceRig) -> None:
    rig.add_nodes(3)
    rig.edit("web", {"spec": wire_service(ports={80: "TCP", 443: "TCP"})["spec"]})
    rig.annotate("web", size="large")


def another_shape(rig: ServiceRig) -> None:
    rig.annotate("web", internal="true", recreate="allow")


def deletes(rig: ServiceRig) -> None:
    rig.remove("web")


def deletes_both(rig: ServiceRig) -> None:
    rig.remove("web")
    rig.remove("guest")


def no_balancer(rig: ServiceRig) -> None:
    rig.edit("web", {"spec": {"type": "ClusterIP"}})


def lets_go(rig: ServiceRig) -> None:
    rig.annotate("web", policy="orphan")
    rig.remove("web")


STORIES = {
    "create": Story(nothing, a_service, 1),
    "create with a certificate": Story(nothing, a_tls_service, 1),
    "create two that share": Story(nothing, two_that_share, 1),
    "change": Story(a_service, more_ports_and_nodes, 1),
    "another shape": Story(a_service, another_shape, 1),
    "delete": Story(a_service, deletes, 0),
    "delete with a certificate": Story(a_tls_service, deletes, 0),
    "delete the host": Story(two_that_share, deletes, 1, owner="guest"),
    "delete both": Story(two_that_share, deletes_both, 0),
    "another type": Story(a_service, no_balancer, 0),
    "orphan": Story(a_service, lets_go, 1, owner=""),
}


POINTS = (
    "offer",
    "balancers",
    "get",
    "create",
    "put_group",
    "modify",
    "delete",
    "delete_group",
    "certificates",
    "create_certificate",
    "delete_certificate",
)


async def until_done(rig: ServiceRig) -> None:
    await rig.settle("default/web", "default/guest", rounds=20)


async def killed(
    rig: ServiceRig, story: Story, at: int, *, is_after: bool, settle: Callable[..., Awaitable[None]]
) -> bool:
    """Let the process live until one request; False when it had fewer to make."""
    rig.restart()
    rig.reaper.kill_at, rig.reaper.is_after = at, is_after
    try:
        await settle(rig)
    except KilledError:
        return True
    return False


def check_always(rig: ServiceRig) -> None:
    """What holds at any moment, also between two steps."""
    uids = [group.name for one in rig.balancers() for group in one.groups]
    assert len(uids) == len(set(uids)), "a service is on two load balancers"
    addresses = {address.address for one in rig.balancers() for address in one.addresses}
    for wire in rig.api.all_of("services"):
        if wire["spec"]["type"] != "LoadBalancer" or "deletionTimestamp" in wire["metadata"]:
            continue
        for point in wire["status"].get("loadBalancer", {}).get("ingress") or []:
            assert point["ip"] in addresses, "a service names an address that nothing has"


def check_end(rig: ServiceRig, story: Story) -> None:
    assert len(rig.balancers()) == story.balancers
    check_always(rig)
    wires = {wire["metadata"]["name"]: wire for wire in rig.api.all_of("services")}
    for name, wire in wires.items():
        is_wanted = wire["spec"]["type"] == "LoadBalancer"
        assert bool(rig.ingress(name)) is is_wanted
        assert rig.is_held(name) is is_wanted
    if story.owner:
        groups = {group.name for one in rig.balancers() for group in one.groups}
        assert groups == {rig.uid(name) for name, wire in wires.items() if wire["spec"]["type"] == "LoadBalancer"}
        assert all(len(one.groups[0].targets) == len(rig.nodes) for one in rig.balancers())
    used = {
        found
        for one in rig.balancers()
        for group in one.groups
        for listener in group.listeners
        for found in listener.certificate_ids
    }
    assert set(rig.cloud.certificates.all) == used


async def run_story(rig: ServiceRig, story: Story, at: int, *, is_after: bool) -> bool:
    story.before(rig)
    await until_done(rig)
    story.act(rig)
    was_killed = await killed(rig, story, at, is_after=is_after, settle=until_done)
    check_always(rig)
    if was_killed:
        rig.restart()
        await until_done(rig)
    check_end(rig, story)
    return was_killed


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_every_request(rig: ServiceRig, name: str, is_after: bool) -> None:
    kills = 0
    while await run_story(rig, STORIES[name], kills, is_after=is_after):
        kills += 1
        rig.reset()
        rig.add_nodes(1, 2)
    assert kills >= 3


async def test_killed_again_and_again(rig: ServiceRig) -> None:
    rig.put(wire_service())
    for requests in range(12):
        # Every process lives for one more request than the one before; the last of them comes through.
        rig.restart()
        rig.reaper.kill_at = requests
        try:
            await until_done(rig)
        except KilledError:
            check_always(rig)
    check_end(rig, STORIES["create"])
    assert rig.cloud.faults.count("create") == 1


@pytest.mark.parametrize("is_lost", [False, True], ids=["refused", "lost"])
@pytest.mark.parametrize("name", STORIES)
async def test_every_request_to_the_platform_fails_once(rig: ServiceRig, name: str, is_lost: bool) -> None:
    story = STORIES[name]
    for point in POINTS:
        rig.reset()
        rig.add_nodes(1, 2)
        story.before(rig)
        await until_done(rig)
        rig.cloud.faults.fail(point, server_error(), times=1, after=is_lost)
        story.act(rig)
        rig.restart()
        await until_done(rig)
        rig.cloud.faults.mend()
        check_always(rig)
        # A certificate that could not be removed is left to the sweep.
        rig.clock.now += 601
        await rig.controller.orphans.sweep(deadline=1e18)
        check_end(rig, story)


async def test_a_certificate_of_a_killed_process_is_swept(rig: ServiceRig) -> None:
    rig.put(tls_secret("shop", "first"))
    rig.put(wire_service(ports={443: "TCP"}, annotations={"tls-cert": "secret:shop", "protocol": "https"}))
    rig.reaper.kill_at, rig.reaper.is_after = 10_000, True
    await until_done(rig)
    rig.remove("web")
    rig.restart()
    rig.annotate("web", tls_cert=None)
    await until_done(rig)
    assert (rig.balancers(), len(rig.cloud.certificates.all)) == ([], 1)
    rig.clock.now += 601
    await rig.controller.orphans.sweep(deadline=1e18)
    assert rig.cloud.certificates.all == {}
    assert rig.api.get("services", WEB.partition("/")[2]) is None
