"""Load balancers between the client's structs and the controllers' values, both ways (extended tier)."""

import ipaddress
from enum import Enum
from typing import TypeVar

from ccm.model import (
    Algorithm,
    Balancer,
    BalancerAddress,
    BalancerState,
    Group,
    HealthCheck,
    Listener,
    Protocol,
    Shape,
    Sticky,
    StickyMode,
    Target,
)
from thecloud import network_wire as wire

E = TypeVar("E", bound=Enum)

_ENDS_TLS = (Protocol.HTTPS, Protocol.TLS)


def balancer_of(one: wire.LoadBalancer) -> Balancer:
    """Give the load balancer as controllers see it."""
    return Balancer(
        id=one.id,
        name=one.name,
        state=BalancerState(one.status.value),
        state_reason=one.status_reason,
        shape=Shape(
            internal=one.internal,
            families=one.families or ("ipv4",),
            static_addresses=tuple(_canonical(each.address) for each in one.addresses if each.elastic_ip_id),
            vpc_id=one.vpc_id or "",
        ),
        size=one.size or "small",
        tags=one.tags,
        addresses=tuple(
            BalancerAddress(_canonical(each.address), is_static=each.elastic_ip_id is not None)
            for each in one.addresses
        ),
        groups=tuple(group_of(each) for each in one.groups),
        version=one.version,
        created_at=one.created_at,
    )


def group_of(one: wire.TargetGroup) -> Group:
    """Give the group, without the listeners that hold a word which we do not know.

    Our own group then differs from what is wanted and is written anew; those of others are never written.
    """
    read = (listener_of(each) for each in one.listeners)
    return Group(
        name=one.name,
        listeners=tuple(each for each in read if each is not None),
        targets=tuple(Target(each.instance_id, each.weight) for each in one.targets),
    )


def listener_of(one: wire.Listener) -> Listener | None:
    """Give the listener, or None when it holds a word which we do not know."""
    protocol = _word(Protocol, one.protocol)
    algorithm = _word(Algorithm, one.algorithm)
    mode = _word(StickyMode, one.sticky.mode)
    if protocol is None or algorithm is None or mode is None:
        return None
    return Listener(
        name=one.name,
        protocol=protocol,
        port=one.port,
        target_port=one.target_port,
        certificate_ids=one.certificate_ids,
        # The platform fills in a default that means nothing where no TLS ends.
        tls_policy=one.tls_policy if protocol in _ENDS_TLS else "",
        redirect_port=one.redirect_port,
        proxy_protocol=one.proxy_protocol,
        transparent=one.transparent,
        forwarded_for=one.forwarded_for,
        algorithm=algorithm,
        sticky=Sticky(mode=mode, cookie_name=one.sticky.cookie_name, ttl_s=one.sticky.ttl_s),
        idle_timeout_s=one.idle_timeout_s,
        max_connections=one.max_connections,
        allowed_sources=one.allowed_sources,
        denied_sources=one.denied_sources,
        health_check=None if one.health_check is None else _check_of(one.health_check),
    )


def wire_listener(one: Listener) -> wire.Listener:
    """Give the listener as the platform takes it."""
    check = one.health_check
    return wire.Listener(
        name=one.name,
        protocol=one.protocol.value,
        port=one.port,
        target_port=one.target_port,
        certificate_ids=one.certificate_ids,
        tls_policy=one.tls_policy,
        redirect_port=one.redirect_port,
        proxy_protocol=one.proxy_protocol,
        transparent=one.transparent,
        forwarded_for=one.forwarded_for,
        algorithm=one.algorithm.value,
        sticky=wire.Sticky(mode=one.sticky.mode.value, cookie_name=one.sticky.cookie_name, ttl_s=one.sticky.ttl_s),
        idle_timeout_s=one.idle_timeout_s,
        max_connections=one.max_connections,
        allowed_sources=one.allowed_sources,
        denied_sources=one.denied_sources,
        health_check=None if check is None else _wire_check(check),
    )


def wire_target(one: Target) -> wire.Target:
    """Give the target as the platform takes it."""
    return wire.Target(instance_id=one.instance_id, weight=one.weight)


def wire_group(one: Group) -> wire.TargetGroup:
    """Give the group as the platform takes it."""
    return wire.TargetGroup(
        name=one.name,
        listeners=tuple(wire_listener(each) for each in one.listeners),
        targets=tuple(wire_target(each) for each in one.targets),
    )


def _check_of(one: wire.HealthCheck) -> HealthCheck:
    # What only HTTP has, the platform fills in for TCP as well.
    speaks_http = one.protocol != "tcp"
    return HealthCheck(
        protocol=one.protocol,
        port=one.port,
        path=one.path if speaks_http else "",
        host=one.host if speaks_http else "",
        codes=one.codes if speaks_http else "",
        interval_s=one.interval_s,
        timeout_s=one.timeout_s,
        rise=one.rise,
        fall=one.fall,
        verify_tls=one.verify_tls,
    )


def _wire_check(one: HealthCheck) -> wire.HealthCheck:
    return wire.HealthCheck(
        protocol=one.protocol,
        port=one.port,
        path=one.path,
        host=one.host,
        codes=one.codes,
        interval_s=one.interval_s,
        timeout_s=one.timeout_s,
        rise=one.rise,
        fall=one.fall,
        verify_tls=one.verify_tls,
    )


def _word(words: type[E], text: str) -> E | None:
    try:
        return words(text)
    except ValueError:
        return None


def _canonical(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.partition("/")[0]))
    except ValueError:
        return text
