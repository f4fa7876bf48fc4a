"""Options of one devcloud: what it serves, where it keeps its state, how it behaves."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path

MIN_SIZE_GB = 1
MAX_SIZE_GB = 16000
GIB = 1 << 30
DEFAULT_NETWORK = "10.0.0.0/16"
_SMALLEST_SHARED_PREFIX = 27
"""Networks with a longer prefix are too small to set addresses apart for load balancers."""
_LARGEST_LB_PREFIX = 24


class Tier(StrEnum):
    """Which platform is played: the published one with its quirks, or the one with the extensions."""

    STRICT = "strict"
    EXTENDED = "extended"


class Backend(StrEnum):
    """What stands behind an instance."""

    HOST = "host"
    """This machine is every instance; volumes are loop devices on it. Needs root."""
    NSPAWN = "nspawn"
    """Every instance is a machine of its own (systemd-nspawn) in a network that devcloud makes. Needs root."""
    NONE = "none"
    """No devices: attaching is bookkeeping."""


@dataclass(frozen=True, slots=True)
class PerformanceClass:
    """A kind of storage that a volume can be of."""

    name: str
    description: str
    max_size_gb: int


PERFORMANCE_CLASSES = (
    PerformanceClass("standard", "Balanced storage; the default", MAX_SIZE_GB),
    PerformanceClass("fast", "More operations per second, for databases", 8000),
    PerformanceClass("archive", "Cheap storage for data that is rarely read", MAX_SIZE_GB),
)


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of a tenant; checked when an instance is launched (platform contract 3)."""

    instances: int = 10
    vcpus: int = 8
    memory_gb: int = 16


@dataclass(frozen=True, slots=True)
class HostInstance:
    """An instance that exists from the first start on and is this machine."""

    name: str
    zone: str = ""
    """Empty: the first zone."""


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A machine image that instances can be launched from."""

    name: str
    folder: Path
    """Holds `root/` and, where it is needed, `image.json`; see `nspawn/image.py`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All options; every time is in seconds."""

    data_dir: Path
    tier: Tier = Tier.EXTENDED
    backend: Backend = Backend.HOST
    zones: tuple[str, ...] = ("zone-1",)
    host_instances: tuple[HostInstance, ...] = ()
    """Empty: one, named like this host. The back end `nspawn` has none."""
    machine_images: tuple[ImageFolder, ...] = ()
    """What the back end `nspawn` launches from."""
    network: IPv4Network = field(default_factory=lambda: IPv4Network(DEFAULT_NETWORK))
    """Private addresses of instances; the first is the platform's, where the back end makes the network."""
    pod_network: IPv4Network | None = None
    """Its n-th /24 is routed to the instance with the n-th address; None: no such routes."""
    lb_addresses: IPv4Network | None = None
    """Addresses of load balancers and elastic IPs; None: the upper quarter of `network`, at most a /24."""
    lb_tick_s: float = 5.0
    """How often the load-balancer worker of the strict tier looks, and how long a deleted one is shown at most."""
    region: str = "region-1"
    boot_timeout_s: float = 90.0
    """How long a machine may take to come up."""
    stop_timeout_s: float = 30.0
    """How long a machine may take to power off when it is asked to, before it is killed."""
    max_volumes: int = 64
    """Volumes per instance; enforced in the extended tier only."""
    capacity_gb: int = 0
    """Storage that volumes may claim in total; 0: what the file system of the data folder has free."""
    rate_limit_rps: float = 100.0
    """Requests per second of a bucket (burst: twice that); 0 switches both rate limits off."""
    auth_rate_limit_per_min: float = 10.0
    snapshot_delay_s: float = 0.0
    """How long a snapshot stays CREATING."""
    instance_start_s: float = 0.0
    """How long an instance stays STARTING."""
    lock_wait_s: float = 60.0
    """How long a request waits for another one that works on the same object."""
    durable: bool = True
    """False: no fsync of state (kill -9 is still survived, a power cut is not); for tests."""
    quota: Quota = field(default_factory=Quota)

    @property
    def is_strict(self) -> bool:
        """Whether the published platform with its quirks is played."""
        return self.tier is Tier.STRICT

    @property
    def lb_range(self) -> IPv4Network | None:
        """Addresses of load balancers and elastic IPs, which no instance gets; None where there is no room for any."""
        if self.lb_addresses is not None:
            return self.lb_addresses
        if self.network.prefixlen > _SMALLEST_SHARED_PREFIX:
            return None
        prefix = max(self.network.prefixlen + 2, _LARGEST_LB_PREFIX)
        size = 1 << (self.network.max_prefixlen - prefix)
        return IPv4Network((int(self.network.broadcast_address) + 1 - size, prefix))

    def has_image(self, name: str) -> bool:
        """Whether instances can be launched from an image; where instances are no machines, any name will do."""
        return self.backend is not Backend.NSPAWN or any(image.name == name for image in self.machine_images)

    @property
    def machines_dir(self) -> Path:
        """Folder of everything that the back end `nspawn` keeps."""
        return self.data_dir / "nspawn"

    @property
    def balancers_dir(self) -> Path:
        """Folder of what the proxies of load balancers run on; holds private keys."""
        return self.machines_dir / "balancers"

    @property
    def disks_dir(self) -> Path:
        """Folder of the volume images; each is `<serial>.img`."""
        return self.data_dir / "disks"

    @property
    def snapshots_dir(self) -> Path:
        """Folder of the snapshot images; each is `<snapshot id>.img`."""
        return self.data_dir / "snapshots"

    @property
    def database_path(self) -> Path:
        """The SQLite database."""
        return self.data_dir / "state.db"

    @property
    def api_key_path(self) -> Path:
        """Where the key of the seeded user is written, mode 0600."""
        return self.data_dir / "api-key"
