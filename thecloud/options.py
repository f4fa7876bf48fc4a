"""What a program that talks to the platform can be told about it, as options; `PlatformSettings` is made from them.

Belongs here: the options that every such program has, by the same names. Does not belong here: what one program alone
can be told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from process.kinds import PATH, REQUIRED_TEXT, TEXT, decimal, whole_number
from process.settings import option
from thecloud.settings import PlatformSettings

_CLUSTER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OPTION_OF_FIELD = {
    "base_url": "--platform-url",
    "api_key_file": "--api-key-file",
    "api_key": "TC_API_KEY",
    "ca_file": "--ca-file",
    "tenant_id": "--tenant-id",
    "requests_per_s": "--requests-per-s",
    "burst": "--burst",
}
"""What the fields of the client's settings are called on a command line."""


@dataclass(frozen=True, kw_only=True)
class PlatformAccess:
    """How to reach the platform, and by what mark a cluster's objects are told there.

    Without slots, since a class cannot have two bases with them.
    """

    platform_url: str = option(
        REQUIRED_TEXT, "Address of the platform: http://host:port or https://host[:port][/prefix].", required=True
    )
    cluster_id: str = option(
        REQUIRED_TEXT,
        "Marks every object of this cluster: 1 to 63 letters, digits and '._-'. Never change it, and never give it to "
        "a second cluster.",
        required=True,
    )
    api_key_file: Path | None = option(  # noqa: RUF009 - gives a dataclass field
        PATH, "File with the platform's API key; read again when it changes. Either this or TC_API_KEY."
    )
    api_key: str = option(TEXT, "The platform's API key.", default="", secret=True)
    ca_file: Path | None = option(  # noqa: RUF009 - gives a dataclass field
        PATH, "PEM file of the authorities that sign the platform's certificate."
    )
    tenant_id: str = option(TEXT, "Tenant to work in; the key's default tenant when empty.", default="")
    requests_per_s: float = option(decimal(least=0.1), "Mean rate of requests to the platform.", default=20.0)
    burst: int = option(whole_number(least=1), "Requests at once after a quiet time.", default=40)

    def problems(self) -> Sequence[str]:
        """Say what does not go together; empty when all is well."""
        found = [_renamed(problem) for problem in self.platform().problems()]
        if not _CLUSTER_ID.fullmatch(self.cluster_id):
            found.append(f"--cluster-id is {self.cluster_id[:80]!r}; 1 to 63 letters, digits and '._-' are allowed")
        return found

    def platform(self) -> PlatformSettings:
        """Give the client's settings."""
        return PlatformSettings(
            base_url=self.platform_url,
            api_key_file=self.api_key_file,
            api_key=self.api_key,
            ca_file=self.ca_file,
            tenant_id=self.tenant_id,
            requests_per_s=self.requests_per_s,
            burst=self.burst,
        )


def _renamed(problem: str) -> str:
    """Put the options' names into a problem that names the client's fields."""
    words = re.compile("|".join(rf"\b{name}\b" for name in sorted(_OPTION_OF_FIELD, key=len, reverse=True)))
    return words.sub(lambda match: _OPTION_OF_FIELD[match[0]], problem)
