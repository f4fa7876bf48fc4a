from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ccm.annotations.row import Policy
from ccm.model import Balancer, BalancerState, HealthCheck, Listener, Protocol, Shape, Sticky, StickyMode, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.notices import Reason
from ccm.plan import Create, Delete, DeleteGroup, Modify, Plan, PutGroup, diff, follow, place, removal
from tests.unit.ccm.planning import GUARD, HTTP, MARKS, TLS, done, group, planned, reasons, there, want


def test_nothing_there_is_made_with_its_group_at_once():
    plan = diff(want(), None)
    assert plan.steps == (Create(want().new),)
    assert str(plan) == "create load balancer web (1 listeners, 2 targets)"


def test_equal_is_nothing_to_do():
    plan = diff(want(), there())
    assert plan == Plan()
    assert plan.is_empty
    assert str(plan) == "nothing to do"


def test_a_hundred_new_nodes_are_one_write_of_targets():
    many = tuple(Target(f"i{number:03}") for number in range(102))
    plan = diff(want(group=replace(group(), targets=many)), there())
    assert plan.steps == (PutGroup("lb1", "u1", targets=many),)
    assert str(plan) == "put 102 targets of group u1 on load balancer lb1"


def test_listeners_and_targets_that_both_differ_are_one_write():
    new = group("u1", HTTP, TLS, targets="c")
    assert diff(want(group=new), there()).steps == (PutGroup("lb1", "u1", new.listeners, new.targets),)
    assert diff(want(group=group("u1", TLS)), there()).steps == (PutGroup("lb1", "u1", listeners=(TLS,)),)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": Protocol.HTTP},
        {"port": 81},
        {"target_port": 1},
        {"proxy_protocol": "v1"},
        {"transparent": True},
        {"sticky": Sticky(mode=StickyMode.SOURCE_IP)},
        {"idle_timeout_s": 1},
        {"max_connections": 1},
        {"allowed_sources": ("10.0.0.0/8",)},
        {"denied_sources": ("10.0.0.0/8",)},
        {"health_check": HealthCheck(protocol="tcp", port=1)},
    ],
)
def test_every_setting_of_a_listener_is_compared(change: Mapping[str, Any]):
    changed = replace(HTTP, **change)
    assert diff(want(group=group("u1", changed)), there()).steps == (PutGroup("lb1", "u1", listeners=(changed,)),)


@pytest.mark.parametrize(
    ("wanted", "observed"),
    [
        ((HTTP, TLS), (TLS, HTTP)),
        ((HTTP,), (replace(HTTP, forwarded_for=False, tls_policy="modern", certificate_ids=("x",)),)),
        ((replace(TLS, tls_policy="intermediate"),), (TLS,)),
        ((replace(HTTP, allowed_sources=("a", "b")),), (replace(HTTP, allowed_sources=("b", "a")),)),
        ((HTTP,), (replace(HTTP, sticky=Sticky(cookie_name="x", ttl_s=9)),)),
        (
            (replace(HTTP, sticky=Sticky(mode=StickyMode.SOURCE_IP)),),
            (replace(HTTP, sticky=Sticky(mode=StickyMode.SOURCE_IP, cookie_name="x")),),
        ),
        (
            (replace(HTTP, health_check=HealthCheck(protocol="tcp", port=1)),),
            (replace(HTTP, health_check=HealthCheck(protocol="tcp", port=1, path="/healthz", codes="200-299")),),
        ),
        (
            (replace(HTTP, health_check=HealthCheck(protocol="http", port=1, path="/healthz", codes="200-299")),),
            (replace(HTTP, health_check=HealthCheck(protocol="http", port=1, verify_tls=True)),),
        ),
    ],
)
def test_what_a_platform_fills_in_is_no_difference(wanted: tuple[Listener, ...], observed: tuple[Listener, ...]):
    assert diff(want(group=group("u1", *wanted)), there(groups=(group("u1", *observed),))).is_empty


def test_order_of_targets_is_no_difference_and_their_weight_is():
    assert diff(want(), there(groups=(group(targets="ba"),))).is_empty
    heavy = replace(group(), targets=(Target("a", 5), Target("b")))
    assert not diff(want(), there(groups=(heavy,))).is_empty


def test_name_size_and_tags_are_changed_in_place():
    old = there(name="old", size="large", tags={**MARKS, SERVICE_TAG: "shop/old", "mine": "kept"})
    plan = diff(want(), old)
    assert plan.steps == (Modify("lb1", "web", "small", {SERVICE_TAG: "shop/web"}),)
    assert diff(want(), done(plan, {"lb1": old})["lb1"]).is_empty
    assert str(plan) == "modify load balancer lb1: name web, size small, tag kubernetes.io/service=shop/web"


def test_a_platform_without_sizes_is_not_asked_for_one():
    assert diff(want(size=""), there(size="anything")).is_empty


@pytest.mark.parametrize(
    ("shape", "observed"),
    [
        (Shape(), Shape(vpc_id="v1")),
        (Shape(vpc_id="v1"), Shape(vpc_id="v1")),
        (Shape(families=("ipv4", "ipv6")), Shape(families=("ipv6", "ipv4"))),
        (Shape(static_addresses=("a", "b")), Shape(static_addresses=("b", "a"))),
    ],
)
def test_shapes_that_are_equal(shape: Shape, observed: Shape):
    assert diff(want(shape=shape), there(shape=observed)).is_empty


@pytest.mark.parametrize(
    "shape",
    [
        Shape(internal=True),
        Shape(families=("ipv4", "ipv6")),
        Shape(static_addresses=("192.0.2.1",)),
        Shape(vpc_id="v2"),
    ],
)
def test_another_shape_takes_another_load_balancer_and_leave(shape: Shape):
    new = group("u1", HTTP, TLS, targets="c")
    observed = there(shape=Shape(vpc_id="v1"))
    plan = diff(want(shape=shape, group=new), observed)
    assert reasons(plan) == [Reason.NEEDS_RECREATE]
    assert "loadbalancer.thecloud.dev/recreate" in plan.refusals[0].text
    # A port that the service wants to keep inside must not come up on the public one; nodes come and go.
    assert plan.steps == (PutGroup("lb1", "u1", targets=new.targets),)

    allowed = want(shape=shape, group=new, may_recreate=True)
    assert diff(allowed, observed).steps == (Delete("lb1", GUARD), Create(allowed.new))
    after = done(diff(allowed, observed), {"lb1": observed})
    assert len(after) == 1
    assert planned(allowed, after).is_empty


def test_a_shared_one_is_never_made_anew():
    observed = there(groups=(group(), group("u2", TLS)))
    plan = diff(want(shape=Shape(internal=True), may_recreate=True), observed)
    assert reasons(plan) == [Reason.CONFLICT]
    assert plan.is_empty


ADOPTED = {"adopt_id": "lb9"}
FOREIGN = there(id="lb9", name="theirs", size="large", tags={"owner": "ops"}, groups=(group("theirs", TLS),))


def test_of_an_adopted_one_only_our_group_is_written():
    plan = diff(want(**ADOPTED), FOREIGN)
    assert plan.steps == (PutGroup("lb9", "u1", group().listeners, group().targets),)
    after = done(plan, {"lb9": FOREIGN})["lb9"]
    assert after.group("theirs") == FOREIGN.group("theirs")
    assert diff(want(**ADOPTED), after) == Plan()
    assert diff(want(shape=Shape(vpc_id="v", families=("ipv6",)), **ADOPTED), after).is_empty


def test_an_adopted_one_that_is_missing_or_public_or_taken_is_refused():
    assert reasons(diff(want(**ADOPTED), None)) == [Reason.CONFLICT]
    assert reasons(diff(want(shape=Shape(internal=True), **ADOPTED), FOREIGN)) == [Reason.CONFLICT]
    plan = diff(want(group=group("u1", replace(TLS, target_port=1)), **ADOPTED), FOREIGN)
    assert reasons(plan) == [Reason.CONFLICT]
    assert "tcp port 443 is taken by group theirs" in str(plan)
    quic = Listener(name="udp-443", protocol=Protocol.UDP, port=443, target_port=1)
    assert reasons(diff(want(group=group("u1", quic), **ADOPTED), FOREIGN)) == []


def test_guests_write_their_group_on_the_hosts_and_wait_for_it():
    host = there(tags={**MARKS, SERVICE_UID_TAG: "u0"}, groups=(group("u0", TLS),), name="host", size="large")
    guest = want(host_uid="u0")
    assert reasons(planned(guest, {})) == [Reason.NOT_SHARED]
    plan = planned(guest, {"lb1": host})
    assert plan.steps == (PutGroup("lb1", "u1", group().listeners, group().targets),)
    assert planned(guest, done(plan, {"lb1": host})) == Plan()


def test_to_move_to_a_shared_one_costs_the_address():
    host = there(id="lb0", tags={**MARKS, SERVICE_UID_TAG: "u0"}, groups=(group("u0", TLS),))
    world = {"lb0": host, "lb1": there()}
    plan = planned(want(host_uid="u0"), world)
    assert reasons(plan) == [Reason.NEEDS_RECREATE]
    assert plan.is_empty
    moving = want(host_uid="u0", may_recreate=True)
    plan = planned(moving, world)
    assert [type(one) for one in plan.steps] == [PutGroup, Delete]
    after = done(plan, world)
    assert set(after) == {"lb0"}
    assert planned(moving, after) == Plan()
    back = planned(want(may_recreate=True), after)
    assert [type(one) for one in back.steps] == [Create, DeleteGroup]
    assert planned(want(may_recreate=True), done(back, after)) == Plan()


def test_a_refused_move_still_follows_the_nodes():
    host = there(id="lb0", tags={**MARKS, SERVICE_UID_TAG: "u0"}, groups=(group("u0", TLS),))
    plan = planned(want(host_uid="u0", group=group(targets="abc")), {"lb0": host, "lb1": there()})
    assert plan.steps == (PutGroup("lb1", "u1", targets=group(targets="abc").targets),)


def test_when_the_host_goes_the_next_takes_over_without_a_new_address():
    world: dict[str, Balancer] = {
        "lb1": there(tags={**MARKS, SERVICE_UID_TAG: "u0", SERVICE_TAG: "shop/old"}, groups=(group("u0", TLS), group()))
    }
    gone = removal("u0", "blue", Policy.DELETE, tuple(world.values()))
    assert gone.steps == (DeleteGroup("lb1", "u0"),)
    world = done(gone, world)
    plan = planned(want(), world)
    assert plan.steps == (Modify("lb1", tags={SERVICE_UID_TAG: "u1", SERVICE_TAG: "shop/web"}),)
    world = done(plan, world)
    assert removal("u1", "blue", Policy.DELETE, tuple(world.values())).steps == (Delete("lb1", GUARD),)


def test_a_living_hosts_load_balancer_is_not_taken_over():
    shared = there(tags={**MARKS, SERVICE_UID_TAG: "u0"}, groups=(group("u0", TLS), group()))
    assert place(want(), (shared,)).home is None
    assert place(want(), (shared,)).old == (shared,)
    theirs = replace(shared, tags={**shared.tags, CLUSTER_TAG: "green"}, groups=(group(),))
    assert place(want(), (theirs,)).home is None


def test_one_that_is_being_deleted_is_none():
    dying = there(state=BalancerState.GOING)
    assert place(want(), (dying,)) == place(want(), ())
    assert planned(want(), {"lb1": dying}).steps == (Create(want().new),)
    assert removal("u1", "blue", Policy.DELETE, (dying,)).is_empty


def test_of_two_the_first_stays():
    first, second = there(), there(id="lb2")
    plan = planned(want(), {"lb1": first, "lb2": second})
    assert plan.steps == (Delete("lb2", GUARD),)


@pytest.mark.parametrize(
    ("policy", "balancer", "steps"),
    [
        (Policy.DELETE, there(), (Delete("lb1", GUARD),)),
        (Policy.KEEP_ADDRESS, there(), (Delete("lb1", GUARD),)),
        (Policy.DELETE, there(groups=()), (Delete("lb1", GUARD),)),
        (Policy.ORPHAN, there(), (Modify("lb1", tags=dict.fromkeys((CLUSTER_TAG, SERVICE_UID_TAG, SERVICE_TAG), "")),)),
        (Policy.DELETE, replace(FOREIGN, groups=(group(),)), (DeleteGroup("lb9", "u1"),)),
        (Policy.ORPHAN, replace(FOREIGN, groups=(group(),)), ()),
        (Policy.DELETE, FOREIGN, ()),
        (Policy.DELETE, there(groups=(group(), group("u2", TLS))), (DeleteGroup("lb1", "u1"),)),
        (Policy.ORPHAN, there(groups=(group(), group("u2", TLS))), (DeleteGroup("lb1", "u1"),)),
        (Policy.DELETE, there(tags={**MARKS, SERVICE_UID_TAG: "u0"}), (Delete("lb1", GUARD),)),
        (Policy.DELETE, there(tags={**MARKS, CLUSTER_TAG: "green"}), (DeleteGroup("lb1", "u1"),)),
        (Policy.DELETE, there(tags={**MARKS, SERVICE_UID_TAG: "u0"}, groups=()), ()),
    ],
)
def test_what_goes_with_a_service(policy: Policy, balancer: Balancer, steps: tuple[object, ...]):
    plan = removal("u1", "blue", policy, (balancer,))
    assert plan.steps == steps
    after = done(plan, {balancer.id: balancer})
    if policy is not Policy.ORPHAN:
        assert removal("u1", "blue", policy, tuple(after.values())).is_empty


def test_targets_follow_alone():
    three = tuple(Target(one) for one in "abc")
    assert follow("u1", three, (there(), FOREIGN)).steps == (PutGroup("lb1", "u1", targets=three),)
    assert follow("u1", group().targets, (there(),)).is_empty
