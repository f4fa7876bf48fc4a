"""Which zone a volume goes to (pure).

One key is known, the zone. Preferred terms are tried in their order, then requisite ones; a term without our key is
one that this driver cannot promise anything about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csi.driver import ZONE_KEY
from csi.errors import CsiError, ErrorKind

Segments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """Where a volume must and should be reachable."""

    requisite: tuple[Segments, ...] = ()
    preferred: tuple[Segments, ...] = ()


def candidate_zones(requirement: Requirement, wanted: str) -> tuple[str, ...]:
    """Give the zones to try, best first; ("",) leaves the choice to the platform.

    `wanted` is the zone that the StorageClass fixes, or empty. Raises CsiError INVALID for terms without our key,
    EXHAUSTED when the wanted zone is none of the requisite ones.
    """
    requisite = _zones(requirement.requisite, "accessibility_requirements.requisite")
    preferred = _zones(requirement.preferred, "accessibility_requirements.preferred")
    allowed = list(dict.fromkeys([zone for zone in preferred if not requisite or zone in requisite] + requisite))
    if wanted:
        if requisite and wanted not in requisite:
            raise CsiError(
                ErrorKind.EXHAUSTED,
                f"parameter zone is {wanted!r}, but the volume must be reachable from {', '.join(requisite)}",
            )
        return (wanted,)
    return tuple(allowed) or ("",)


def is_reachable(zone: str, requirement: Requirement, wanted: str) -> bool:
    """Say whether a volume in this zone satisfies requirement and StorageClass; only requisite terms bind."""
    requisite = _zones(requirement.requisite, "accessibility_requirements.requisite")
    return (not requisite or zone in requisite) and (not wanted or zone == wanted)


def zone_of(segments: Segments, field: str) -> str:
    """Give the zone of one term. Raises CsiError INVALID naming the field for anything but exactly our key."""
    zone = segments.get(ZONE_KEY, "")
    if not zone or len(segments) > 1:
        keys = ", ".join(repr(key[:80]) for key in sorted(segments)[:8]) or "none"
        raise CsiError(
            ErrorKind.INVALID,
            f"{field} has the keys {keys}; exactly {ZONE_KEY} with a value is understood, in allowedTopologies of a "
            "class as well",
        )
    return zone


def segments_of(zone: str) -> dict[str, str]:
    """Give the topology segments of a zone; none when the platform has no zones."""
    return {ZONE_KEY: zone} if zone else {}


def _zones(terms: Sequence[Segments], field: str) -> list[str]:
    return list(dict.fromkeys(zone_of(segments, f"{field}[{index}]") for index, segments in enumerate(terms)))
