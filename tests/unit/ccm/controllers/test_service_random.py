"""Whatever users, nodes, the platform and the API server do in whatever order: it ends as the services want it."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccm.desired.services import needs_balancer
from ccm.names import BALANCER_CLASS
from ccm.ports import CloudError
from tests.support.fake_api_faults import Trouble
from tests.support.fake_cloud import rate_limited, server_error
from tests.unit.ccm.controllers.rig import iid
from tests.unit.ccm.controllers.service_rig import KilledError, ServiceRig, running_service_rig, wire_service

NAMES = ("a", "b", "c")
NODES = range(1, 6)
WRITES = ("create", "put_group", "modify", "delete", "delete_group")

name = st.sampled_from(NAMES)
number = st.sampled_from(NODES)
steps = st.one_of(
    st.tuples(st.just("put"), name, st.sets(st.sampled_from((80, 81, 443)), min_size=1)),
    st.tuples(st.just("type"), name, st.sampled_from(("ClusterIP", "LoadBalancer"))),
    st.tuples(st.just("share"), name, name),
    st.tuples(st.just("internal"), name, st.sampled_from(("true", None))),
    st.tuples(st.just("size"), name, st.sampled_from(("small", "large", "wrong", None))),
    st.tuples(st.just("remove"), name, st.none()),
    st.tuples(st.just("node"), number, st.booleans()),
    st.tuples(st.just("cloud"), st.sampled_from((*WRITES, "balancers", "get")), st.sampled_from(("no", "lost", "429"))),
    st.tuples(st.just("kube"), st.sampled_from(("PATCH", "GET")), st.sampled_from((Trouble.DROP, Trouble.LOST, 500))),
    st.tuples(st.just("kill"), st.integers(0, 8), st.booleans()),
    st.tuples(st.just("pass"), name, st.none()),
    st.tuples(st.just("steal"), name, st.none()),
)


class Player:
    """Does the steps."""

    def __init__(self, rig: ServiceRig) -> None:
        self.rig = rig

    async def do(self, step: tuple[Any, Any, Any]) -> None:  # noqa: PLR0912 - one case for each kind of step
        kind, one, two = step
        rig = self.rig
        if kind in {"type", "share", "internal", "size", "remove", "steal"} and rig.api.get("services", one) is None:
            return
        match kind:
            case "put":
                self._put(one, two)
            case "type":
                rig.edit(one, {"spec": {"type": two}})
            case "share":
                rig.annotate(one, share_with=f"default/{two}")
            case "internal":
                rig.annotate(one, internal=two, recreate="allow")
            case "size":
                rig.annotate(one, size=two)
            case "remove":
                rig.remove(one)
            case "node":
                self._node(one, is_there=two)
            case "steal":
                # Somebody deletes the load balancer at the platform.
                for found in [found for found in rig.balancers() if found.group(rig.uid(one))]:
                    del rig.cloud.balancers.all[found.id]
            case "cloud":
                failure = rate_limited(1.0) if two == "429" else server_error()
                rig.cloud.faults.fail(one, failure, times=1, after=two == "lost")
            case "kube":
                status, trouble = (two, None) if isinstance(two, int) else (0, two)
                rig.api.fail(one, "/api/v1/namespaces/default/services", status=status, trouble=trouble)
            case _:
                await self._passes(one, is_killed=kind == "kill", is_after=bool(two))

    def _put(self, which: str, ports: set[int]) -> None:
        old = self.rig.api.get("services", which)
        if old is None:
            self.rig.put(wire_service(which, ports=dict.fromkeys(sorted(ports), "TCP")))
        elif "deletionTimestamp" not in old["metadata"]:
            self.rig.edit(
                which, {"spec": {"ports": wire_service(ports=dict.fromkeys(sorted(ports), "TCP"))["spec"]["ports"]}}
            )

    def _node(self, which: int, *, is_there: bool) -> None:
        if is_there:
            self.rig.add_nodes(which)
        elif self.rig.api.get("nodes", f"n{which}") is not None:
            self.rig.api.delete("nodes", f"n{which}")
            self.rig.watch()
        self.rig.nodes_settled()

    async def _passes(self, one: Any, *, is_killed: bool, is_after: bool) -> None:
        rig = self.rig
        if is_killed:
            rig.reaper.kill_at, rig.reaper.is_after = len(rig.reaper.passed) + one, is_after
        try:
            await rig.settle(*(f"default/{key}" for key in NAMES), rounds=1)
        except KilledError:
            rig.restart()
        rig.reaper.kill_at = -1


def check(rig: ServiceRig) -> None:
    groups = [group for one in rig.balancers() for group in one.groups]
    uids = [group.name for group in groups]
    wanting = {one.metadata.uid: one for one in rig.services.values() if needs_balancer(one, BALANCER_CLASS)}
    assert len(uids) == len(set(uids)), "a service is on two load balancers"
    assert set(uids) <= set(wanting), "something is left over"
    targets = {iid(int(node.key[1:])) for node in rig.nodes.values()}
    addresses = {address.address for one in rig.balancers() for address in one.addresses}
    for uid, service in wanting.items():
        published = {point["ip"] for point in rig.ingress(service.metadata.name)}
        assert published <= addresses
        is_refused = "degraded-reason" in rig.said(service.metadata.name)
        group = next((one for one in groups if one.name == uid), None)
        assert (group is not None and published) or is_refused, "neither there nor refused"
        if group is not None:
            assert {one.instance_id for one in group.targets} == targets
        if group is not None and "wrong" not in str(rig.said(service.metadata.name)):
            assert {one.port for one in group.listeners} == {one.port for one in service.ports} or is_refused
    for service in rig.services.values():
        if service.metadata.uid not in wanting:
            assert rig.ingress(service.metadata.name) == []
            assert not rig.is_held(service.metadata.name)


async def play(script: list[tuple[Any, Any, Any]]) -> None:
    async with running_service_rig() as rig:
        rig.add_nodes(1)
        player = Player(rig)
        for step in script:
            await player.do(step)
        rig.cloud.faults.mend()
        rig.api.heal()
        rig.restart()
        await rig.settle(*(f"default/{key}" for key in NAMES), rounds=15)
        check(rig)
        since = rig.quiet()
        rig.restart()
        await rig.settle(rounds=3)
        assert (since.cloud_writes, since.kube_writes) == ([], []), "what is as it should be was written again"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=3, max_size=25))
def test_it_ends_as_the_services_want_it(script: list[tuple[Any, Any, Any]]) -> None:
    asyncio.run(play(script))


async def test_a_burst_of_failures_ends_well() -> None:
    async with running_service_rig() as rig:
        rig.add_nodes(1)
        for point in WRITES:
            rig.cloud.faults.fail(point, server_error(), times=3)
        rig.put(wire_service("a"))
        failures = 0
        for _ in range(5):
            try:
                await rig.sync("default/a")
            except CloudError:
                failures += 1
        assert failures == 3
        check(rig)
