"""`tc-csi-controller doctor`: asks the platform what a controller will depend on, and says what to do about the rest.

Reads only. Each check gives one line; when the first one finds the platform away the list ends, since the others would
only repeat it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum

import msgspec

from controller.access import open_client
from controller.features import CONTROLLER_CAPABILITIES, GROUP_CAPABILITIES, offered
from controller.names import CLUSTER_TAG, Ownership
from controller.nodes import Nodes
from controller.platform import open_cloud
from controller.ports import Cloud
from controller.settings import PlatformOptions
from csi.errors import CsiError, ErrorKind
from process.kinds import DURATION, WORDS, choice
from process.settings import option
from thecloud.call import Call, Repeat
from thecloud.capabilities import CHECK_ROUTE
from thecloud.client import Client
from thecloud.errors import KeyUnusable, NotSent, PlatformError, Unauthorized

MAX_CLOCK_SKEW_S = 30.0


class Verdict(Enum):
    """What a check found."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


class Output(Enum):
    """How the findings are printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    verdict: Verdict
    seen: str
    to_do: str = ""


@dataclass(frozen=True, kw_only=True)
class DoctorSettings(PlatformOptions):
    """Everything that `tc-csi-controller doctor` can be told."""

    node: tuple[str, ...] = option(
        WORDS, "Node ids, separated by commas, that are looked for at the platform.", default=()
    )
    output: Output = option(  # noqa: RUF009 - gives a dataclass field
        choice("format", Output), "How the findings are printed.", default=Output.TABLE
    )
    limit_s: float = option(DURATION, "Time for all checks together, in seconds.", default=30.0)


class _Meta(msgspec.Struct, frozen=True):
    timestamp: datetime


class _Stamped(msgspec.Struct, frozen=True):
    meta: _Meta


class Doctor:
    """Runs the checks against one platform."""

    def __init__(
        self, client: Client, ownership: Ownership, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._cloud: Cloud = open_cloud(client, relist_pause_s=0.0)
        self._ownership = ownership
        self._now = now

    async def examine(self, nodes: Sequence[str], *, deadline: float) -> list[Finding]:
        """Give the findings in the order of the checks."""
        findings = [await self._access(deadline)]
        if findings[0].verdict is Verdict.BAD:
            return findings
        checks: list[tuple[str, Callable[[float], Awaitable[Finding]]]] = [
            ("clock", self._clock),
            ("tier", self._tier),
            ("marks", self._marks),
        ]
        for name, check in checks:
            findings.append(await _guarded(name, check(deadline)))
        return findings + [await _guarded(f"node {node}", self._node(node, deadline)) for node in nodes]

    async def _access(self, deadline: float) -> Finding:
        try:
            await self._client.check(deadline)
        except Unauthorized as error:
            return Finding(
                "platform",
                Verdict.BAD,
                f"it answers, but refuses the API key: {error}",
                "put a valid key into the file of --api-key-file (or TC_API_KEY); check --tenant-id if it is set",
            )
        except KeyUnusable as error:
            return Finding(
                "platform",
                Verdict.BAD,
                f"it was not asked, for want of a key: {error}",
                "put the platform's API key into the file of --api-key-file (or into TC_API_KEY)",
            )
        except NotSent as error:
            return Finding(
                "platform",
                Verdict.BAD,
                f"it cannot be reached: {error}",
                "check --platform-url, name service, network and, for https, --ca-file",
            )
        except PlatformError as error:
            return Finding(
                "platform",
                Verdict.BAD,
                f"it does not answer as The Cloud does: {error}",
                "check --platform-url (a proxy or another service may answer there), then the platform itself",
            )
        return Finding("platform", Verdict.GOOD, "reached, and the API key is accepted")

    async def _clock(self, deadline: float) -> Finding:
        call = Call(method="GET", route=CHECK_ROUTE, path=CHECK_ROUTE, deadline=deadline, repeat=Repeat.SAFE)
        answer = await self._client.instances.send(call)
        try:
            stamp = msgspec.json.decode(answer.body, type=_Stamped).meta.timestamp
        except msgspec.MsgspecError:
            return Finding("clock", Verdict.NOTE, "the platform's answer carries no time")
        skew_s = abs((self._now() - stamp).total_seconds())
        if skew_s > MAX_CLOCK_SKEW_S:
            return Finding(
                "clock",
                Verdict.BAD,
                f"this clock and the platform's differ by {skew_s:.0f} s",
                "synchronise the clocks (NTP); certificates and ages of objects are judged by them",
            )
        return Finding("clock", Verdict.GOOD, f"within {MAX_CLOCK_SKEW_S:.0f} s of the platform's")

    async def _tier(self, deadline: float) -> Finding:
        features = await self._client.features(deadline)
        lacking = [
            name
            for table in (CONTROLLER_CAPABILITIES, GROUP_CAPABILITIES)
            for name in table
            if name not in offered(table, features.names)
        ]
        seen = f"{features.tier}, {len(features.names)} features"
        if not lacking:
            return Finding("tier", Verdict.GOOD, f"{seen}: every capability is advertised")
        return Finding(
            "tier",
            Verdict.NOTE,
            f"{seen}: not advertised are {', '.join(lacking)}",
            "nothing, unless one of them is needed: then the platform has to be extended (docs/platform-api.md)",
        )

    async def _marks(self, deadline: float) -> Finding:
        volumes = await self._cloud.volumes.all(deadline=deadline)
        own = [volume for volume in volumes if self._ownership.owns(volume.name, volume.tags)]
        wedged = [volume.id for volume in own if volume.is_wedged]
        seen = (
            f"{len(own)} of {len(volumes)} volumes are this cluster's (name {self._ownership.own_prefix}…, tag "
            f"{CLUSTER_TAG}={self._ownership.cluster_id})"
        )
        if wedged:
            return Finding(
                "marks",
                Verdict.BAD,
                f"{seen}; in use by nobody: {', '.join(wedged[:8])}",
                "let an administrator of the platform set these volumes to AVAILABLE",
            )
        return Finding("marks", Verdict.GOOD, seen)

    async def _node(self, node: str, deadline: float) -> Finding:
        # An unconditional look at the listing: the shortcut for uuids would not notice a missing instance.
        features = await self._cloud.offer.features(deadline=deadline)
        listed = frozenset(feature for feature in features if feature != "volume.attach-wait")
        try:
            instance = await Nodes(self._cloud.instances).resolve(node, features=listed, deadline=deadline)
        except CsiError as error:
            if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.PRECONDITION):
                raise
            return Finding(
                f"node {node}",
                Verdict.BAD,
                error.message,
                "start its node plugin with --node-id and the instance's uuid",
            )
        return Finding(f"node {node}", Verdict.GOOD, f"is instance {instance.id} ({instance.name})")


async def _guarded(check: str, finding: Awaitable[Finding]) -> Finding:
    try:
        return await finding
    except (PlatformError, CsiError) as error:
        return Finding(check, Verdict.BAD, f"could not be found out: {error}", "ask again; then look at the platform")


def report(findings: Sequence[Finding], output: Output) -> str:
    """Give the findings as text."""
    if output is Output.JSON:
        rows = [asdict(finding) | {"verdict": finding.verdict.value} for finding in findings]
        return json.dumps({"findings": rows, "ok": is_healthy(findings)}, indent=2) + "\n"
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.value:<4}  {finding.check:<{width}}  {finding.seen}")
        if finding.to_do:
            lines.append(f"{'':<4}  {'':<{width}}  -> {finding.to_do}")
    return "\n".join(lines) + "\n"


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Say whether nothing bad was found."""
    return all(finding.verdict is not Verdict.BAD for finding in findings)


async def examine(settings: DoctorSettings) -> list[Finding]:
    """Open the platform and run all checks within the settings' time."""
    try:
        client = open_client(settings)
    except CsiError as error:
        return [Finding("platform", Verdict.BAD, f"it was not asked: {error}", "correct the setting that is named")]
    async with client:
        deadline = asyncio.get_running_loop().time() + settings.limit_s
        return await Doctor(client, settings.ownership()).examine(settings.node, deadline=deadline)
