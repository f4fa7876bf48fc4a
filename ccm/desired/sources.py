"""Who may come to a service (pure)."""

from collections.abc import Sequence

from ccm.annotations.kinds import cidr
from ccm.kube.model import Service
from ccm.notices import Findings, Reason

SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_EVERYONE = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}


def allowed_sources(service: Service, findings: Findings) -> tuple[str, ...]:
    """Give the CIDRs that may come, sorted; none means everyone.

    The spec's list counts, else the older annotation's. A list that cannot be read is refused: everyone else would be
    let in.
    """
    spec = service.spec
    texts: Sequence[str] = spec.load_balancer_source_ranges or ()
    where, key = "spec.loadBalancerSourceRanges", ""
    if not texts:
        written = service.annotations.get(SOURCE_RANGES, "").strip()
        texts = written.split(",") if written else ()
        where = key = SOURCE_RANGES
    found = set()
    for text in texts:
        try:
            found.add(cidr(text.strip()))
        except ValueError as wrong:
            findings.refuse(Reason.INVALID_SERVICE, f"{where} of service {service.key}: {wrong}", key)
    families = spec.ip_families or ("IPv4",)
    if all(_EVERYONE.get(family) in found for family in families):
        return ()
    return tuple(sorted(found))
