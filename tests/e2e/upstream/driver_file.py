"""What the suite is told of our driver. Keys are case-sensitive, and the suite ignores those that it does not know.

Every capability is claimed that a block volume for one node at a time can have; the others are named with the reason.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from csi.driver import DRIVER_NAME, ZONE_KEY
from tests.e2e.objects import CLASS, Object, storage_class

CAPABILITIES: Mapping[str, bool] = {
    "persistence": True,
    "block": True,
    "fsGroup": True,
    "exec": True,
    "snapshotDataSource": True,
    "pvcDataSource": True,
    "groupSnapshot": True,
    "multipods": True,
    "controllerExpansion": True,
    "nodeExpansion": True,
    "offlineExpansion": True,
    "onlineExpansion": True,
    "volumeLimits": True,
    "topology": True,
    "capacity": True,
    "readWriteOncePod": True,
    "multiplePVsSameID": True,
}
NOT_CLAIMED: Mapping[str, str] = {
    "RWX": "a volume is attached to one instance at a time",
    "capReadOnlyMany": "a volume is attached to one instance at a time",
    "volumeMountGroup": "the kubelet changes the group of a block volume's files itself (fsGroup)",
    "singleNodeVolume": "volumes move between nodes; this is for drivers without a controller",
    "FSResizeFromSourceNotSupported": "a limitation that this driver does not have",
    "seLinuxMount": "the driver takes the context of a mount, but the kernel of these machines has no SELinux",
    "snapshotMetadata": "the platform does not tell which blocks changed",
}

NANOSECONDS_PER_S = 10**9


def classes(fs_types: Iterable[str]) -> Iterator[Object]:
    """Give the StorageClasses that the driver files name."""
    for fs_type in fs_types:
        for immediate in (False, True):
            yield storage_class(
                _class(fs_type, immediate=immediate),
                {"csi.storage.k8s.io/fstype": fs_type},
                volumeBindingMode="Immediate" if immediate else "WaitForFirstConsumer",
            )


def _class(fs_type: str, *, immediate: bool) -> str:
    return f"suite-{fs_type}{'-immediate' if immediate else ''}"


def definition(fs_type: str, *, immediate: bool) -> str:
    """Give the driver file for one default file system, as JSON, which is YAML too."""
    info: dict[str, Any] = {
        "Name": DRIVER_NAME,
        "SupportedSizeRange": {"Min": "1Gi", "Max": "16000Gi"},
        "SupportedFsType": {"": {}, "ext4": {}, "xfs": {}},
        "SupportedMountOption": {"noatime": {}},
        "TopologyKeys": [ZONE_KEY],
        "NumAllowedTopologies": 1,
        "StressTestOptions": {"NumPods": 4, "NumRestarts": 3},
        "VolumeSnapshotStressTestOptions": {"NumPods": 2, "NumSnapshots": 3},
        "VolumeModifyStressTestOptions": {"NumPods": 4},
        "VolumeGroupSnapshotStressTestOptions": {"NumPods": 2, "NumSnapshots": 2},
        "PerformanceTestOptions": {
            "ProvisioningOptions": {
                "VolumeSize": "1Gi",
                "Count": 20,
                "ExpectedMetrics": {"AvgLatency": 60 * NANOSECONDS_PER_S, "Throughput": 0.2},
            }
        },
        "Capabilities": {**CAPABILITIES, **dict.fromkeys(NOT_CLAIMED, False)},
    }
    return json.dumps(
        {
            "StorageClass": {"FromExistingClassName": _class(fs_type, immediate=immediate)},
            "SnapshotClass": {"FromExistingClassName": CLASS},
            "GroupSnapshotClass": {"FromExistingClassName": CLASS},
            "VolumeAttributesClass": {"FromExistingClassName": f"{CLASS}-fast"},
            "DriverInfo": info,
            "Timeouts": {"PodStart": "3m", "ClaimProvision": "2m", "ClaimBound": "2m", "PVDelete": "4m"},
        },
        indent=2,
    )
