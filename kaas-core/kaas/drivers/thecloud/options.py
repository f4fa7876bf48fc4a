"""What the driver can be told besides how the platform is reached."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """Facts of one installation that the platform's API does not tell."""

    conductor_sources: tuple[str, ...] = ()
    """Networks (CIDRs) that conductors reach machines from: SSH and the Kubernetes API are open to these."""
    balancer_sources: tuple[str, ...] = ()
    """Networks that the platform's load balancers send from, for clusters that are not open to everybody."""
    images: tuple[str, ...] = ()
    """Images that machines may boot from; empty: any, since the platform does not say which there are."""
    csi_name_prefix: str = "csi"
    """`--name-prefix` of the CSI driver in the clusters; by it volumes are told where the platform has no tags."""
    change_s: float = 120.0
    """How long making, changing or deleting one thing may take. An answer that has not come by then is taken for lost,
    and what became of it is looked for, while the step that asked still has time."""
