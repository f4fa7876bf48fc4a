"""Names, idempotency keys and marks that tie platform objects to CSI names and to one cluster.

Pure functions of the cluster's id; nothing here asks the platform.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_NAME = 64
CLUSTER_TAG = "csi.thecloud.io/cluster"
RESERVED_TAG_PREFIX = "csi.thecloud.io/"

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def is_uuid(text: str) -> bool:
    """Say whether a text is an id of the platform in its usual form.

    Anything else in a path of the platform would be taken for a name, so it never gets there.
    """
    return _UUID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Ownership:
    """Decides names for this cluster's objects and recognises them again."""

    cluster_id: str
    name_prefix: str
    adopted_prefixes: tuple[str, ...] = ()
    """Name prefixes of volumes that another driver made and this one may delete."""

    @property
    def own_prefix(self) -> str:
        """The start of the name of every object of this cluster."""
        return f"{self.name_prefix}-{_digest('cluster', self.cluster_id)[:8]}-"

    def name(self, csi_name: str) -> str:
        """Give the platform's name for a CSI name: the same for ever, at most 64 plain characters."""
        plain = self.own_prefix + csi_name
        if len(plain) <= MAX_NAME and _PLAIN.fullmatch(csi_name):
            return plain
        return f"{self.own_prefix}{_digest('name', csi_name)}"[:MAX_NAME]

    def key(self, kind: str, csi_name: str) -> str:
        """Give the idempotency key (64 characters) of the object of this kind and CSI name."""
        return _digest(kind, self.cluster_id, csi_name)

    @property
    def tag(self) -> tuple[str, str]:
        """The tag that every object of this cluster carries where the platform has tags."""
        return CLUSTER_TAG, self.cluster_id

    def marked(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Add this cluster's mark to tags."""
        return {**tags, CLUSTER_TAG: self.cluster_id}

    def owns(self, name: str, tags: Mapping[str, str]) -> bool:
        """Say whether this cluster may delete the object.

        The tag decides where there is one; without it the name does, since a platform may have gained tags later.
        """
        mark = tags.get(CLUSTER_TAG)
        if mark is not None:
            return mark == self.cluster_id
        return name.startswith((self.own_prefix, *self.adopted_prefixes))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
