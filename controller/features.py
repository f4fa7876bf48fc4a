"""Which optional abilities of the platform become which advertised capabilities, in one table.

A capability is advertised only when every feature in its row is offered; an RPC of a capability that is not advertised
answers UNIMPLEMENTED. No protobuf here: the names are those of the CSI enums, the servicers look the numbers up.
"""

from csi.errors import CsiError, ErrorKind

PRECISE = "errors.precise"
IDEMPOTENCY_KEY = "volume.idempotency-key"
TAGS = "volume.tags"
FILTER = "volume.filter"
RESIZE = "volume.resize"
CLONE = "volume.clone"
ATTACH_WAIT = "volume.attach-wait"
READ_ONLY = "volume.read-only"
MODIFY = "volume.modify"
CAPACITY = "volume.capacity"
HEALTH = "volume.health"
RESTORE = "snapshot.restore"
GROUP = "snapshot.group"
ZONE = "instance.zone"
HOSTNAME = "instance.hostname"

GUARDED_DELETE = frozenset({PRECISE, TAGS})
GUARDED_ATTACH = frozenset({PRECISE, ATTACH_WAIT})
KEYED_CREATE = frozenset({PRECISE, IDEMPOTENCY_KEY, TAGS})
ZONED_CREATE = KEYED_CREATE | {ZONE}
"""Trying one zone after another needs the platform to say that one is full or not there, and that nothing was made."""

_ALWAYS: frozenset[str] = frozenset()
# Restore needs snapshots that outlive their source and can be found by name; the strict tier has neither, and its
# restore overwrites the source volume (platform contract 6), so snapshots are all or nothing.
_SNAPSHOTS = KEYED_CREATE | {RESTORE}

CONTROLLER_CAPABILITIES: dict[str, frozenset[str]] = {
    "CREATE_DELETE_VOLUME": _ALWAYS,
    "PUBLISH_UNPUBLISH_VOLUME": _ALWAYS,
    "LIST_VOLUMES": _ALWAYS,
    "LIST_VOLUMES_PUBLISHED_NODES": _ALWAYS,
    "GET_VOLUME": _ALWAYS,
    "SINGLE_NODE_MULTI_WRITER": _ALWAYS,
    "GET_CAPACITY": frozenset({CAPACITY}),
    "CREATE_DELETE_SNAPSHOT": _SNAPSHOTS,
    "LIST_SNAPSHOTS": _SNAPSHOTS,
    "GET_SNAPSHOT": _SNAPSHOTS,
    "CLONE_VOLUME": frozenset({CLONE}),
    "PUBLISH_READONLY": GUARDED_ATTACH | {READ_ONLY},
    "EXPAND_VOLUME": frozenset({RESIZE, PRECISE}),
    "MODIFY_VOLUME": frozenset({MODIFY, TAGS, PRECISE}),
    "GET_VOLUME_HEALTH": frozenset({HEALTH}),
    "LIST_VOLUME_HEALTH": frozenset({HEALTH}),
}
GROUP_CAPABILITIES: dict[str, frozenset[str]] = {
    "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT": _SNAPSHOTS | {GROUP},
}
PLUGIN_SERVICES: dict[str, frozenset[str]] = {
    "CONTROLLER_SERVICE": _ALWAYS,
    "GROUP_CONTROLLER_SERVICE": GROUP_CAPABILITIES["CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"],
    "VOLUME_ACCESSIBILITY_CONSTRAINTS": ZONED_CREATE,
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS": _SNAPSHOTS | {ZONE},
}
PLUGIN_EXPANSION: dict[str, frozenset[str]] = {"ONLINE": CONTROLLER_CAPABILITIES["EXPAND_VOLUME"]}
TABLES = (CONTROLLER_CAPABILITIES, GROUP_CAPABILITIES, PLUGIN_SERVICES, PLUGIN_EXPANSION)

ASSUMED = frozenset().union(*(needed for table in TABLES for needed in table.values()))
"""What is announced as long as the platform has not said what it offers: all of it, so that every sidecar starts. Calls
ask the platform first and do nothing while it does not answer, so that nothing is done on this assumption."""


def offered(table: dict[str, frozenset[str]], features: frozenset[str]) -> tuple[str, ...]:
    """Give the names of the table's capabilities that these features carry, in the table's order."""
    return tuple(name for name, needed in table.items() if needed <= features)


def all_offered(features: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Give all capabilities that these features carry: two of them with the same need not be told apart."""
    return tuple(offered(table, features) for table in TABLES)


def require(table: dict[str, frozenset[str]], capability: str, features: frozenset[str]) -> None:
    """Refuse a call whose capability is not advertised.

    Raises CsiError UNSUPPORTED naming the features that the platform lacks.
    """
    missing = sorted(table[capability] - features)
    if missing:
        raise CsiError(
            ErrorKind.UNSUPPORTED,
            f"{capability} is not offered: the platform does not announce {', '.join(missing)}",
        )
