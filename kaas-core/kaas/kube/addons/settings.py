"""What an operator decides about addons, for all clusters alike; read once at the program's start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kaas.domain.model import Cni
from kaas.kube.addons.kustomize import Shipped
from kaas.kube.addons.marks import Manifest
from kaas.kube.addons.problems import ManifestError
from kaas.kube.addons.yaml_text import read_manifests

_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class FlannelImages:
    """Images of flannel, each with its tag or digest; the versions are the operator's choice."""

    daemon: str
    plugin: str
    """Holds the CNI plugin that is copied onto each node."""


@dataclass(frozen=True, slots=True)
class AddonSettings:
    """Manifests and what is set in them; images, addresses and folders that differ from site to site."""

    shipped: Shipped
    """The project's `deploy` folder."""
    csi_overlay: str = "overlays/default"
    ccm_overlay: str = "ccm/overlays/default"
    images: Mapping[str, str] = field(default_factory=dict)
    """Name of an image as the overlays have it, without tag, to the image that is used instead, with tag or digest."""
    controller_env: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the CSI driver's controller."""
    node_env: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the CSI driver's node plugin."""
    manager_env: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the cloud controller manager."""
    snapshot_crds: tuple[Manifest, ...] = ()
    """CRDs of snapshots. With them their controller is added; without them overlays are used without snapshots."""
    is_default_class: bool = True
    """StorageClass `thecloud-block` is what claims get that name no class."""
    cni_manifests: Mapping[Cni, tuple[Manifest, ...]] = field(default_factory=dict)
    """Pod networks that the operator supplies: calico and cilium are not part of this project."""
    flannel: FlannelImages | None = None

    @classmethod
    def read(
        cls,
        deploy_dir: Path,
        *,
        csi_overlay: str = "overlays/default",
        ccm_overlay: str = "ccm/overlays/default",
        images: Mapping[str, str] = _NONE,
        controller_env: Mapping[str, str] = _NONE,
        node_env: Mapping[str, str] = _NONE,
        manager_env: Mapping[str, str] = _NONE,
        snapshot_crd_dir: Path | None = None,
        is_default_class: bool = True,
        cni_manifests: Mapping[Cni, Path] | None = None,
        flannel: FlannelImages | None = None,
    ) -> "AddonSettings":
        """Read the files that are named. Raises ManifestError."""
        crd_files = sorted(snapshot_crd_dir.glob("*.yaml")) if snapshot_crd_dir else []
        if snapshot_crd_dir and not crd_files:
            raise ManifestError(f"{snapshot_crd_dir}: it is to hold the CRDs of snapshots, but has no .yaml file")
        return cls(
            shipped=Shipped.read(deploy_dir),
            csi_overlay=csi_overlay,
            ccm_overlay=ccm_overlay,
            images=dict(images),
            controller_env=dict(controller_env),
            node_env=dict(node_env),
            manager_env=dict(manager_env),
            snapshot_crds=_manifests(crd_files),
            is_default_class=is_default_class,
            cni_manifests={cni: _manifests([path]) for cni, path in (cni_manifests or {}).items()},
            flannel=flannel,
        )


def _manifests(files: Sequence[Path]) -> tuple[Manifest, ...]:
    found: list[Manifest] = []
    for path in files:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path}: it cannot be read: {error}") from error
        found += read_manifests(text, name=str(path))
    return tuple(found)
