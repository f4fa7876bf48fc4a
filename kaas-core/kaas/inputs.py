"""The files that settings name, read at the start: whatever is wrong with any of them is told at once.

Belongs here: reading and checking, and what holds where nothing is given. Does not belong here: what is done with it.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kaas.api.static_users import StaticUsers
from kaas.bootstrap.kubeadm import HostQuirks
from kaas.crypto.keyring import KeyRing
from kaas.domain.catalogue import PLATFORM_TYPES, Catalogue, Offer, read_catalogue
from kaas.domain.errors import KaasError
from kaas.domain.model import Cni
from kaas.domain.requests import Rules
from kaas.domain.versions import parse_version
from kaas.domain.wanted import Defaults
from kaas.kube.addons.cni import cni_problem
from kaas.kube.addons.settings import AddonSettings, FlannelImages
from kaas.options import Authentication
from kaas.settings import SealingSettings, ServiceSettings
from kaas.unfit import UnfitError

SIMULATED_VPC = "simulated"
SIMULATED_VERSIONS = ("v1.29.0", "v1.29.3", "v1.30.2", "v1.31.4", "v1.36.3")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was read."""

    addons: AddonSettings
    rules: Rules
    quirks: HostQuirks
    keyring: KeyRing | None
    users: StaticUsers | None
    """None where the platform knows the callers, or where no API is served."""
    cluster_ca_pem: bytes = field(repr=False)


async def read_inputs(settings: ServiceSettings, *, serves: bool) -> Inputs:
    """Read all of it. Raises UnfitError with everything that is wrong; `serves`: users are needed."""
    problems: list[str] = []
    keyring = await read_keyring(settings, problems)
    return await asyncio.to_thread(_read, settings, keyring, problems, serves=serves)


def _read(settings: ServiceSettings, keyring: KeyRing | None, problems: list[str], *, serves: bool) -> Inputs:
    users = None
    if serves and settings.authentication is Authentication.USERS:
        users = _tried(lambda: _users(settings.users), problems)
    addons = _tried(lambda: read_addons(settings), problems)
    quirks = _tried(lambda: _quirks(settings.quirks_file), problems)
    ca_file = settings.cluster_ca_file or settings.ca_file
    ca_pem = _tried(lambda: ca_file.read_bytes() if ca_file is not None else b"", problems)
    catalogue = _tried(lambda: _catalogue(settings.catalogue_file), problems)
    rules = None
    if addons is not None and catalogue is not None:
        offered = offered_by(catalogue, addons)
        rules = _tried(lambda: Rules(offered, defaults_of(settings, offered)), problems)
    if problems or addons is None or rules is None or quirks is None or ca_pem is None:
        raise UnfitError(*problems)
    return Inputs(addons, rules, quirks, keyring, users, ca_pem)


def read_addons(settings: ServiceSettings) -> AddonSettings:
    """Read the manifests for clusters. Raises ManifestError, OSError, UnfitError."""
    if settings.deploy is None:
        raise UnfitError("--deploy-dir is missing")
    flannel = FlannelImages(settings.flannel_image, settings.flannel_plugin_image) if settings.flannel_image else None
    return AddonSettings.read(
        settings.deploy,
        csi_overlay=settings.csi_overlay,
        ccm_overlay=settings.ccm_overlay,
        images=dict(settings.addon_images),
        controller_env=dict(settings.csi_controller_env),
        node_env=dict(settings.csi_node_env),
        manager_env=dict(settings.ccm_env),
        snapshot_crd_dir=settings.snapshot_crd_dir,
        cni_manifests=settings.manifests,
        flannel=flannel,
    )


def offered_by(catalogue: Catalogue, addons: AddonSettings) -> Catalogue:
    """Leave pod networks away that cannot be installed here, so that a request for one is refused at once."""
    here = frozenset(cni for cni in Cni if cni_problem(addons, cni) is None)
    offers = tuple(
        dataclasses.replace(offer, cnis=here & offer.cnis if offer.cnis else here) for offer in catalogue.offers
    )
    return Catalogue(offers, catalogue.types)


def defaults_of(settings: ServiceSettings, catalogue: Catalogue) -> Defaults:
    """Give what holds where a request says nothing."""
    usual = Defaults()
    version = settings.default_version
    if not version:
        version = usual.version if usual.version in catalogue.versions else catalogue.versions[0]
    cni = settings.default_cni or (Cni.BRIDGE if settings.is_simulated else usual.cni)
    return Defaults(
        version=version,
        cni=cni,
        control_plane_type=settings.default_control_plane_type,
        worker_type=settings.default_worker_type,
        vpc_id=settings.default_vpc or (SIMULATED_VPC if settings.is_simulated else ""),
        node_network=settings.node_network,
        max_nodes=settings.max_nodes,
    )


async def read_keyring(settings: SealingSettings, problems: list[str]) -> KeyRing | None:
    """Give the key ring: the one that seals, or one that only opens what it has sealed before Vault did.

    What is wrong with it is added to `problems`.
    """
    if settings.vault_key and settings.keyring_file is None:
        return None
    keyring = KeyRing(settings.keyring)
    try:
        await keyring.load()
    except KaasError as error:
        problems.append(error.message)
    return keyring


def _users(path: Path) -> StaticUsers:
    try:
        return StaticUsers(path)
    except FileNotFoundError:
        raise UnfitError(
            f"there are no users at {path}; `kaas user add` makes the file with a first admin, and shows their key once"
        ) from None


def _catalogue(path: Path | None) -> Catalogue:
    if path is not None:
        return read_catalogue(path.read_bytes())
    # Without a file nothing is real: the settings take care of that.
    offers = (Offer(version=parse_version(text), image=f"kubernetes-{text}") for text in SIMULATED_VERSIONS)
    return Catalogue(tuple(offers), PLATFORM_TYPES)


def _quirks(path: Path | None) -> HostQuirks:
    if path is None:
        return HostQuirks()
    try:
        said = msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any] | None) or {}
        quirks = msgspec.convert(said, HostQuirks)
    except msgspec.MsgspecError as error:
        raise UnfitError(f"{path} has no quirks of hosts that can be read: {error}") from error
    known = {one.name for one in dataclasses.fields(HostQuirks)}
    if unknown := sorted(said.keys() - known):
        raise UnfitError(f"{path}: {', '.join(unknown)} is none of {', '.join(sorted(known))}")
    return quirks


def _tried(read: Callable[[], Value], problems: list[str]) -> Value | None:
    try:
        return read()
    except UnfitError as error:
        problems.extend(error.problems)
    except KaasError as error:
        problems.append(error.message)
    except OSError as error:
        problems.append(f"{error.filename} cannot be read: {error.strerror}")
    except ValueError as error:
        problems.append(str(error))
    return None
