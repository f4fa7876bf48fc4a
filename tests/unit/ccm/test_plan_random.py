"""Whatever is there and wanted, plans come to an end and touch nothing of others."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.annotations.row import Policy
from ccm.desired.wanted import Wanted
from ccm.model import Balancer, BalancerState, Group, HealthCheck, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_UID_TAG
from ccm.plan import place, removal
from tests.unit.ccm.planning import DNS, HTTP, MARKS, TLS, World, done, planned, reasons, want

_SHAPES = st.sampled_from(
    [
        Shape(),
        Shape(),
        Shape(vpc_id="v1"),
        Shape(internal=True),
        Shape(families=("ipv4", "ipv6"), static_addresses=("192.0.2.1",)),
        Shape(families=("ipv6", "ipv4"), static_addresses=("192.0.2.1",)),
    ]
)
_VARIANTS = [
    *(replace(one, target_port=number) for one in (HTTP, TLS, DNS) for number in (1, 2)),
    replace(HTTP, forwarded_for=False),
    replace(HTTP, allowed_sources=("10.0.0.0/8", "192.0.2.0/24")),
    replace(HTTP, allowed_sources=("192.0.2.0/24", "10.0.0.0/8")),
    replace(DNS, health_check=HealthCheck(protocol="tcp", port=1, path="/x")),
]
_LISTENERS = st.lists(st.sampled_from(_VARIANTS), unique_by=lambda one: one.name, max_size=2).map(tuple)
_TARGETS = st.lists(st.sampled_from([Target(one) for one in "abcd"]), unique=True).map(tuple)


def _groups(name: str) -> st.SearchStrategy[Group]:
    return st.builds(Group, name=st.just(name), listeners=_LISTENERS, targets=_TARGETS)


_WANTED = st.builds(
    want,
    name=st.sampled_from(["web", "shop"]),
    size=st.sampled_from(["", "small", "large"]),
    shape=_SHAPES,
    group=_groups("u1"),
    adopt_id=st.sampled_from(["", "", "lb9"]),
    host_uid=st.sampled_from(["", "", "u0"]),
    may_recreate=st.booleans(),
)
_TAGS = st.sampled_from(
    [
        MARKS,
        {**MARKS, SERVICE_UID_TAG: "u0"},
        {**MARKS, SERVICE_UID_TAG: "u7"},
        {"owner": "ops"},
        {**MARKS, CLUSTER_TAG: "x"},
    ]
)


def _balancers(name: str) -> st.SearchStrategy[Balancer]:
    return st.builds(
        Balancer,
        id=st.just(name),
        name=st.sampled_from(["web", "other"]),
        state=st.sampled_from([BalancerState.ACTIVE, BalancerState.ERROR, BalancerState.GOING]),
        shape=_SHAPES,
        size=st.sampled_from(["small", "medium"]),
        tags=_TAGS,
        groups=st.lists(st.one_of(_groups("u1"), _groups("u0"), _groups("theirs")), unique_by=lambda one: one.name).map(
            tuple
        ),
    )


_WORLDS = st.lists(st.sampled_from(["lb1", "lb2", "lb9"]), unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: _balancers(name) for name in names})
)


@settings(deadline=None)
@given(_WANTED, _WORLDS)
def test_a_plan_that_was_done_leaves_nothing_to_do(wanted: Wanted, world: World):
    if wanted.adopt_id:
        wanted = replace(wanted, host_uid="")
    plan = planned(wanted, world)
    after = done(plan, world)
    again = planned(wanted, after)
    assert again.is_empty, str(again)
    assert reasons(again) == reasons(plan)
    if not plan.refusals:
        home = place(wanted, tuple(after.values())).home
        assert home is not None
        assert home.group("u1") is not None


@settings(deadline=None)
@given(_WANTED, _WORLDS)
def test_what_is_not_ours_stays_as_it_is(wanted: Wanted, world: World):
    after = done(planned(wanted, world), world)
    for name, before in world.items():
        others = [one for one in before.groups if one.name != "u1"]
        if others or before.tags.get(CLUSTER_TAG) != "blue":
            assert [one for one in after[name].groups if one.name != "u1"] == others
        if before.tags.get(CLUSTER_TAG) != "blue":
            assert replace(after[name], groups=()) == replace(before, groups=())


@settings(deadline=None)
@given(_WORLDS, st.sampled_from([Policy.DELETE, Policy.KEEP_ADDRESS]))
def test_a_removal_that_was_done_leaves_nothing_of_the_service(world: World, policy: Policy):
    after = done(removal("u1", "blue", policy, tuple(world.values())), world)
    for one in after.values():
        assert one.state is BalancerState.GOING or one.group("u1") is None
