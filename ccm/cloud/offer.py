"""What the platform's load balancers can do, from the features that it names (docs/platform-network.md)."""

from ccm.ports import BalancerOffer
from thecloud.capabilities import Features
from thecloud.certificates import CERTIFICATES
from thecloud.loadbalancers import ADDRESS, LISTENERS, TAGS, TARGETS_PUT

NEEDED = frozenset({LISTENERS, TARGETS_PUT, TAGS})
"""Without one of these a platform is used as the strict tier: its load balancers could not be marked as ours."""
_HEALTH_CHECK = "lb.health-check"
_TRANSPARENT = "lb.transparent"
_IPV6 = "lb.ipv6"
"""Without it `families` takes `ipv4` alone, and a service that merely prefers two families must not ask for more."""


def is_extended(features: Features) -> bool:
    """Say whether the platform has load balancers with groups of listeners."""
    return features.names >= NEEDED


def extended_offer(features: Features) -> BalancerOffer:
    """Give what load balancers with groups of listeners can do."""
    has_addresses = features.has(ADDRESS)
    has_certificates = features.has(CERTIFICATES)
    return BalancerOffer(
        protocols=frozenset({"tcp", "udp", "http"} | ({"https", "tls"} if has_certificates else set())),
        has_addresses=has_addresses,
        has_health_checks=features.has(_HEALTH_CHECK),
        has_static_addresses=has_addresses,
        has_internal=has_addresses,
        has_certificates=has_certificates,
        has_transparent=features.has(_TRANSPARENT),
        has_listener_options=features.has(LISTENERS),
        families=frozenset({"ipv4", "ipv6"} if has_addresses and features.has(_IPV6) else {"ipv4"}),
    )


def strict_offer(*, has_addresses: bool) -> BalancerOffer:
    """Give what the strict tier's can do: HTTP by any number of ports, and nothing else (platform contract 9.4)."""
    return BalancerOffer(
        protocols=frozenset({"http"}),
        has_addresses=has_addresses,
        has_health_checks=False,
        has_source_ranges=False,
        has_proxy_protocol=False,
        has_sticky=False,
        has_static_addresses=False,
        has_internal=False,
        has_sizes=False,
        has_certificates=False,
        has_transparent=False,
        has_shared=False,
        has_listener_options=False,
    )
