"""What the controller can be told, on top of what both programs can be told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.names import Ownership
from controller.volumes import ABSENCE_CONFIRM_S
from csi.settings import ShellSettings
from process.kinds import DURATION, REQUIRED_TEXT, WORDS
from process.settings import option
from thecloud.options import PlatformAccess

_NAME_PREFIX = re.compile(r"[a-z0-9][a-z0-9-]{0,14}")
MIN_ADOPTED_PREFIX = 3


@dataclass(frozen=True, kw_only=True)
class PlatformOptions(PlatformAccess):
    """How to reach the platform, and which of its volumes and snapshots are this cluster's.

    Without slots, since a class cannot have two bases with them.
    """

    name_prefix: str = option(
        REQUIRED_TEXT, "Start of the names of all objects at the platform; 1 to 15 of a-z, 0-9 and '-'.", default="csi"
    )
    adopt_name_prefix: tuple[str, ...] = option(
        WORDS,
        "Starts of names, separated by commas, of volumes that another driver made for this cluster and that this one "
        "may delete.",
        default=(),
    )
    absence_confirm_s: float = option(
        DURATION,
        "Pause between the two looks that must agree before a volume of a strict platform counts as gone.",
        default=ABSENCE_CONFIRM_S,
    )

    def problems(self) -> Sequence[str]:
        """Say what does not go together; empty when all is well."""
        found = list(super().problems())
        if not _NAME_PREFIX.fullmatch(self.name_prefix):
            found.append(f"--name-prefix is {self.name_prefix[:80]!r}; 1 to 15 of a-z, 0-9 and '-' are allowed")
        found += [
            f"--adopt-name-prefix {prefix!r} is too short: it would take volumes of others for this cluster's; at "
            f"least {MIN_ADOPTED_PREFIX} characters are needed"
            for prefix in self.adopt_name_prefix
            if len(prefix) < MIN_ADOPTED_PREFIX
        ]
        return found

    def ownership(self) -> Ownership:
        """Give the rule by which this cluster's objects are told."""
        return Ownership(
            cluster_id=self.cluster_id, name_prefix=self.name_prefix, adopted_prefixes=self.adopt_name_prefix
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings(PlatformOptions, ShellSettings):
    """Everything that `tc-csi-controller serve` can be told."""
