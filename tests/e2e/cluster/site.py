"""Where the things of a running cluster are, kept in its folder so that every later command finds them."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.e2e.cluster.errors import ClusterError

_FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster of this host."""

    folder: Path
    devcloud_url: str
    """For this host."""
    inner_url: str
    """For the machines and their pods."""
    kubectl: Path
    max_volumes: int
    """Places for volumes that each instance has."""
    control_planes: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()

    @property
    def cloud_dir(self) -> Path:
        """The platform's data folder."""
        return self.folder / "cloud"

    @property
    def namespace(self) -> Path:
        """Network namespace in which the machines' addresses can be reached."""
        return self.cloud_dir / "nspawn/namespace"

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig; readable by root alone."""
        return self.folder / "kubeconfig"

    @property
    def ssh_key(self) -> Path:
        """Private key that may log in to every machine as root, where sshd runs."""
        return self.folder / "ssh-key"

    @property
    def logs(self) -> Path:
        """What the platform and kubeadm wrote."""
        return self.folder / "logs"

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes by name."""
        return self.control_planes + self.workers

    def api_key(self) -> str:
        """Read the platform's key."""
        return (self.cloud_dir / "api-key").read_text().strip()

    def save(self) -> None:
        """Write this down in the cluster's folder."""
        part = self.folder / f"{_FILE}.part"
        part.write_bytes(msgspec.json.encode(self, enc_hook=str))
        part.replace(self.folder / _FILE)


def default_folder() -> Path:
    """Give the folder of the one cluster that commands mean when none is named."""
    return Path(os.environ.get("THECLOUD_CLUSTER") or "/var/tmp/thecloud-cluster")


def load(folder: Path) -> Site:
    """Read what `Site.save` wrote. Raises ClusterError when no cluster is there."""
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=Site, dec_hook=lambda kind, value: kind(value))
    except FileNotFoundError:
        raise ClusterError(f"no cluster in {folder}; `make cluster` makes one") from None
