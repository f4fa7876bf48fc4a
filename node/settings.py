"""What the node plugin can be told. The dataclass is the table from which flags, variables and the reference are made.

Not here: reading (`process.settings`), and what both programs can be told (`ShellSettings`).
"""
# ruff: noqa: RUF009 - the calls in the dataclass declare fields

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csi.driver import DRIVER_NAME
from csi.endpoint import Endpoint, UnixEndpoint
from csi.identity import PLUGIN_CAPABILITIES
from csi.settings import ENDPOINT, ShellSettings
from csi.validate import MAX_NODE_ID_BYTES
from process.kinds import DURATION, PATH, SWITCH, TEXT, WORDS, OptionKind, whole_number
from process.settings import option

PLUGIN_DIR = Path("plugins") / DRIVER_NAME
"""Below the kubelet's folder: this driver's socket and records."""
STAGING_DIR = Path("plugins/kubernetes.io/csi") / DRIVER_NAME
"""Below the kubelet's folder: staging paths of mounted volumes."""

EXTENDED_PLUGIN_CAPABILITIES = (
    "CONTROLLER_SERVICE",
    "GROUP_CONTROLLER_SERVICE",
    "VOLUME_ACCESSIBILITY_CONSTRAINTS",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
    "ONLINE",
)
"""What the controller announces on a platform of the extended tier; on a strict one it is CONTROLLER_SERVICE alone."""

_TAINT_KEY = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)

_OPTIONAL_PATH: OptionKind[Path | None] = OptionKind("path", PATH.parse)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings(ShellSettings):
    """The options of `tc-csi-node`."""

    endpoint: Endpoint = option(
        ENDPOINT,
        "Where CSI is served: unix:///path/of/socket or tcp://host:port.",
        default=UnixEndpoint(Path("/csi/csi.sock")),
    )
    node_id: str = option(
        TEXT,
        "Instance UUID or host name that this node is known by. Empty: from the Node's providerID, cloud-init, or the "
        "host name, in this order.",
        default="",
    )
    node_name: str = option(
        TEXT, "Name of this host's Node object; with it the Node is read for its providerID and zone.", default=""
    )
    startup_taint: str = option(
        TEXT,
        "Key of a taint that this host's Node may be born with. It is taken away when the CSINode object says how many "
        "volumes the node takes; needs --node-name. Empty: no taint is ever touched.",
        default=f"{DRIVER_NAME}/agent-not-ready",
    )
    zone: str = option(TEXT, "Zone of this node. Empty: from the Node's label or cloud-init.", default="")
    use_dmi: bool = option(
        SWITCH,
        "Take the firmware's system UUID as the instance's. Only where the platform sets it so.",
        default=False,
    )
    max_volumes: int = option(
        whole_number(least=1, most=1000), "Disks that an instance can take beside its root disk.", default=20
    )
    reserved_volumes: int = option(
        whole_number(least=0, most=999), "How many of these places are kept for other disks.", default=0
    )
    state_dir: Path | None = option(
        _OPTIONAL_PATH,
        "Folder of the records of staged volumes. It has to outlive this process, and is for one process alone. "
        f"Without it: {PLUGIN_DIR}/state below the kubelet's folder.",
        default=None,
    )
    kubelet_dir: Path = option(PATH, "The kubelet's root folder.", default=Path("/var/lib/kubelet"))
    registration_dir: Path | None = option(
        _OPTIONAL_PATH, "The kubelet's plugin registry folder. Without it the plugin does not register.", default=None
    )
    kubelet_endpoint: Path | None = option(
        _OPTIONAL_PATH,
        f"The CSI socket as the kubelet sees it. Without it: {PLUGIN_DIR}/csi.sock below the kubelet's folder.",
        default=None,
    )
    loop_disk_dir: Path | None = option(
        _OPTIONAL_PATH,
        "Folder of image files whose loop devices count as disks (devcloud). Without it loop devices are never used.",
        default=None,
    )
    host_proc: Path | None = option(
        _OPTIONAL_PATH,
        "Where the host's /proc is mounted, for a plugin in a container, whose own shows neither which disks the host "
        "mounts nor which of its processes keep a mount busy.",
        default=None,
    )
    device_wait_s: float = option(
        DURATION, "Time to wait for an attached disk to appear, or to show a new size, in seconds.", default=30.0
    )
    format_concurrency: int = option(
        whole_number(least=1, most=64), "How many mkfs and file system checks run at once.", default=2
    )
    plugin_capabilities: tuple[str, ...] = option(
        WORDS,
        "What the controller announces on this platform, separated by commas: CSI wants the same answer of both "
        "programs, and the node cannot ask the platform. Without ONLINE, growing is not offered.",
        default=EXTENDED_PLUGIN_CAPABILITIES,
    )

    def problems(self) -> Sequence[str]:
        """Say what does not fit together."""
        found = []
        if self.reserved_volumes >= self.max_volumes:
            found.append(
                f"--reserved-volumes ({self.reserved_volumes}) leaves none of --max-volumes {self.max_volumes}"
            )
        if len(self.node_id.encode()) > MAX_NODE_ID_BYTES:
            found.append(f"--node-id has more than {MAX_NODE_ID_BYTES} bytes")
        unknown = sorted(set(self.plugin_capabilities) - set(PLUGIN_CAPABILITIES))
        if unknown:
            found.append(
                f"--plugin-capabilities: unknown {', '.join(unknown)[:120]}; known {', '.join(PLUGIN_CAPABILITIES)}"
            )
        if self.startup_taint and not _TAINT_KEY.fullmatch(self.startup_taint):
            found.append(f"--startup-taint is {self.startup_taint[:80]!r}, which cannot be the key of a taint")
        if self.registration_dir is not None and not isinstance(self.endpoint, UnixEndpoint):
            found.append(f"--registration-dir needs a unix:// --endpoint, not {self.endpoint}")
        return found

    @property
    def can_expand(self) -> bool:
        """Whether the platform grows volumes."""
        return "ONLINE" in self.plugin_capabilities

    @property
    def state_folder(self) -> Path:
        """Where the records are."""
        return self.state_dir or self.kubelet_dir / PLUGIN_DIR / "state"

    @property
    def socket_for_kubelet(self) -> Path:
        """The CSI socket as the kubelet sees it."""
        return self.kubelet_endpoint or self.kubelet_dir / PLUGIN_DIR / "csi.sock"
