"""The sizes that an instance can have (platform contract 4.6)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A size that an instance can have."""

    id: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    price_per_hour: float


INSTANCE_TYPES = {
    item.id: item
    for item in (
        InstanceType("basic-1", 1, 512, 8, 0.005),
        InstanceType("basic-2", 1, 1024, 10, 0.01),
        InstanceType("standard-1", 2, 2048, 20, 0.02),
        InstanceType("standard-2", 2, 4096, 40, 0.04),
        InstanceType("standard-4", 4, 8192, 80, 0.08),
        InstanceType("performance-1", 4, 16384, 160, 0.16),
        InstanceType("performance-2", 8, 32768, 320, 0.32),
    )
}
