"""How a volume comes into being: one platform call when nothing exists, a comparison when something does.

Where the platform knows idempotency keys the create itself is the question; in the strict tier a create is sent once
and a listing decides after any unclear answer (platform contract 5.3, 25.1).
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from controller import features as offer
from controller.model import GIB, NewVolume, Source, SourceKind, Volume
from controller.names import Ownership
from controller.parameters import VolumeParameters
from controller.ports import Cause, Cloud, CloudError
from controller.sizes import choose_size, fits
from controller.topology import Requirement, candidate_zones, is_reachable
from controller.uses import Uses, name_key, snapshot_key, volume_key
from csi.errors import CsiError, ErrorKind

ZONES_CACHE_S = 60.0
"""How old the list of zones may be that is named to a person."""
NAME_CONFIRM_S = 2.0
"""Pause between the two listings that must agree before a name counts as taken by a volume out of sight."""
_OUT_OF_SIGHT = (
    "The platform's owner can say whose volume of that name it is. Only a cluster that has no volumes yet may be given "
    "another --cluster-id instead: its volumes are known by it."
)


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A volume as Kubernetes asks for it, every field checked for its form."""

    csi_name: str
    required_bytes: int = 0
    limit_bytes: int = 0
    parameters: VolumeParameters = field(default_factory=VolumeParameters)
    source: Source | None = None
    requirement: Requirement = field(default_factory=Requirement)


class Creation:
    """Makes volumes, or finds the ones that it made before."""

    def __init__(
        self, cloud: Cloud, ownership: Ownership, uses: Uses, *, name_confirm_s: float = NAME_CONFIRM_S
    ) -> None:
        self._cloud = cloud
        self._ownership = ownership
        self._uses = uses
        self._name_confirm_s = name_confirm_s

    async def create(self, request: VolumeRequest, *, deadline: float) -> Volume:
        """Give the volume of this name, made now or earlier.

        Idempotent by name. Raises CsiError ALREADY_EXISTS naming what differs, BUSY while the name or source is worked
        on, OUT_OF_RANGE, NOT_FOUND for the source, EXHAUSTED, and UNKNOWN_OUTCOME when the platform did not say whether
        it happened: asking again with the same name is then safe.
        """
        features = await self._cloud.offer.features(deadline=deadline)
        _check_offer(request, features)
        with ExitStack() as held:
            held.enter_context(self._uses.alone(name_key("volume", request.csi_name)))
            source_size = 0
            if request.source is not None:
                held.enter_context(self._uses.as_source(_source_key(request.source)))
                source_size = await self._source_size(request.source, deadline=deadline)
            new = NewVolume(
                name=self._ownership.name(request.csi_name),
                size_bytes=choose_size(request.required_bytes, request.limit_bytes, at_least_bytes=source_size),
                key=self._ownership.key("volume", request.csi_name),
                tags=self._ownership.marked(request.parameters.tags) if offer.TAGS in features else {},
                performance_class=request.parameters.performance_class,
                source=request.source,
            )
            zones = candidate_zones(request.requirement, request.parameters.zone)
            if features >= offer.KEYED_CREATE:
                return await self._create_in_zones(new, zones, request, deadline=deadline)
            return await self._create_carefully(new, request, deadline=deadline)

    async def _source_size(self, source: Source, *, deadline: float) -> int:
        """Give the least size of a volume made from the source; 0 for a source that is not there.

        That one is no error yet: the volume may have been made from it earlier, which the platform's answer tells.
        """
        if source.kind is SourceKind.SNAPSHOT:
            snapshot = await self._cloud.snapshots.get(source.id, deadline=deadline)
            return snapshot.size_bytes if snapshot is not None else 0
        volume = await self._cloud.volumes.get(source.id, deadline=deadline)
        return volume.size_bytes if volume is not None else 0

    async def _create_in_zones(
        self, new: NewVolume, zones: tuple[str, ...], request: VolumeRequest, *, deadline: float
    ) -> Volume:
        refusals, missing = [], []
        for zone in zones:
            try:
                return await self._create_keyed(replace(new, zone=zone), request, deadline=deadline)
            except CloudError as failure:
                is_missing = failure.cause is Cause.MISSING and failure.resource == "zone"
                if not zone or not (is_missing or failure.cause is Cause.QUOTA):
                    raise
                if is_missing:
                    missing.append(zone)
                else:
                    refusals.append(f"{zone}: {failure.message}")
        if missing:
            refusals.append(await self._describe_missing(missing, deadline=deadline))
        if missing == [request.parameters.zone]:
            raise CsiError(ErrorKind.INVALID, f"parameters['zone']: {refusals[0]}")
        raise CsiError(
            ErrorKind.EXHAUSTED,
            f"volume {new.name} can be made in none of the zones that it has to be reachable from: "
            f"{'; '.join(refusals)}",
        )

    async def _describe_missing(self, zones: list[str], *, deadline: float) -> str:
        """Say which zones there are instead; a platform that does not tell now is no other error."""
        said = f"the platform has no zone {' or '.join(zones)}"
        try:
            existing = await self._cloud.offer.zones(max_age_s=ZONES_CACHE_S, deadline=deadline)
        except CloudError:
            return said
        return f"{said}; it has {', '.join(sorted(existing)) or 'none'}. Correct zone or allowedTopologies of the class"

    async def _make(self, new: NewVolume, *, deadline: float) -> Volume:
        try:
            return await self._cloud.volumes.create(new, deadline=deadline)
        except CloudError as failure:
            if failure.cause is Cause.MISSING and failure.resource == "performance_class":
                raise CsiError(
                    ErrorKind.INVALID,
                    f"performanceClass {new.performance_class!r} is no class of the platform; correct the StorageClass "
                    "or the VolumeAttributesClass",
                ) from failure
            raise

    async def _create_keyed(self, new: NewVolume, request: VolumeRequest, *, deadline: float) -> Volume:
        try:
            volume = await self._make(new, deadline=deadline)
        except CloudError as failure:
            if request.source and _lacks_source(failure):
                # The key would have given the volume if it had been made from the source before.
                raise _missing_source(request.source) from failure
            if failure.cause not in (Cause.NAME_TAKEN, Cause.KEY_REUSED):
                raise
            return await self._find_taken(new, request, failure, deadline=deadline)
        return self._fitting(volume, request)

    async def _find_taken(
        self, new: NewVolume, request: VolumeRequest, failure: CloudError, *, deadline: float
    ) -> Volume:
        existing = await self._cloud.volumes.find(new.name, deadline=deadline)
        if existing is None and failure.cause is Cause.NAME_TAKEN:
            existing = await self._find_again(new, failure, deadline=deadline)
        if existing is not None:
            return self._fitting(existing, request)
        if failure.cause is Cause.KEY_REUSED:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {new.name}: the platform knows this request, but lists no such volume; it may just have been "
                f"deleted, ask again. {failure.message}",
            ) from failure
        raise CsiError(
            ErrorKind.ALREADY_EXISTS,
            f"volume name {new.name} is taken by a volume that this API key cannot see: {failure.message}. "
            f"{_OUT_OF_SIGHT}",
        ) from failure

    async def _find_again(self, new: NewVolume, failure: CloudError, *, deadline: float) -> Volume | None:
        """Look for a name once more where reads may be old: the volume may be our own of a moment ago."""
        if asyncio.get_running_loop().time() + self._name_confirm_s >= deadline:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"volume {new.name}: its name is taken, but it was not listed once, and there is no time left to look "
                f"again; ask again. {failure.message}",
            ) from failure
        await asyncio.sleep(self._name_confirm_s)
        return await self._cloud.volumes.find(new.name, deadline=deadline)

    async def _create_carefully(self, new: NewVolume, request: VolumeRequest, *, deadline: float) -> Volume:
        try:
            # The answer is believed and not compared: an equal name is never answered with an existing volume here.
            return await self._make(new, deadline=deadline)
        except CloudError as failure:
            lacks_source = request.source is not None and _lacks_source(failure)
            if failure.cause not in (Cause.UNKNOWN, Cause.NAME_TAKEN, Cause.CONFLICT) and not lacks_source:
                raise
            unclear = failure
        try:
            existing = await self._cloud.volumes.find(new.name, deadline=deadline)
        except CloudError as blind:
            raise CsiError(
                ErrorKind.TIMEOUT if blind.cause is Cause.TIMEOUT else ErrorKind.UNKNOWN_OUTCOME,
                f"volume {new.name} may or may not have been made ({unclear.message}), and looking for it failed: "
                f"{blind.message}. Ask again with the same name.",
            ) from blind
        if existing is not None:
            return self._fitting(existing, request)
        if request.source is not None and _lacks_source(unclear):
            raise _missing_source(request.source) from unclear
        raise CsiError(
            ErrorKind.UNKNOWN_OUTCOME,
            f"volume {new.name} ({new.size_bytes // GIB} GiB) was asked for and is not listed: {unclear.message}. "
            "Ask again with the same name. If this stays, the platform's storage is broken, or another tenant holds "
            f"the name. {_OUT_OF_SIGHT}",
        ) from unclear

    def _fitting(self, volume: Volume, request: VolumeRequest) -> Volume:
        if not self._ownership.owns(volume.name, volume.tags):
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"volume {volume.id} has the name {volume.name}, but not the mark of this cluster",
            )
        differences = differences_of(volume, request)
        if differences:
            raise CsiError(
                ErrorKind.ALREADY_EXISTS,
                f"volume {volume.id} ({volume.name}) exists already and differs: {'; '.join(differences)}",
            )
        return volume


def differences_of(volume: Volume, request: VolumeRequest) -> list[str]:
    """Say in which ways an existing volume does not satisfy a request; empty when it does (pure)."""
    differences = []
    if not fits(volume.size_bytes, request.required_bytes, request.limit_bytes):
        asked = f"at least {request.required_bytes}" + (
            f", at most {request.limit_bytes}" if request.limit_bytes else ""
        )
        differences.append(f"it has {volume.size_bytes} bytes, asked for are {asked}")
    if volume.source != request.source:
        differences.append(
            f"it was made from {volume.source or 'nothing'}, asked for is a copy of {request.source or 'nothing'}"
        )
    wanted = request.parameters.performance_class
    if wanted and volume.performance_class != wanted:
        differences.append(f"its performance class is {volume.performance_class!r}, asked for is {wanted!r}")
    if not is_reachable(volume.zone, request.requirement, request.parameters.zone):
        differences.append(f"it lives in zone {volume.zone!r}, which accessibility_requirements do not allow")
    return differences


def _check_offer(request: VolumeRequest, features: frozenset[str]) -> None:
    """Refuse what the platform cannot give, before anything is asked of it."""
    refused = ""
    if request.source is not None:
        capability = "CREATE_DELETE_SNAPSHOT" if request.source.kind is SourceKind.SNAPSHOT else "CLONE_VOLUME"
        if not offer.CONTROLLER_CAPABILITIES[capability] <= features:
            refused = f"volume_content_source: the platform cannot make a volume from a {request.source.kind.value}"
    lacking = offer.ZONED_CREATE - features
    if (request.requirement.requisite or request.requirement.preferred) and lacking:
        refused = (
            "accessibility_requirements: volumes cannot be placed, since the platform does not announce "
            f"{', '.join(sorted(lacking))}"
        )
    if refused:
        raise CsiError(ErrorKind.INVALID, refused)


def _source_key(source: Source) -> str:
    return snapshot_key(source.id) if source.kind is SourceKind.SNAPSHOT else volume_key(source.id)


def _lacks_source(failure: CloudError) -> bool:
    return failure.cause is Cause.MISSING and failure.resource in ("snapshot", "volume")


def _missing_source(source: Source) -> CsiError:
    return CsiError(
        ErrorKind.NOT_FOUND,
        f"volume_content_source: {source.kind.value} {source.id} does not exist at the platform",
    )
