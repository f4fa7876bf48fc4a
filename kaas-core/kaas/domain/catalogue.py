"""What can be asked for: versions with the images that hold them, and instance types. Data, given by who runs kaas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from kaas.domain.model import NO_LABELS, Cni
from kaas.domain.versions import Version, parse_version

OLDEST = Version(1, 29, 0)
"""Before, kubeadm does not bind the group by which conductors get in (`kaas.crypto.kubeconfig.CONDUCTORS_GROUP`)."""
_ALWAYS = frozenset({Cni.NONE, Cni.BRIDGE})
"""Pod networks that need nothing from an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A version that clusters can be made with."""

    version: Version
    image: str
    """Name of the machine image."""
    cnis: frozenset[Cni] = frozenset()
    """Pod networks whose container images the machine image holds; empty: machines fetch what they need."""
    components: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    """What else the image holds, by name, with its version: for people."""

    def has(self, cni: Cni) -> bool:
        """Tell whether a pod network can be had with it."""
        return not self.cnis or cni in self.cnis or cni in _ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """Size of a machine."""

    name: str
    vcpus: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that can be asked for."""

    offers: tuple[Offer, ...]
    types: tuple[InstanceType, ...]

    def offer(self, version: Version) -> Offer | None:
        """Find a version."""
        return next((offer for offer in self.offers if offer.version == version), None)

    def instance_type(self, name: str) -> InstanceType | None:
        """Find an instance type."""
        return next((kind for kind in self.types if kind.name == name), None)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions, newest first."""
        return tuple(str(offer.version) for offer in sorted(self.offers, key=lambda offer: offer.version, reverse=True))


PLATFORM_TYPES = (
    InstanceType(name="basic-1", vcpus=1, memory_mb=512),
    InstanceType(name="basic-2", vcpus=1, memory_mb=1024),
    InstanceType(name="standard-1", vcpus=2, memory_mb=2048),
    InstanceType(name="standard-2", vcpus=2, memory_mb=4096),
    InstanceType(name="standard-4", vcpus=4, memory_mb=8192),
    InstanceType(name="performance-1", vcpus=4, memory_mb=16384),
    InstanceType(name="performance-2", vcpus=8, memory_mb=32768),
)
"""What the platform is shipped with (platform contract 4.6)."""


class _OfferData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    image: str
    cnis: frozenset[Cni] = frozenset()
    components: dict[str, str] = {}


class _TypeData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    vcpus: int
    memory_mb: int


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    versions: list[_OfferData]
    instance_types: list[_TypeData] | None = None


def read_catalogue(content: bytes) -> Catalogue:
    """Read a catalogue from YAML (or JSON): `versions`, and `instance_types` where they are not the platform's.

    Raises ValueError naming all that is wrong.
    """
    try:
        data = msgspec.yaml.decode(content, type=_Data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the catalogue cannot be read: {error}") from error
    problems: list[str] = []
    offers = tuple(offer for entry in data.versions if (offer := _offer(entry, problems)) is not None)
    types = (
        PLATFORM_TYPES
        if data.instance_types is None
        else tuple(
            InstanceType(name=kind.name, vcpus=kind.vcpus, memory_mb=kind.memory_mb) for kind in data.instance_types
        )
    )
    problems += _repeated("version", [str(offer.version) for offer in offers])
    problems += _repeated("instance type", [kind.name for kind in types])
    problems += [
        f"instance type {kind.name!r} needs a name, vcpus and memory_mb"
        for kind in types
        if not kind.name or kind.vcpus < 1 or kind.memory_mb < 1
    ]
    if not offers and not problems:
        problems.append("there is no version in it")
    if problems:
        raise ValueError("the catalogue is wrong: " + "; ".join(problems))
    return Catalogue(offers, types)


def _offer(entry: _OfferData, problems: list[str]) -> Offer | None:
    if not entry.image:
        problems.append(f"version {entry.version} has no image")
    try:
        version = parse_version(entry.version)
    except ValueError as error:
        problems.append(str(error))
        return None
    if version < OLDEST:
        problems.append(f"version {version} is older than {OLDEST}, which is the oldest that clusters are made with")
        return None
    return Offer(version=version, image=entry.image, cnis=entry.cnis, components=entry.components)


def _repeated(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what} {name} is there more than once" for name in sorted({n for n in names if names.count(n) > 1})]
