"""Which changes of services are looked at."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ccm.names import BALANCER_PREFIX
from tests.unit.ccm.controllers.service_rig import WEB, ServiceRig, running_service_rig, wire_service


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Two nodes, a platform, and a service controller."""
    async with running_service_rig() as running:
        running.add_nodes(1, 2)
        yield running


@pytest.mark.parametrize(
    ("change", "is_news"),
    [
        ({"metadata": {"labels": {"a": "b"}}}, False),
        ({"spec": {"selector": {"app": "x"}}}, False),
        ({"spec": {"internalTrafficPolicy": "Local"}}, False),
        ({"metadata": {"annotations": {"example.com/x": "y"}}}, True),
        ({"metadata": {"annotations": {BALANCER_PREFIX + "observed-hash": "x"}}}, False),
        ({"metadata": {"finalizers": None}}, True),
        ({"spec": {"sessionAffinity": "ClientIP"}}, True),
        ({"spec": {"externalTrafficPolicy": "Local"}}, True),
        ({"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}, True),
        ({"spec": {"ports": wire_service(ports={81: "TCP"})["spec"]["ports"]}}, True),
        ({"spec": {"type": "ClusterIP"}}, True),
    ],
)
async def test_which_changes_are_looked_at(rig: ServiceRig, change: dict[str, Any], is_news: bool) -> None:
    rig.put(wire_service())
    await rig.settle(WEB)
    assert rig.controller.queue.is_idle
    rig.edit("web", change)
    assert rig.controller.queue.is_idle is not is_news


async def test_services_of_others_are_not_looked_at(rig: ServiceRig) -> None:
    rig.put(wire_service("plain", type="ClusterIP"))
    rig.edit("plain", {"spec": {"sessionAffinity": "ClientIP"}})
    rig.remove("plain")
    assert rig.controller.queue.is_idle
