"""The endpoint: a load balancer with the cluster's tag where the platform has one with an address, else none."""

from pathlib import Path
from typing import Any

import pytest

from devcloud.balancing.path import NoPath
from devcloud.balancing.plan import Plan
from devcloud.balancing.worker import Worker
from devcloud.errors import BackendError
from devcloud.faults import Kind as Trouble
from devcloud.network_rows import BALANCERS
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, EndpointFacts, External, Kind, MachineFacts
from kaas.drivers.thecloud.options import DriverOptions
from tests.unit.kaas.drivers_thecloud.conftest import (
    CLUSTER,
    ENDPOINT,
    OTHER,
    Site,
    endpoint,
    machine,
    running,
    soon,
)

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"


async def find(site: Site, name: str = "") -> list[External]:
    return list(await site.driver.find(Kind.ENDPOINT, CLUSTER, name=name, deadline=soon()))


async def only(site: Site) -> Any:
    (row,) = await site.rows(BALANCERS)
    return row


def facts(one: External) -> EndpointFacts:
    assert isinstance(one.facts, EndpointFacts)
    return one.facts


async def test_it_has_an_address_at_once_and_passes_tcp_on_to_control_planes_that_answer(extended: Site) -> None:
    assert await extended.driver.offers_endpoint(deadline=soon())
    first = await extended.launch("dev-control-plane-0")
    made = await extended.driver.create(CLUSTER, endpoint(targets=(first.id,)), deadline=soon())

    row = await only(extended)
    (listener,) = row.groups[0].listeners
    assert row.tags == {"kaas-cluster": CLUSTER}
    assert (listener.protocol, listener.port, listener.target_port, listener.allowed_sources) == ("tcp", 6443, 6443, [])
    assert (listener.health_check.protocol, listener.health_check.port) == ("tcp", 6443)
    assert facts(made) == EndpointFacts(row.addresses[0].address, 6443, (first.id,))
    assert made.condition in {Condition.PENDING, Condition.READY}
    assert extended.served.cloud is not None
    await Worker(extended.served.cloud).run_once()
    assert [one.condition for one in await find(extended, ENDPOINT)] == [Condition.READY]
    assert await find(extended, "k8s-other") == []


async def test_targets_and_port_change_in_one_write_and_only_if_they_differ(extended: Site) -> None:
    first, second = [await extended.launch(f"dev-control-plane-{number}") for number in range(2)]
    made = await extended.driver.create(CLUSTER, endpoint(targets=(first.id,)), deadline=soon())
    await extended.call("DELETE", "/_devcloud/calls")
    wish = endpoint(targets=(first.id, second.id), port=7443)

    changed = await extended.driver.update(made, wish, deadline=soon())
    again = await extended.driver.update(made, wish, deadline=soon())

    assert set(facts(changed).targets) == set(facts(again).targets) == {first.id, second.id}
    assert (facts(changed).port, facts(changed).host) == (7443, facts(made).host)
    calls = await extended.call("GET", "/_devcloud/calls")
    assert calls["PUT /lb/{ref}/groups/{name}"]["count"] == 1
    await extended.driver.update(made, endpoint(), deadline=soon())
    assert facts((await find(extended))[0]).targets == ()


async def test_narrow_sources_let_nodes_and_conductors_in_as_well(tmp_path: Path) -> None:
    async with running(tmp_path, "extended", DriverOptions(conductor_sources=("10.7.0.9/32",))) as site:
        one = await site.launch("dev-control-plane-0")
        wish = endpoint(sources=("192.0.2.0/24",), targets=(one.id,))
        made = await site.driver.create(CLUSTER, wish, deadline=soon())
        await site.driver.update(made, wish, deadline=soon())

        assert isinstance(one.facts, MachineFacts)
        (listener,) = (await only(site)).groups[0].listeners
        vpc = (await site.call("GET", "/vpcs"))[0]["cidr_block"]
        assert listener.allowed_sources == ["192.0.2.0/24", vpc, "10.7.0.9/32", f"{one.facts.address}/32"]
        await site.driver.update(made, endpoint(), deadline=soon())
        assert (await only(site)).groups[0].listeners[0].allowed_sources == []


async def test_creating_it_again_changes_the_one_that_is_there(extended: Site) -> None:
    one = await extended.launch("dev-control-plane-0")
    made = await extended.driver.create(CLUSTER, endpoint(), deadline=soon())

    again = await extended.driver.create(CLUSTER, endpoint(targets=(one.id,)), deadline=soon())

    assert (again.id, facts(again).targets) == (made.id, (one.id,))
    assert (await only(extended)).id == made.id


async def test_one_that_a_listing_does_not_show_is_not_made_twice(extended: Site) -> None:
    one = await extended.launch("dev-control-plane-0")
    extended.trouble(Trouble.STALE_READ, "/lb", "GET", count=None, seconds=600.0)
    made = await extended.driver.create(CLUSTER, endpoint(), deadline=soon())
    same = await extended.driver.create(CLUSTER, endpoint(), deadline=soon())
    with pytest.raises(StepError, match="idempotency key") as other:
        await extended.driver.create(CLUSTER, endpoint(targets=(one.id,)), deadline=soon())
    assert (other.value.code, other.value.retryable) == (Code.PLATFORM_UNAVAILABLE, True)
    extended.calm()

    assert same.id == made.id == (await extended.driver.create(CLUSTER, endpoint(), deadline=soon())).id
    assert (await only(extended)).id == made.id


async def test_a_target_that_has_gone_is_tried_again(extended: Site) -> None:
    made = await extended.driver.create(CLUSTER, endpoint(), deadline=soon())

    for attempt in (
        extended.driver.update(made, endpoint(targets=(NOWHERE,)), deadline=soon()),
        extended.driver.create(OTHER, endpoint(name="k8s-x", targets=(NOWHERE,)), deadline=soon()),
    ):
        with pytest.raises(StepError, match=NOWHERE) as gone:
            await attempt
        assert (gone.value.code, gone.value.retryable) == (Code.NOT_READY, True)
    assert len(await extended.rows(BALANCERS)) == 1


async def test_an_error_of_the_platform_is_waited_for_with_its_reason(tmp_path: Path) -> None:
    class NoRoom(NoPath):
        async def apply(self, plan: Plan) -> None:
            raise BackendError("no room")

    async with running(tmp_path, "extended", path=NoRoom()) as site:
        made = await site.driver.create(CLUSTER, endpoint(), deadline=soon())
        assert site.served.cloud is not None
        await Worker(site.served.cloud).run_once()

        (seen,) = await find(site)

        assert (seen.id, seen.condition, seen.message) == (made.id, Condition.PENDING, "no room")


async def test_load_balancers_of_others_are_neither_shown_nor_changed_nor_deleted(extended: Site) -> None:
    theirs = await extended.call("POST", "/lb", name=ENDPOINT)
    other = await extended.driver.create(OTHER, endpoint(), deadline=soon())
    assert await find(extended) == []

    for external in (
        External(Kind.ENDPOINT, theirs["id"], ENDPOINT, Condition.READY),
        External(Kind.ENDPOINT, other.id, ENDPOINT, Condition.READY, cluster_id=CLUSTER),
    ):
        with pytest.raises(StepError, match="left as it is"):
            await extended.driver.delete(external, deadline=soon())
        with pytest.raises(StepError, match="left as it is"):
            await extended.driver.update(external, endpoint(), deadline=soon())
    assert len(await extended.rows(BALANCERS)) == 2


async def test_it_goes_once_and_is_made_anew(extended: Site) -> None:
    made = await extended.driver.create(CLUSTER, endpoint(), deadline=soon())
    await extended.driver.delete(External(Kind.ENDPOINT, made.id, ENDPOINT, Condition.READY), deadline=soon())
    await extended.driver.delete(made, deadline=soon())
    assert await find(extended) == []
    with pytest.raises(StepError, match="made anew") as gone:
        await extended.driver.update(made, endpoint(), deadline=soon())
    assert gone.value.code is Code.NOT_READY

    assert (await extended.driver.create(CLUSTER, endpoint(), deadline=soon())).id != made.id


async def test_strict_there_is_none_and_the_error_says_what_takes_its_place(strict: Site) -> None:
    await strict.driver.create(CLUSTER, machine(), deadline=soon())
    assert not await strict.driver.offers_endpoint(deadline=soon())
    assert await find(strict) == []

    with pytest.raises(StepError, match="one control plane") as refused:
        await strict.driver.create(CLUSTER, endpoint(), deadline=soon())

    assert (refused.value.code, refused.value.retryable) == (Code.NOT_OFFERED, False)
    assert await strict.rows(BALANCERS) == []
