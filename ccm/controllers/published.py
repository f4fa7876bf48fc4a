"""What a service says of its load balancer (pure): address, condition, annotations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ccm.annotations.table import ADDRESS, DEGRADED_REASON, ID, OBSERVED_HASH
from ccm.desired.status import wanted_ingress
from ccm.desired.wanted import Wanted, observed_hash
from ccm.kube.model import Ingress, Service
from ccm.model import Balancer, BalancerState
from ccm.notices import Notice

OUTPUT = tuple(row.name() for row in (ID, ADDRESS, OBSERVED_HASH, DEGRADED_REASON))
"""The annotations that are written here."""
_READY = "Ready"
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """A condition; an empty status takes it away."""

    status: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a service shall say; None leaves a part as it is."""

    ingress: tuple[Ingress, ...] | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    """An empty value takes the annotation away."""
    condition: Said | None = None


SILENT = Published(ingress=(), annotations=dict.fromkeys(OUTPUT, ""), condition=Said())
"""Nothing of ours."""


def working(wanted: Wanted, balancer: Balancer, notices: Sequence[Notice]) -> Published:
    """Say that the load balancer is as it is wanted."""
    points = wanted_ingress(wanted, balancer)
    if not points:
        text = f"load balancer {balancer.id} works, but the platform does not tell at which address"
        return Published(
            ingress=(),
            annotations={ID.name(): balancer.id, ADDRESS.name(): "", DEGRADED_REASON.name(): text},
            condition=Said("False", "NoAddress", text),
        )
    return Published(
        ingress=points,
        annotations={
            ID.name(): balancer.id,
            ADDRESS.name(): _addresses(balancer),
            OBSERVED_HASH.name(): hash_of(wanted),
            DEGRADED_REASON.name(): _text(one.text for one in notices),
        },
        condition=Said("True", _READY),
    )


def failing(service: Service, balancers: Sequence[Balancer], reason: str, texts: Iterable[str]) -> Published:
    """Say why it is not as it is wanted; an address stays as long as one of its load balancers has it."""
    text = _text(texts)
    return Published(
        ingress=_kept(service, balancers),
        annotations={DEGRADED_REASON.name(): text},
        condition=Said("False", reason, text),
    )


def is_told(service: Service, wanted: Wanted | None, notices: Sequence[Notice]) -> bool:
    """Say whether an earlier pass, perhaps of another process, has told all this."""
    if wanted is not None and service.annotations.get(OBSERVED_HASH.name(), "") == hash_of(wanted):
        return True
    held = service.annotations.get(DEGRADED_REASON.name(), "")
    return bool(held) and held == _text(one.text for one in notices)


def hash_of(wanted: Wanted) -> str:
    """Give the hash of what the service wants; nodes that come and go do not change it, or each would be a write."""
    return observed_hash(replace(wanted, group=replace(wanted.group, targets=())))


def _kept(service: Service, balancers: Sequence[Balancer]) -> tuple[Ingress, ...]:
    here = [one for one in balancers if one.state is not BalancerState.GOING]
    addresses = {address.address for one in here for address in one.addresses}
    return tuple(one for one in service.ingress if here and (not one.ip or one.ip in addresses))


def _addresses(balancer: Balancer) -> str:
    return ",".join(one.address for one in balancer.addresses)


def _text(texts: Iterable[str]) -> str:
    whole = "; ".join(dict.fromkeys(texts))
    return whole if len(whole) <= _MAX_TEXT else whole[: _MAX_TEXT - 1] + "…"
