"""How load balancers of the strict tier carry our mark: by their names, for want of tags; and their idempotency keys.

Pure. A name is `<cluster>.<service uid>.<port>`; a key is never longer than the 64 characters that the platform stores.
"""

import hashlib
import re

from ccm.ports import Cause, CloudError

_CLUSTER = re.compile(r"[A-Za-z0-9._-]{1,63}")
_UID = re.compile(r"[A-Za-z0-9-]{1,57}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65535
_HASHED = "~"
"""Begins the stand-in for a cluster id that cannot be part of a name; no usable id begins with it."""
_DIGITS = 40


class Names:
    """The names of one cluster's load balancers."""

    def __init__(self, cluster_id: str) -> None:
        usable = _CLUSTER.fullmatch(cluster_id) is not None
        self._cluster = cluster_id if usable else _HASHED + _digest(cluster_id)

    def name_of(self, uid: str, port: int) -> str:
        """Give the name for a port of a service; raises CloudError REFUSED for a uid that cannot be part of one."""
        if _UID.fullmatch(uid) is None:
            raise CloudError(Cause.REFUSED, f"{uid[:80]!r} cannot be the uid of a service")
        return f"{self._cluster}.{uid}.{port}"

    def read(self, name: str) -> tuple[str, int] | None:
        """Give uid and port of one of this cluster's names; None for every other text."""
        head, _, port = name.rpartition(".")
        cluster, _, uid = head.rpartition(".")
        if cluster != self._cluster:
            return None
        if _UID.fullmatch(uid) is None or _PORT.fullmatch(port) is None or int(port) > _MAX_PORT:
            return None
        return uid, int(port)


def key_of(name: str, *, algorithm: str, vpc_id: str, generation: int) -> str:
    """Give the idempotency key of a load balancer.

    Everything that is fixed at creation is in it: a replay compares nothing. The generation tells those apart that
    were made one after the other for the same purpose: the key of a deleted one replays that one.
    """
    return f"tc-ccm-{_digest(name, algorithm, vpc_id)}-{generation}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
