"""Provider ids: `thecloud://<uuid of the instance>` (pure).

An id with another prefix belongs to another provider: such a node is not ours, and is never touched. The same text
stands in the autoscaler's answers.
"""

import re

from ccm.names import PROVIDER

PREFIX = f"{PROVIDER}://"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def format_provider_id(instance_id: str) -> str:
    """Give the provider id of an instance. Raises ValueError when the instance's id is no UUID."""
    plain = instance_id.lower()
    if not _UUID.fullmatch(plain):
        raise ValueError(f"instance id {instance_id[:80]!r} is no UUID; a provider id is made of {PREFIX} and a UUID")
    return PREFIX + plain


def parse_provider_id(provider_id: str) -> str | None:
    """Give the instance's id; None when there is none, or when it is not one of ours."""
    if not provider_id.startswith(PREFIX):
        return None
    plain = provider_id.removeprefix(PREFIX).lower()
    return plain if _UUID.fullmatch(plain) else None


def is_foreign(provider_id: str) -> bool:
    """Say whether somebody else's id is set: an unknown prefix, or ours with anything but a UUID behind it."""
    return bool(provider_id) and parse_provider_id(provider_id) is None
