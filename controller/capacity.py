"""Rules for GetCapacity: what cannot be made has a capacity of nothing, what cannot be asked is tried."""

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import replace

from controller.model import MAX_VOLUME_BYTES, Capacity
from controller.parameters import VolumeParameters
from controller.ports import Cause, Cloud, CloudError
from controller.topology import zone_of
from csi.errors import CsiError, ErrorKind

LOG = logging.getLogger("controller.capacity")

_NOTHING = Capacity(available_bytes=0)
_UNTOLD = Capacity(available_bytes=MAX_VOLUME_BYTES)
_SAYS_NOTHING = frozenset({Cause.NOT_SENT, Cause.UNAUTHORIZED})
"""Failures that a wrong setting may be behind. Any other is answered as one, so that what was told before holds."""


async def or_tried(asking: Awaitable[Capacity]) -> Capacity:
    """Give the capacity, or room for the largest volume while the platform cannot be asked at all.

    Without a capacity the scheduler keeps the pods of a class waiting for storage that is not there, and no claim ever
    shows what is wrong; with this one the creation of the volume is tried, and says it.
    """
    try:
        return await asking
    except CloudError as failure:
        if failure.cause not in _SAYS_NOTHING:
            raise
        LOG.warning("the platform cannot be asked what it has left, so volumes are tried: %s", failure.message)
        return _UNTOLD


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
