"""Has the kubelet ask again once this node's zone is known.

The kubelet writes the topology that NodeGetInfo tells to the Node and the CSINode when the plugin registers, and the
labels of the Node only then. A zone that the cloud controller manager sets later would never get there, and volumes
could not be placed for pods on this node.
"""

import asyncio
import logging
from typing import Protocol

from csi.errors import CsiError
from csi.registration import Registration
from node.identity import NodeIdentity

_LOG = logging.getLogger(__name__)

QUESTION_LIMIT_S = 10.0
FIRST_PAUSE_S = 15.0
LAST_PAUSE_S = 300.0


class Identities(Protocol):
    """Tells who this host is; `identity.NodeIdentities`."""

    async def resolve(self, *, deadline: float) -> NodeIdentity:
        """Give this host's identity. Raises CsiError, TimeoutError."""
        ...


class ZoneWatch:
    """Looks for the zone until there is one."""

    def __init__(self, identities: Identities, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._identities = identities
        self._first_pause_s = first_pause_s

    async def run(self, registration: Registration) -> None:
        """Return when the zone is known, after having the plugin registered again if it was not at first."""
        pause_s, is_late, is_told = self._first_pause_s, False, False
        while not (zone := await self._zone()):
            is_late = True
            if zone is not None:
                if not is_told:
                    _LOG.warning("no source knows the zone of this node yet; it is asked for again")
                is_told = True
                pause_s = min(pause_s * 2.0, LAST_PAUSE_S)
            await asyncio.sleep(pause_s)
        if is_late:
            registration.renew()

    async def _zone(self) -> str | None:
        """Give the zone, empty when no source knows one; None while it is not even known who this host is."""
        try:
            identity = await self._identities.resolve(deadline=asyncio.get_running_loop().time() + QUESTION_LIMIT_S)
        except (CsiError, TimeoutError) as error:
            # NodeGetInfo and /readyz say it to those who can do something about it.
            _LOG.debug("the identity of this node is not known yet: %s", error)
            return None
        return identity.zone
