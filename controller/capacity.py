"""Rules for GetCapacity: what cannot be made has a capacity of nothing."""

from collections.abc import Mapping
from dataclasses import replace

from controller.model import Capacity
from controller.parameters import VolumeParameters
from controller.ports import Cause, Cloud, CloudError
from controller.topology import zone_of
from csi.errors import CsiError, ErrorKind

_NOTHING = Capacity(available_bytes=0)


async def measure(
    cloud: Cloud,
    parameters: VolumeParameters,
    segments: Mapping[str, str],
    *,
    can_be_used: bool,
    deadline: float,
) -> Capacity:
    """Give the capacity for parameters in a zone; no segments mean everywhere.

    Raises CsiError INVALID for an unknown performance class or segments that are not ours.
    """
    zone = zone_of(segments, "accessible_topology") if segments else ""
    if parameters.zone and zone and parameters.zone != zone:
        return _NOTHING
    try:
        found = await cloud.offer.capacity(
            zone=zone or parameters.zone, performance_class=parameters.performance_class, deadline=deadline
        )
    except CloudError as failure:
        if failure.cause is Cause.MISSING and failure.resource == "zone":
            return _NOTHING
        if failure.cause is Cause.MISSING:
            raise CsiError(
                ErrorKind.INVALID,
                f"parameters['performanceClass'] is {parameters.performance_class!r}, no class of the platform",
            ) from failure
        raise
    return found if can_be_used else replace(found, available_bytes=0)
