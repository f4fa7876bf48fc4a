"""Specs that are not run, each with the reason; everything else of the suite is.

Pure. The page prints the table, so that nobody has to find out what was left away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CAP_SYS_RESOURCE = 24


@dataclass(frozen=True, slots=True)
class Excluded:
    """Specs whose name matches a pattern (RE2, as ginkgo's --skip takes it)."""

    pattern: str
    reason: str
    fs_type: str = ""
    """Only when this is the default file system; the other one shows them."""
    only_without_resource: bool = False
    """Only where CAP_SYS_RESOURCE is missing."""


EXCLUDED = (
    Excluded("Windows|ntfs", "for Windows nodes (54 specs)"),
    Excluded("Inline-volume", "for drivers with inline volumes that are written into the suite (27 specs)"),
    Excluded("Pre-provisioned PV", "for volumes that a driver written into the suite makes beforehand (58 specs)"),
    Excluded(
        "should create snapshots for StatefulSet volumes and verify data consistency after restore",
        "claims of 1Mi from snapshots: the platform's smallest volume has 1Gi, a snapshot says so (restoreSize), and "
        "csi-provisioner then refuses a smaller claim before the driver is asked. Restoring a group is tested in "
        "`tests/e2e/test_growth_and_copies.py`",
    ),
    Excluded(
        "should provision storage with any volume data source",
        "needs the images of hello-populator and volume-data-source-validator, whose Go modules no proxy gives "
        "here; the driver has no part in it, a populator fills a volume that it makes as any other",
    ),
    Excluded(
        r"\(default fs\).*should resize volume when PVC is edited while pod is using it",
        "grows a mounted ext4, for which the kernel wants CAP_SYS_RESOURCE; this machine has not got it. Shown with "
        "xfs here, with ext4 by `make vm-test`",
        fs_type="ext4",
        only_without_resource=True,
    ),
    Excluded(
        r"\(default fs\).*should support expansion of pvcs created for ephemeral pvcs",
        "grows a mounted ext4; as above",
        fs_type="ext4",
        only_without_resource=True,
    ),
)

BALANCERS = (
    Excluded(
        "should be able to create LoadBalancer Service without NodePort",
        "load balancers of the platform send to node ports; a service without them is refused, and an event says so",
    ),
)
"""Of the specs of load balancers."""
KEEPS_NO_CLIENT = Excluded(
    "with Local traffic policy|externalTrafficPolicy=Local|ExternalTrafficPolicy: Local",
    "the kernel of this machine cannot match sockets (xt_socket), so that the platform keeps no client's address and "
    "services with externalTrafficPolicy Local are refused",
)


def excluded(fs_type: str, *, has_resource: bool) -> Iterator[Excluded]:
    """Give what is left away with this default file system on this machine."""
    for one in EXCLUDED:
        if one.fs_type in ("", fs_type) and not (one.only_without_resource and has_resource):
            yield one


def has_resource(status: Path = Path("/proc/self/status")) -> bool:
    """Whether processes here have CAP_SYS_RESOURCE."""
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
