"""What the strict tier cannot do, said before anything is asked of it (pure)."""

from collections.abc import Sequence

from ccm.model import Algorithm, Listener, Protocol, Shape, Sticky, Target
from ccm.ports import Cause, CloudError
from thecloud.network_wire import PortTarget

_ALGORITHMS = (Algorithm.ROUND_ROBIN, Algorithm.LEAST_CONN)


def check_shape(shape: Shape) -> None:
    """Raise CloudError UNSUPPORTED for a load balancer that would not be what was asked for."""
    refused = (
        (shape.internal, "cannot be internal"),
        (bool(shape.static_addresses), "take no static addresses"),
        (shape.families not in ((), ("ipv4",)), "have no IPv6 address"),
    )
    for is_wanted, text in refused:
        if is_wanted:
            raise CloudError(Cause.UNSUPPORTED, f"load balancers of this platform {text}")


def check_listener(one: Listener) -> None:
    """Raise CloudError UNSUPPORTED for a listener that would be open wider, or behave otherwise, than asked for.

    Health checks, time limits and forwarded headers are the platform's own affair there and are not compared.
    """
    refused = (
        (one.protocol is not Protocol.HTTP, f"do not speak {one.protocol.value}"),
        (bool(one.allowed_sources or one.denied_sources), "let everybody in, whatever the source ranges"),
        (bool(one.certificate_ids or one.redirect_port), "end no TLS"),
        (bool(one.proxy_protocol), "do not speak the PROXY protocol"),
        (one.transparent, "do not keep the client's address"),
        (one.sticky != Sticky(), "have no sticky sessions"),
        (one.max_connections != 0, "have no limit of connections"),
        (one.algorithm not in _ALGORITHMS, f"do not know the algorithm {one.algorithm.value}"),
    )
    for is_wanted, text in refused:
        if is_wanted:
            raise CloudError(
                Cause.UNSUPPORTED, f"listener {one.name!r} (port {one.port}): load balancers of this platform {text}"
            )


def port_targets(listener: Listener, targets: Sequence[Target]) -> tuple[PortTarget, ...]:
    """Give the targets of one port."""
    return tuple(
        PortTarget(instance_id=one.instance_id, port=listener.target_port, weight=one.weight) for one in targets
    )
