"""Routes to pods, where the platform has any; and that nothing happens where it has none."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ccm.controllers.routes import CONDITION, RouteController, RouteSettings
from ccm.desired.routes import Route, networks
from ccm.ports import CloudError
from tests.support.fake_cloud import Faults, server_error
from tests.unit.ccm.controllers.rig import Rig, iid, wire_node

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeRoutes:
    """Routes in memory."""

    def __init__(self, faults: Faults) -> None:
        self.all: set[Route] = set()
        self.faults = faults

    async def routes(self, *, deadline: float) -> Sequence[Route]:
        await self.faults.before("routes", "", deadline)
        return sorted(self.all)

    async def create(self, route: Route, *, deadline: float) -> None:
        await self.faults.before("create_route", route.destination, deadline)
        self.all.add(route)

    async def delete(self, route: Route, *, deadline: float) -> None:
        await self.faults.before("delete_route", route.destination, deadline)
        self.all.discard(route)


def controller(rig: Rig, routes: FakeRoutes | None) -> RouteController:
    settings = RouteSettings(cluster_networks=networks(["10.244.0.0/16"]))
    return RouteController(
        rig.store, rig.kube, routes, rig.events, settings=settings, metrics=rig.metrics, now=lambda: NOW
    )


def condition(rig: Rig, number: int) -> dict[str, Any] | None:
    wire = rig.wire(number)
    assert wire is not None
    return next((one for one in wire["status"]["conditions"] if one["type"] == CONDITION), None)


async def test_a_platform_without_routes_is_left_alone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.put(wire_node(1, pod_cidrs=["10.244.1.0/24"]))
    nothing = controller(rig, None)
    with caplog.at_level(logging.INFO):
        await asyncio.wait_for(nothing.run(), 5)
    assert "no routes whose target is an instance" in caplog.text
    assert await nothing.sync()
    assert (rig.writes, rig.cloud.calls) == ([], [])


async def test_a_route_for_each_network_and_the_condition_once(rig: Rig) -> None:
    routes = FakeRoutes(rig.cloud.faults)
    rig.put(wire_node(1, pod_cidrs=["10.244.1.0/24", "fd00:1::/64"]), wire_node(2, pod_cidrs=["10.244.2.0/24"]))
    rig.put(wire_node(3), wire_node(4, provider_id="kwok://n4", pod_cidrs=["10.244.4.0/24"]))
    made = controller(rig, routes)
    assert await made.sync()
    assert routes.all == {
        Route("10.244.1.0/24", iid(1)),
        Route("fd00:1::/64", iid(1)),
        Route("10.244.2.0/24", iid(2)),
    }
    found = condition(rig, 1)
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "RouteCreated")
    assert found["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    wire = rig.wire(1)
    assert wire is not None
    assert wire["status"]["conditions"][0]["lastHeartbeatTime"] == "2026-01-01T00:00:00Z"
    assert (condition(rig, 3), condition(rig, 4)) == (None, None)
    rig.watch()
    before = len(rig.writes), len(rig.cloud.calls)
    assert await made.sync()
    assert (len(rig.writes), len(rig.cloud.calls)) == (before[0], before[1] + 1)


async def test_a_route_that_cannot_be_made_is_told_and_tried_again(rig: Rig) -> None:
    routes = FakeRoutes(rig.cloud.faults)
    rig.put(wire_node(1, pod_cidrs=["10.244.1.0/24"]), wire_node(2, pod_cidrs=["10.244.2.0/24"]))
    rig.cloud.faults.fail("create_route", server_error(), about="10.244.1.0/24", times=1)
    made = controller(rig, routes)
    assert not await made.sync()
    first, second = condition(rig, 1), condition(rig, 2)
    assert first is not None
    assert second is not None
    assert (first["status"], first["reason"]) == ("True", "NoRouteCreated")
    assert second["status"] == "False"
    assert rig.events.reasons() == ["FailedToCreateRoute"]
    rig.watch()
    assert await made.sync()
    first = condition(rig, 1)
    assert first is not None
    assert first["status"] == "False"


async def test_stale_routes_go_and_others_stay(rig: Rig) -> None:
    routes = FakeRoutes(rig.cloud.faults)
    other = Route("192.168.7.0/24", iid(9))
    routes.all = {Route("10.244.9.0/24", iid(9)), other}
    assert await controller(rig, routes).sync()
    assert routes.all == {other}


async def test_the_condition_of_another_network_is_not_fought_with(rig: Rig) -> None:
    theirs = {"type": CONDITION, "status": "False", "reason": "CalicoIsUp"}
    rig.put(wire_node(1, pod_cidrs=["10.244.1.0/24"], conditions=[theirs]))
    rig.cloud.faults.fail("create_route", server_error())
    await controller(rig, FakeRoutes(rig.cloud.faults)).sync()
    assert condition(rig, 1) == theirs


async def test_an_unclear_platform_changes_nothing(rig: Rig) -> None:
    routes = FakeRoutes(rig.cloud.faults)
    rig.put(wire_node(1, pod_cidrs=["10.244.1.0/24"]))
    rig.cloud.faults.fail("routes", server_error())
    with pytest.raises(CloudError):
        await controller(rig, routes).sync()
    assert rig.writes == []
