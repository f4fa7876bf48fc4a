"""What a program that serves or conducts can be told, by what it is about; `kaas.settings` puts it together.

Does not belong here: what the smaller commands are told as well.
"""
# ruff: noqa: RUF009 - the calls in the dataclasses declare fields

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from kaas.domain.model import Cni
from kaas.option_kinds import FILE, NETWORKS, OPTIONAL_PLACE, PAIRS, PLACE, Pairs, Place
from process.address import TcpEndpoint
from process.kinds import DECIMAL, DURATION, SWITCH, TEXT, choice, decimal, whole_number
from process.settings import option
from thecloud.options import PlatformAccess
from thecloud.settings import PlatformSettings

_DEPLOY = tuple(Path(__file__).parents[level] / "deploy" for level in (0, 2))
"""Where this project's manifests may be: in the package where it is installed, beside it in the source tree."""
_SUPPLIED_CNIS = (Cni.CALICO, Cni.CILIUM)


class DriverName(Enum):
    """Where machines come from."""

    THECLOUD = "thecloud"
    SIMULATOR = "simulator"


class Authentication(Enum):
    """Who knows the callers."""

    USERS = "users"
    PLATFORM = "platform"


@dataclass(frozen=True, kw_only=True)
class VaultOptions:
    """A key in Vault's transit engine in place of the key ring."""

    vault_address: str = option(TEXT, "Vault, such as https://vault.example:8200.", default="")
    vault_key: str = option(
        TEXT,
        "Key of its transit engine that secrets are sealed with; what --keyring-file has sealed still opens.",
        default="",
    )
    vault_token_file: Path | None = option(FILE, "File with the token for Vault; read again for every request.")
    vault_mount: str = option(TEXT, "Path of the transit engine.", default="transit")
    vault_namespace: str = option(TEXT, "Namespace in Vault.", default="")
    vault_ca_file: Path | None = option(FILE, "PEM file of the authorities that sign Vault's certificate.")

    def vault_problems(self) -> Sequence[str]:
        """Say what is missing."""
        given = {
            "--vault-address": bool(self.vault_address),
            "--vault-key": bool(self.vault_key),
            "--vault-token-file": self.vault_token_file is not None,
        }
        missing = [name for name, is_there in given.items() if not is_there]
        return [f"{' and '.join(missing)} missing: Vault needs all three"] if 0 < len(missing) < len(given) else []


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """Where the program is reached, and by whom."""

    listen: Place = option(
        PLACE,
        "Address of the API; fd:N is a socket that this process was started with. A socket with the name `api` that "
        "LISTEN_FDS hands over comes first.",
        default=TcpEndpoint("127.0.0.1", 8086),
    )
    tls_cert_file: Path | None = option(FILE, "PEM file of the API's certificate; without it the API is plain HTTP.")
    tls_key_file: Path | None = option(FILE, "PEM file of the key of --tls-cert-file.")
    allow_plaintext: bool = option(
        SWITCH, "Serve plain HTTP on an address that others reach, because something before it ends TLS.", default=False
    )
    authentication: Authentication = option(
        choice("word", Authentication),
        "Who knows the callers: the users file, or the platform by its own API keys.",
        default=Authentication.USERS,
    )
    kubeconfig_ttl_s: float = option(
        DURATION,
        "How long a kubeconfig is good for unless asked otherwise.",
        default=24 * 3600.0,
        name="kubeconfig-ttl",
    )
    phone_home_listen: Place | None = option(
        OPTIONAL_PLACE,
        "Where conductors listen for machines that report their first boot; `off`: not here. LISTEN_FDS name: "
        "`phone-home`.",
        default=TcpEndpoint("127.0.0.1", 8087),
    )
    phone_home_url: str = option(
        TEXT, "https:// address by which machines reach a phone-home listener; default: this one's.", default=""
    )
    phone_home_tls_dir: Path | None = option(
        FILE,
        "Folder of the listener's authority and certificate, the same for all of them; default tls in --state-dir.",
    )
    status_listen: Place | None = option(
        OPTIONAL_PLACE, "Where `kaas conductor` serves /health/live, /health/ready and /metrics."
    )

    def serving_problems(self) -> Sequence[str]:
        """Say what does not go together."""
        found = []
        has_tls = self.tls_cert_file is not None and self.tls_key_file is not None
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            found.append("--tls-cert-file and --tls-key-file go together; one of them is missing")
        if isinstance(self.listen, TcpEndpoint) and not (
            has_tls or self.allow_plaintext or _is_loopback(self.listen.host)
        ):
            found.append(
                f"--listen {self.listen.authority}: API keys would go over the network in clear; give --tls-cert-file "
                "and --tls-key-file, or --allow-plaintext where a proxy ends TLS before it"
            )
        url = urlsplit(self.phone_home_url)
        if self.phone_home_url and (url.scheme != "https" or not url.hostname):
            found.append(f"--phone-home-url {self.phone_home_url[:200]!r}: https://host[:port] is needed")
        if self.phone_home_listen is None and not self.phone_home_url:
            found.append("--phone-home-url is missing: without a listener here, machines need the address of another")
        return found


@dataclass(frozen=True, kw_only=True)
class PlatformOptions:
    """How the platform is reached."""

    driver: DriverName = option(
        choice("driver", DriverName),
        "Where machines come from; the simulator needs nothing, and its clusters are not real.",
        default=DriverName.THECLOUD,
    )
    simulated_pace: float = option(
        DECIMAL, "How slow the simulator's things are: 1 is about as slow as real ones, 0 is at once.", default=1.0
    )
    platform_url: str = option(TEXT, "Address of the platform: http://host:port or https://host[:port].", default="")
    api_key_file: Path | None = option(
        FILE, "File with the platform's API key; read again when it changes. Either this or TC_API_KEY."
    )
    api_key: str = option(TEXT, "The platform's API key.", default="", secret=True)
    ca_file: Path | None = option(FILE, "PEM file of the authorities that sign the platform's certificate.")
    tenant_id: str = option(TEXT, "Tenant that clusters are made in; the key's default tenant when empty.", default="")
    requests_per_s: float = option(decimal(least=0.1), "Mean rate of requests to the platform.", default=20.0)
    burst: int = option(whole_number(least=1), "Requests at once after a quiet time.", default=40)
    cluster_platform_url: str = option(
        TEXT, "Address of the platform as machines see it; default --platform-url.", default=""
    )
    cluster_ca_file: Path | None = option(FILE, "The same for --ca-file.")
    conductor_sources: tuple[str, ...] = option(
        NETWORKS, "Networks that conductors reach machines from by SSH and to their API.", default=()
    )
    balancer_sources: tuple[str, ...] = option(
        NETWORKS, "Networks that the platform's load balancers send from.", default=()
    )

    @property
    def is_simulated(self) -> bool:
        """Whether nothing is real."""
        return self.driver is DriverName.SIMULATOR

    def platform(self) -> PlatformSettings:
        """Give the settings of the platform's client."""
        return self._access().platform()

    def platform_problems(self) -> Sequence[str]:
        """Say what is missing or wrong."""
        return (
            self._access().problems()
            if self.platform_url
            else ["--platform-url is missing (--driver simulator needs none)"]
        )

    def _access(self) -> PlatformAccess:
        # The mark of objects is each cluster's own here; the table that all programs share wants one all the same.
        return PlatformAccess(
            platform_url=self.platform_url,
            cluster_id="none",
            api_key_file=self.api_key_file,
            api_key=self.api_key,
            ca_file=self.ca_file,
            tenant_id=self.tenant_id,
            requests_per_s=self.requests_per_s,
            burst=self.burst,
        )


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """What can be asked for, and what holds where a request says nothing."""

    catalogue_file: Path | None = option(
        FILE, "YAML with the versions that are offered and their images, and instance types. The simulator has its own."
    )
    default_version: str = option(
        TEXT,
        "Version of clusters that name none; default v1.29.0, or the newest where that is not offered.",
        default="",
    )
    default_cni: Cni | None = option(
        choice("network", Cni), "Pod network of clusters that name none; default calico, with the simulator bridge."
    )
    default_vpc: str = option(TEXT, "VPC of clusters that name none; empty: one has to be named.", default="")
    default_control_plane_type: str = option(
        TEXT, "Instance type of control planes, unless asked otherwise.", default="standard-2"
    )
    default_worker_type: str = option(TEXT, "Instance type of workers, unless asked otherwise.", default="standard-1")
    node_network: str = option(
        TEXT, "Range of the machines' addresses, where one is known for all VPCs; pods must lie apart.", default=""
    )
    max_nodes: int = option(whole_number(least=1), "Nodes of one cluster at most.", default=250)
    quirks_file: Path | None = option(
        FILE,
        "YAML with what machines need that share one host: ignore_preflight_errors, allow_cgroup_v1, … "
        "(`kaas.bootstrap.kubeadm.HostQuirks`); real ones need none.",
    )
    image_repository: str = option(TEXT, "Where kubeadm takes its images from; empty: its own choice.", default="")
    dns_image_tag: str = option(TEXT, "Tag of CoreDNS' image, where it is not kubeadm's choice.", default="")
    etcd_image_tag: str = option(TEXT, "Tag of etcd's image, where it is not kubeadm's choice.", default="")
    proxy_mode: str = option(TEXT, "Mode of kube-proxy: iptables, nftables or ipvs; empty: its own choice.", default="")


@dataclass(frozen=True, kw_only=True)
class AddonOptions:
    """What is installed into clusters."""

    deploy_dir: Path | None = option(
        FILE, "Folder with the manifests for clusters; default: the one that comes with this program.", default=None
    )
    csi_overlay: str = option(TEXT, "Overlay of the CSI driver there.", default="overlays/default")
    ccm_overlay: str = option(TEXT, "Overlay of the cloud controller manager there.", default="ccm/overlays/default")
    addon_images: Pairs = option(PAIRS, "Images in place of those in the overlays: name=image:tag,…", default=())
    csi_controller_env: Pairs = option(PAIRS, "Further variables of the CSI controller: NAME=value,…", default=())
    csi_node_env: Pairs = option(PAIRS, "Further variables of the CSI node plugin.", default=())
    ccm_env: Pairs = option(PAIRS, "Further variables of the cloud controller manager.", default=())
    snapshot_crd_dir: Path | None = option(FILE, "Folder with the CRDs of snapshots; without it there are none.")
    cni_manifests: Pairs = option(PAIRS, "Manifests of pod networks: calico=/path.yaml,cilium=/path.yaml", default=())
    flannel_image: str = option(TEXT, "Image of flannel, which offers that pod network.", default="")
    flannel_plugin_image: str = option(TEXT, "Image with flannel's CNI plugin.", default="")

    @property
    def deploy(self) -> Path | None:
        """The folder with the manifests, if there is one."""
        return self.deploy_dir or next((folder for folder in _DEPLOY if folder.is_dir()), None)

    @property
    def manifests(self) -> Mapping[Cni, Path]:
        """The files of pod networks."""
        return {Cni(name): Path(path).absolute() for name, path in self.cni_manifests}

    def addon_problems(self) -> Sequence[str]:
        """Say what is missing or wrong."""
        found = []
        if self.deploy is None:
            found.append(
                "--deploy-dir is missing: the folder `deploy` of this project, with the manifests for clusters"
            )
        if wrong := [name for name, _ in self.cni_manifests if name not in _SUPPLIED_CNIS]:
            found.append(f"--cni-manifests: {', '.join(wrong)} is none of {', '.join(_SUPPLIED_CNIS)}")
        if bool(self.flannel_image) != bool(self.flannel_plugin_image):
            found.append("--flannel-image and --flannel-plugin-image go together; one of them is missing")
        return found


@dataclass(frozen=True, kw_only=True)
class ConductorOptions:
    """How conductors work."""

    concurrency: int = option(whole_number(least=1), "Clusters that one conductor works on at once.", default=64)
    lease_s: float = option(
        DURATION,
        "For how long a cluster belongs to a conductor that gives no sign of life.",
        default=60.0,
        name="lease",
    )
    poll_s: float = option(
        decimal(least=0.01), "Seconds between two looks at what the platform makes.", default=1.0, name="poll"
    )
    health_period_s: float = option(
        DURATION, "Time between two looks at a cluster that runs.", default=60.0, name="health-period"
    )
    auto_repair: bool = option(
        SWITCH, "Replace nodes that do not come back, and start API servers again.", default=True
    )
    repair_after_s: float = option(
        DURATION, "How long a node may be not Ready before it is replaced.", default=180.0, name="repair-after"
    )
    repair_dead_after_s: float = option(
        DURATION, "The same when the platform says that its machine is dead.", default=45.0, name="repair-dead-after"
    )
    repair_breaker_share: float = option(
        DECIMAL,
        "With more than this part of all clusters losing nodes within ten minutes, nothing is replaced by itself; 1: "
        "never mind.",
        default=0.2,
        name="repair-breaker-share",
    )
    repair_breaker_floor: int = option(
        whole_number(least=1),
        "How many clusters have to lose nodes at least for that.",
        default=3,
        name="repair-breaker-floor",
    )
    keep_events_s: float = option(
        DURATION,
        "How long events, and operations that have ended, are kept.",
        default=90 * 24 * 3600.0,
        name="keep-events",
    )
    keep_audit_s: float = option(
        DURATION,
        "How long it is kept who asked for what, and who was given access.",
        default=400 * 24 * 3600.0,
        name="keep-audit",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
