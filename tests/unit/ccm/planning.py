"""Wishes, load balancers, and what a plan does to them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ccm.desired.wanted import Wanted
from ccm.model import Balancer, BalancerState, Group, Listener, Protocol, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.notices import Reason
from ccm.plan import Create, Delete, DeleteGroup, Modify, Plan, PutGroup, diff, place

HTTP = Listener(name="tcp-80", protocol=Protocol.TCP, port=80, target_port=30080)
TLS = Listener(name="tcp-443", protocol=Protocol.HTTPS, port=443, target_port=30443, certificate_ids=("c",))
DNS = Listener(name="udp-53", protocol=Protocol.UDP, port=53, target_port=30053)
GUARD = (CLUSTER_TAG, "blue")
MARKS = {CLUSTER_TAG: "blue", SERVICE_UID_TAG: "u1", SERVICE_TAG: "shop/web"}


def group(name: str = "u1", *listeners: Listener, targets: str = "ab") -> Group:
    return Group(name=name, listeners=listeners or (HTTP,), targets=tuple(Target(one) for one in targets))


def want(**more: Any) -> Wanted:
    fields: dict[str, Any] = {
        "service_uid": "u1",
        "name": "web",
        "shape": Shape(),
        "size": "small",
        "tags": MARKS,
        "group": group(),
        "idempotency_key": "key",
    }
    return Wanted(**(fields | more))


def there(**more: Any) -> Balancer:
    fields: dict[str, Any] = {
        "id": "lb1",
        "name": "web",
        "state": BalancerState.ACTIVE,
        "tags": MARKS,
        "groups": (group(),),
    }
    return Balancer(**(fields | more))


World = Mapping[str, Balancer]


def done(plan: Plan, world: World) -> dict[str, Balancer]:
    """What the platform has after a plan was carried out."""
    after = dict(world)
    for step in plan.steps:
        match step:
            case Create(new):
                name = f"new{len(after)}"
                after[name] = Balancer(
                    id=name,
                    name=new.name,
                    state=BalancerState.ACTIVE,
                    shape=replace(new.shape, vpc_id=new.shape.vpc_id or "chosen"),
                    size=new.size,
                    tags=new.tags,
                    groups=(new.group,),
                )
            case Modify(balancer_id, name, size, tags):
                old = after[balancer_id]
                merged = {key: value for key, value in {**old.tags, **tags}.items() if value}
                after[balancer_id] = replace(old, name=name or old.name, size=size or old.size, tags=merged)
            case PutGroup(balancer_id, name, listeners, targets):
                old = after[balancer_id]
                was = old.group(name) or Group(name=name)
                put = Group(
                    name=name,
                    listeners=was.listeners if listeners is None else listeners,
                    targets=was.targets if targets is None else targets,
                )
                after[balancer_id] = replace(old, groups=(*(one for one in old.groups if one.name != name), put))
            case DeleteGroup(balancer_id, name):
                old = after[balancer_id]
                after[balancer_id] = replace(old, groups=tuple(one for one in old.groups if one.name != name))
            case Delete(balancer_id, guard):
                assert after[balancer_id].tags.get(guard[0]) == guard[1]
                del after[balancer_id]
    return after


def planned(wanted: Wanted, world: World) -> Plan:
    found = place(wanted, tuple(world.values()))
    return diff(wanted, found.home, old=found.old)


def reasons(plan: Plan) -> list[Reason]:
    return [one.reason for one in plan.refusals]
