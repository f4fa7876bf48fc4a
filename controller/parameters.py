"""Parameters of StorageClass, VolumeAttributesClass and the snapshot classes: one table, typed readers (pure).

The reference page is printed from the table. A key that is not in it is refused by name: a misspelt parameter must not
become a volume with other properties than were asked for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from controller import features as offer
from controller.names import RESERVED_TAG_PREFIX
from csi.errors import CsiError, ErrorKind
from csi.mkfs_options import parse_mkfs_options

MAX_TAGS = 32
MAX_TAG_VALUE = 255
_TAG_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_TAG_VALUE = re.compile(rf"[^\x00-\x1f\x7f]{{0,{MAX_TAG_VALUE}}}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KUBERNETES = "csi.storage.k8s.io/"
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
"""What the node plugin can make and mount; an empty type means the first."""


class Scope(Enum):
    """Where a parameter may stand."""

    VOLUME = "StorageClass"
    MUTABLE = "VolumeAttributesClass"
    SNAPSHOT = "VolumeSnapshotClass"
    GROUP = "VolumeGroupSnapshotClass"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table."""

    key: str
    scopes: tuple[Scope, ...]
    form: str
    meaning: str
    needs: frozenset[str] = frozenset()
    """Features that the platform must announce."""
    tag: str = ""
    """For what the sidecars add: the tag that it becomes where the platform has tags."""


MKFS_OPTIONS = "mkfsOptions"
PERFORMANCE_CLASS = "performanceClass"
TAGS = "tags"
ZONE = "zone"
FS_TYPE = "fsType"
PREFIXED_FS_TYPE = _KUBERNETES + "fstype"


def _added(name: str, tag: str, *scopes: Scope) -> Parameter:
    return Parameter(
        key=_KUBERNETES + name,
        scopes=scopes,
        form="set by the sidecar",
        meaning=f"kept as tag `{RESERVED_TAG_PREFIX}{tag}`, or dropped where the platform has no tags",
        tag=RESERVED_TAG_PREFIX + tag,
    )


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        MKFS_OPTIONS,
        (Scope.VOLUME,),
        "pairs of option and value, separated by spaces",
        "extra arguments of mkfs at the first mount, such as `-m 0 -i 16384`; those in the table below",
    ),
    Parameter(
        PERFORMANCE_CLASS,
        (Scope.VOLUME, Scope.MUTABLE),
        "name of a class",
        "one of the platform's performance classes; without it the platform's default",
        needs=frozenset({offer.MODIFY}),
    ),
    Parameter(
        TAGS,
        (Scope.VOLUME, Scope.MUTABLE, Scope.SNAPSHOT, Scope.GROUP),
        "`key=value,key2=value2`",
        f"tags of the object at the platform; at most {MAX_TAGS}, keys of 1 to 63 letters, digits and `._/-`, values "
        f"of up to {MAX_TAG_VALUE} characters without a comma; keys under `{RESERVED_TAG_PREFIX}` are the driver's "
        "own. In a VolumeAttributesClass an empty value removes the tag",
        needs=frozenset({offer.TAGS}),
    ),
    Parameter(
        ZONE,
        (Scope.VOLUME,),
        "name of a zone",
        "fixes the zone; without it the zone follows the pod (`volumeBindingMode: WaitForFirstConsumer`)",
        needs=offer.ZONED_CREATE,
    ),
    Parameter(
        FS_TYPE,
        (Scope.VOLUME,),
        "`ext4`, `xfs` or `btrfs`",
        f"file system of the volume (default `ext4`); the short form of `{PREFIXED_FS_TYPE}`",
    ),
    Parameter(
        PREFIXED_FS_TYPE,
        (Scope.VOLUME,),
        "`ext4`, `xfs` or `btrfs`",
        "file system of the volume (default `ext4`); read by the provisioner, which hands it on with each call",
    ),
    Parameter(
        "deletionPolicy",
        (Scope.GROUP,),
        "any",
        "nothing: the class's own field of this name decides. The storage suite of Kubernetes writes it here as well",
    ),
    _added("pvc/name", "pvc-name", Scope.VOLUME, Scope.MUTABLE),
    _added("pvc/namespace", "pvc-namespace", Scope.VOLUME, Scope.MUTABLE),
    _added("pv/name", "pv-name", Scope.VOLUME, Scope.MUTABLE),
    _added("volumesnapshot/name", "snapshot-name", Scope.SNAPSHOT),
    _added("volumesnapshot/namespace", "snapshot-namespace", Scope.SNAPSHOT),
    _added("volumesnapshotcontent/name", "snapshot-content-name", Scope.SNAPSHOT),
    _added("volumegroupsnapshot/name", "group-name", Scope.GROUP),
    _added("volumegroupsnapshot/namespace", "group-namespace", Scope.GROUP),
    _added("volumegroupsnapshotcontent/name", "group-content-name", Scope.GROUP),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What may change during a volume's life."""

    performance_class: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeParameters:
    """Everything that the classes say about a new volume."""

    mkfs_options: tuple[str, ...] = ()
    performance_class: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""


def read_volume_parameters(
    parameters: Mapping[str, str],
    mutable: Mapping[str, str],
    features: frozenset[str],
    fs_types: Sequence[str] = (),
) -> VolumeParameters:
    """Read a StorageClass and, over it, a VolumeAttributesClass.

    `fs_types` are the file systems that the capabilities ask for; raw volumes have none. Raises CsiError INVALID
    naming the key and, for an unknown one, the known ones.
    """
    known = _check_keys(parameters, Scope.VOLUME, "parameters", features)
    wanted = _fs_types(parameters, fs_types)
    changes = read_changes(mutable, features)
    tags = _added_tags(parameters, known, features) | _tags(parameters, "parameters")
    return VolumeParameters(
        mkfs_options=parse_mkfs_options(_plain(parameters, MKFS_OPTIONS), wanted),
        performance_class=changes.performance_class or _word(parameters, PERFORMANCE_CLASS, "parameters"),
        tags={key: value for key, value in (tags | dict(changes.tags)).items() if value},
        zone=_word(parameters, ZONE, "parameters"),
    )


def read_changes(mutable: Mapping[str, str], features: frozenset[str]) -> Changes:
    """Read a VolumeAttributesClass. Raises CsiError INVALID naming the key."""
    known = _check_keys(mutable, Scope.MUTABLE, "mutable_parameters", features)
    return Changes(
        performance_class=_word(mutable, PERFORMANCE_CLASS, "mutable_parameters"),
        tags=_added_tags(mutable, known, features) | _tags(mutable, "mutable_parameters"),
    )


def read_tags(parameters: Mapping[str, str], scope: Scope, features: frozenset[str]) -> dict[str, str]:
    """Read the tags of a snapshot class (SNAPSHOT or GROUP). Raises CsiError INVALID naming the key."""
    known = _check_keys(parameters, scope, "parameters", features)
    tags = _added_tags(parameters, known, features) | _tags(parameters, "parameters")
    return {key: value for key, value in tags.items() if value}


def _check_keys(
    given: Mapping[str, str], scope: Scope, field_name: str, features: frozenset[str]
) -> dict[str, Parameter]:
    known = {row.key: row for row in PARAMETERS if scope in row.scopes}
    for key in sorted(given):
        row = known.get(key)
        if row is None:
            # The provisioner reads what it knows under this prefix, secrets among them, and hands on no more than the
            # names of its objects. What else stands there is misspelt.
            is_prefixed = key.startswith(_KUBERNETES)
            names = ", ".join(name for name in known if is_prefixed or not name.startswith(_KUBERNETES))
            raise CsiError(
                ErrorKind.INVALID, f"{field_name}[{key[:80]!r}] is not known; a {scope.value} understands {names}"
            )
        if lacking := row.needs - features:
            raise CsiError(
                ErrorKind.INVALID,
                f"{field_name}[{key!r}] cannot be had: the platform does not announce {', '.join(sorted(lacking))}",
            )
    return known


def _fs_types(given: Mapping[str, str], asked: Sequence[str]) -> tuple[str, ...]:
    """Give the file systems that the volume may hold, those of the capabilities and of the parameters being the same.

    The provisioner takes the parameter into the capabilities; another caller that does not would get a file system
    other than the one that the class names.
    """
    wanted = list(dict.fromkeys(asked))
    for key in (FS_TYPE, PREFIXED_FS_TYPE):
        fs_type = _plain(given, key)
        if fs_type and fs_type not in FILE_SYSTEMS:
            raise CsiError(
                ErrorKind.INVALID, f"parameters[{key!r}] is {fs_type[:80]!r}; {', '.join(FILE_SYSTEMS)} can be had"
            )
        if fs_type and any(other != fs_type for other in wanted):
            raise CsiError(
                ErrorKind.INVALID,
                f"parameters[{key!r}] is {fs_type!r}, but the other parameters or volume_capabilities ask for "
                f"{', '.join(wanted)}; give the same file system everywhere",
            )
        if fs_type and not wanted:
            wanted.append(fs_type)
    return tuple(wanted)


def _added_tags(given: Mapping[str, str], known: dict[str, Parameter], features: frozenset[str]) -> dict[str, str]:
    if offer.TAGS not in features:
        return {}
    # Names of Kubernetes objects have at most 253 characters; whatever else stands there does not become a tag.
    return {
        row.tag: given[key]
        for key, row in known.items()
        if row.tag and given.get(key) and _TAG_VALUE.fullmatch(given[key])
    }


def _tags(given: Mapping[str, str], field_name: str) -> dict[str, str]:
    text = _plain(given, TAGS)
    tags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        problem = ""
        if not equals or not _TAG_KEY.fullmatch(key):
            problem = "is not of the form key=value"
        elif not _TAG_VALUE.fullmatch(value):
            problem = f"has a value of more than {MAX_TAG_VALUE} characters or with control characters"
        elif key.startswith(RESERVED_TAG_PREFIX):
            problem = f"uses the prefix {RESERVED_TAG_PREFIX}, which is the driver's own"
        elif key in tags:
            problem = "comes twice"
        if problem:
            raise CsiError(ErrorKind.INVALID, f"{field_name}[{TAGS!r}]: {part[:80]!r} {problem}")
        tags[key] = value
    if len(tags) > MAX_TAGS:
        raise CsiError(
            ErrorKind.INVALID, f"{field_name}[{TAGS!r}] has {len(tags)} tags; at most {MAX_TAGS} are allowed"
        )
    return tags


def _word(given: Mapping[str, str], key: str, field_name: str) -> str:
    text = _plain(given, key)
    if text and not _WORD.fullmatch(text):
        raise CsiError(
            ErrorKind.INVALID,
            f"{field_name}[{key!r}] is {text[:80]!r}; 1 to 63 letters, digits and '._-' are allowed",
        )
    return text


def _plain(given: Mapping[str, str], key: str) -> str:
    return given.get(key, "").strip()
