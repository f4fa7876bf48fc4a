"""The service controller: what it takes away, what it does when something fails, and what is not its own."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ccm.names import SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import Cause, CloudError
from tests.support.fake_cloud import quota, rate_limited, server_error
from tests.unit.ccm.controllers.service_rig import WEB, ServiceRig, made, running_service_rig, tls_secret, wire_service


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    """Two nodes, a platform, and a service controller."""
    async with running_service_rig(1, 2) as running:
        yield running


# Taking away


async def test_a_deleted_service_leaves_nothing(rig: ServiceRig) -> None:
    await made(rig)
    since = rig.quiet()
    rig.remove("web")
    await rig.settle()
    assert rig.balancers() == []
    assert rig.api.get("services", "web") is None
    assert since.cloud_writes == ["delete"]
    assert since.events == ["DeletingLoadBalancer", "DeletedLoadBalancer"]
    assert len(since.kube_writes) == 1


async def test_a_service_of_another_type_leaves_nothing(rig: ServiceRig) -> None:
    await made(rig)
    rig.edit("web", {"spec": {"type": "ClusterIP"}})
    await rig.settle()
    assert rig.balancers() == []
    assert (rig.is_held(), rig.ingress(), rig.said()) == (False, [], {})
    assert not rig.wire()["status"].get("conditions")


async def test_one_that_is_gone_already_is_no_obstacle(rig: ServiceRig) -> None:
    await made(rig)
    rig.cloud.balancers.all.clear()
    rig.remove("web")
    await rig.settle()
    assert rig.api.get("services", "web") is None


async def test_a_going_service_without_our_finalizer_is_finished(rig: ServiceRig) -> None:
    wire = wire_service()
    wire["metadata"] |= {"finalizers": ["example.com/other"], "deletionTimestamp": "2026-01-02T00:00:00Z"}
    rig.put(wire)
    await rig.settle(WEB)
    assert (rig.balancers(), rig.kube_writes) == ([], 0)


async def test_the_finalizer_stays_until_the_platform_has_let_go(rig: ServiceRig) -> None:
    await made(rig)
    rig.remove("web")
    rig.cloud.faults.fail("delete", server_error(), times=1)
    with pytest.raises(CloudError):
        await rig.sync()
    assert rig.is_held()
    assert rig.events.reasons()[-1] == "DeleteLoadBalancerFailed"
    await rig.settle(WEB)
    assert (rig.balancers(), rig.api.get("services", "web")) == ([], None)


async def test_a_cache_that_says_wrongly_that_it_is_gone_deletes_nothing(rig: ServiceRig) -> None:
    await made(rig)
    rig.services.replace({})
    assert await rig.controller.reconcile(WEB) == 1.0
    assert len(rig.balancers()) == 1


async def test_a_service_whose_finalizer_was_taken_by_force_leaves_nothing(rig: ServiceRig) -> None:
    await made(rig)
    rig.api.delete("services", "web")
    rig.watch()
    await rig.settle()
    assert rig.balancers() == []


async def test_a_new_service_of_the_same_name_gets_its_own(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    rig.api.delete("services", "web")
    rig.put(wire_service())
    assert rig.uid() != one.tags[SERVICE_UID_TAG]
    await rig.settle()
    assert rig.only.id != one.id
    assert rig.only.tags[SERVICE_UID_TAG] == rig.uid()


@pytest.mark.parametrize(("policy", "is_left"), [("delete", False), ("keep-address", False), ("orphan", True)])
async def test_policies(rig: ServiceRig, policy: str, is_left: bool) -> None:
    rig.cloud.balancers.static_addresses["198.51.100.7"] = ""
    await made(rig, annotations={"policy": policy, "static-address": "198.51.100.7"})
    groups = rig.only.groups
    rig.remove("web")
    await rig.settle()
    assert rig.api.get("services", "web") is None
    assert len(rig.balancers()) == is_left
    if is_left:
        assert (rig.only.groups, rig.only.tags) == (groups, {})
    else:
        assert rig.cloud.balancers.static_addresses == {"198.51.100.7": ""}


async def test_what_a_dead_process_made_late_is_found_before_the_finalizer_goes(rig: ServiceRig) -> None:
    await made(rig)
    one = rig.only
    rig.cloud.balancers.all["late"] = replace(one, id="late", addresses=())
    rig.remove("web")
    await rig.settle()
    assert (rig.balancers(), rig.api.get("services", "web")) == ([], None)


# Failures


async def test_a_rate_limit_is_no_failure(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("create", rate_limited(17.0), times=1)
    rig.put(wire_service())
    assert await rig.sync() == 17.0
    assert "SyncLoadBalancerFailed" not in rig.events.reasons()
    await rig.settle(WEB)
    assert rig.ingress() != []


async def test_a_failure_is_told_once(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("create", quota())
    rig.put(wire_service())
    for _ in range(3):
        with pytest.raises(CloudError):
            await rig.sync()
    assert rig.events.reasons().count("SyncLoadBalancerFailed") == 1
    rig.cloud.faults.mend()
    await rig.settle(WEB)
    assert rig.ingress() != []


async def test_what_asking_again_does_not_change_is_asked_seldom(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("create", CloudError(Cause.REFUSED, "no such network"), times=1)
    rig.put(wire_service())
    assert await rig.sync() == 300.0


async def test_a_lost_answer_to_create_makes_no_second_one(rig: ServiceRig) -> None:
    rig.cloud.faults.fail("create", server_error(), times=1, after=True)
    rig.put(wire_service())
    await rig.settle(WEB)
    assert len(rig.balancers()) == 1
    assert rig.cloud.faults.count("create") == 1
    assert rig.ingress() != []


async def test_what_a_dead_process_made_late_is_found_before_another_is_made(rig: ServiceRig) -> None:
    await made(rig, name="other")
    await rig.settle("default/other")
    rig.put(wire_service())
    tags = {**rig.only.tags, SERVICE_UID_TAG: rig.uid(), SERVICE_TAG: WEB}
    rig.cloud.balancers.all["late"] = replace(rig.only, id="late", tags=tags, groups=())
    await rig.settle(WEB)
    assert rig.said()["id"] == "late"
    assert len(rig.balancers()) == 2


async def test_while_listings_fail_nothing_is_made_or_taken_away(rig: ServiceRig) -> None:
    await made(rig)
    rig.put(wire_service("new"))
    rig.restart()
    rig.remove("web")
    rig.cloud.faults.fail("balancers", server_error())
    since = rig.quiet()
    await rig.settle(rounds=3)
    assert since.cloud_writes == []
    assert rig.is_held()
    rig.cloud.faults.mend()
    await rig.settle("default/web", "default/new")
    assert rig.only.tags[SERVICE_TAG] == "default/new"


# Adopting


async def test_an_adopted_one_keeps_what_is_not_ours(rig: ServiceRig) -> None:
    await made(rig, name="other")
    await rig.settle("default/other")
    mine = rig.only
    foreign = type(mine)(id="lb-x", name="x", state=mine.state, groups=mine.groups, addresses=mine.addresses)
    rig.remove("other")
    await rig.settle()
    rig.cloud.balancers.all["lb-x"] = foreign
    await made(rig, ports={443: "TCP"}, annotations={"adopt-id": "lb-x"})
    assert [group.name for group in rig.only.groups] == [foreign.groups[0].name, rig.uid()]
    assert (rig.only.name, rig.only.tags) == ("x", {})
    assert rig.ingress() != []
    since = rig.quiet()
    await rig.sync()
    assert since.cloud_writes == []
    rig.remove("web")
    await rig.settle()
    assert rig.only.groups == foreign.groups


# Certificates


async def test_a_changed_secret_is_followed_and_the_old_certificate_goes(rig: ServiceRig) -> None:
    rig.put(tls_secret("shop-tls", "first"))
    await made(rig, ports={443: "TCP"}, annotations={"tls-cert": "secret:shop-tls", "protocol": "https"})
    (first,) = rig.cloud.certificates.all
    assert rig.only.groups[0].listeners[0].certificate_ids == (first,)
    assert rig.ingress()[0]["ipMode"] == "Proxy"
    rig.put(tls_secret("shop-tls", "second"))
    rig.controller.look_again()
    await rig.settle()
    (second,) = rig.cloud.certificates.all
    assert rig.only.groups[0].listeners[0].certificate_ids == (second,) != (first,)
    rig.remove("web")
    await rig.settle()
    assert (rig.cloud.certificates.all, rig.balancers()) == ({}, [])


async def test_a_missing_secret_is_told_and_what_is_there_stays(rig: ServiceRig) -> None:
    rig.put(tls_secret("shop-tls", "first"))
    await made(rig, ports={443: "TCP"}, annotations={"tls-cert": "secret:shop-tls", "protocol": "https"})
    one = rig.only
    rig.api.delete("secrets", "shop-tls")
    rig.restart()
    await rig.settle()
    assert rig.only == one
    assert "shop-tls" in rig.events.text("CertificateNotFound")
    assert len(rig.cloud.certificates.all) == 1


async def test_the_key_is_in_no_event_and_no_annotation(rig: ServiceRig) -> None:
    rig.put(tls_secret("shop-tls", "first", key="very-private"))
    rig.cloud.faults.fail("create_certificate", CloudError(Cause.REFUSED, "key does not fit"))
    await made(rig, ports={443: "TCP"}, annotations={"tls-cert": "secret:shop-tls", "protocol": "https"})
    assert rig.balancers() == []
    assert "very-private" not in str(rig.events.all) + str(rig.wire())
    assert "key does not fit" in str(rig.events.all)
