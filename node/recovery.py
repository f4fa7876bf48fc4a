"""What a restarted process makes of its records: keeps what the kernel confirms, undoes what was cut off.

Runs once, before the first RPC is served. It unmounts only the staging mounts of stages that never ended. Not here:
comparing (`evidence`).
"""

import asyncio
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from csi.errors import CsiError
from node.evidence import Evidence
from node.mounts import Mounts
from node.release import Release
from node.stage import take_down
from node.state import Phase, StagedVolume, VolumeRecords

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of the records, by volume id."""

    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Neither disk nor publication of them is left."""
    undone: tuple[str, ...] = ()
    """Stages that were cut off; their records stay while the kernel holds the disk."""
    unclear: tuple[str, ...] = ()
    """The kernel's answer failed; the record stays as it is."""
    unrecorded: tuple[str, ...] = ()
    """Mounts below the staging folder that no record tells of."""


class Recovery:
    """Compares all records with the kernel."""

    def __init__(
        self,
        *,
        mounts: Mounts,
        evidence: Evidence,
        records: VolumeRecords,
        release: Release,
        staging_root: Path,
    ) -> None:
        """`staging_root`: the kubelet's folder of this driver's staging paths."""
        self._mounts = mounts
        self._evidence = evidence
        self._records = records
        self._release = release
        self._staging_root = staging_root

    async def reconcile(self) -> Recovered:
        """Bring the records in line with the kernel, and log what was found. Raises CsiError when none can be read."""
        outcome: dict[str, list[str]] = {"kept": [], "dropped": [], "undone": [], "unclear": []}
        for record in await self._records.all():
            try:
                word = await self._settle(record)
            except (CsiError, OSError) as error:
                # One broken volume must not keep the plugin from serving all others.
                _LOG.error("volume %s: its record cannot be compared with the kernel: %s", record.volume_id, error)
                word = "unclear"
            outcome[word].append(record.volume_id)
        unrecorded = await asyncio.to_thread(self._unrecorded, await self._records.all())
        for point in unrecorded:
            _LOG.warning("%s is mounted, but no record tells of it; it is taken over when it is staged again", point)
        return Recovered(**{word: tuple(ids) for word, ids in outcome.items()}, unrecorded=unrecorded)

    async def _settle(self, record: StagedVolume) -> str:
        live = await self._evidence.live_targets(record)
        # A target path that is still there is ours to remove, mounted or not.
        kept = await asyncio.to_thread(
            lambda: tuple(p for p in record.publications if p.target_path in live or os.path.lexists(p.target_path))
        )
        record = replace(record, publications=kept)
        if record.phase is Phase.STAGING:
            _LOG.warning("volume %s: its stage was cut off and is undone", record.volume_id)
            await take_down(record, self._evidence, self._mounts, self._records, self._release)
            return "undone"
        # An attached disk that is mounted nowhere to be seen may be in another mount namespace: unstaging has to ask
        # the kernel before it may be detached.
        mounted = await self._is_mounted(record)
        if not kept and not mounted and await self._evidence.disk(record) is None:
            _LOG.warning("volume %s: its disk is not there any more; its record is dropped", record.volume_id)
            await self._records.remove(record.volume_id)
            return "dropped"
        await self._records.put(record)
        return "kept"

    async def _is_mounted(self, record: StagedVolume) -> bool:
        return not record.block and await self._evidence.staging_mount(record) is not None

    def _unrecorded(self, records: tuple[StagedVolume, ...]) -> tuple[str, ...]:
        known = {Path(record.staging_path).resolve() for record in records}
        root = self._staging_root.resolve()
        points = [entry.mount_point for entry in self._mounts.table() if entry.mount_point.is_relative_to(root)]
        return tuple(sorted(str(point) for point in points if point not in known))
