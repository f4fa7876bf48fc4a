"""The answer to "is it there?": the object, `Gone`, or an error. Never a guess."""

import re
from dataclasses import dataclass

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Gone:
    """The platform says definitely that there is no such object."""

    resource: str
    """`volume`, `snapshot`, `snapshot_group`, `instance`, `load_balancer`, `certificate`, `vpc`, `elastic_ip`,
    `security_group` or `ssh_key`."""
    object_id: str


def canonical_id(text: str) -> str | None:
    """Give the id in the form that the platform answers with, or None if no object can have such an id.

    Paths of the platform take names as well (platform contract 1.13); only what passes here may become part of a path,
    so that an id can never be read as a name or as another route.
    """
    lowered = text.lower()
    return lowered if _UUID.fullmatch(lowered) else None
