"""Node groups read from a YAML or JSON file, such as a mounted ConfigMap.

    groups:
      - name: pool-a
        minSize: 1
        maxSize: 10
        template:
          instanceType: standard-2
          image: kubernetes-1.36
          zone: zone-1
          labels: {tier: web}
          taints: [{key: dedicated, value: web, effect: NoSchedule}]
          cmdFile: /etc/thecloud/bootstrap/join.sh
          capacity: {cpu: "2", memory: 4Gi, ephemeral-storage: 40Gi, pods: "110"}
          allocatable: {cpu: 1900m, memory: 3500Mi}

Unknown fields are mistakes. What `allocatable` leaves out is as in `capacity`.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ccm.autoscaler.model import CLUSTER_LABEL, GROUP_LABEL, REQUEST_LABEL, SLOT_LABEL, NodeGroup, Taint, Template
from ccm.autoscaler.ports import DefinitionsError
from ccm.autoscaler.quantity import parse_quantity

_MAX_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_OWN_LABELS = frozenset({CLUSTER_LABEL, GROUP_LABEL, SLOT_LABEL, REQUEST_LABEL})
_NEEDED = ("cpu", "memory")


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of what the file holds: an unknown field is a mistake, not an extension."""


class _Taint(_Wire, frozen=True, kw_only=True):
    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str = ""


class _Template(_Wire, frozen=True, kw_only=True):
    instance_type: str
    image: str
    zone: str = ""
    region: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    ssh_key_id: str = ""
    labels: dict[str, str] = {}
    taints: tuple[_Taint, ...] = ()
    metadata: dict[str, str] = {}
    instance_labels: dict[str, str] = {}
    cmd: tuple[str, ...] = ()
    cmd_file: str = ""
    capacity: dict[str, str | int]
    allocatable: dict[str, str | int] = {}


class _Group(_Wire, frozen=True, kw_only=True):
    name: str
    min_size: int
    max_size: int
    template: _Template


class _File(_Wire, frozen=True, kw_only=True):
    groups: tuple[_Group, ...]


class GroupsFile:
    """Node groups of a file. Read again when the file has changed, also when a mount swaps it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: bytes | None = None
        self._groups: Mapping[str, NodeGroup] = {}

    async def load(self) -> Mapping[str, NodeGroup]:
        """Give the groups by name, as the file describes them now; raises DefinitionsError."""
        raw = await asyncio.to_thread(self._read)
        if raw != self._raw:
            self._groups, self._raw = parse_groups(raw, where=str(self._path)), raw
        return self._groups

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise DefinitionsError(f"node groups: {self._path}: {error.strerror}") from error
        if len(raw) > _MAX_BYTES:
            raise DefinitionsError(f"node groups: {self._path}: larger than {_MAX_BYTES} bytes")
        return raw


def parse_groups(raw: bytes, *, where: str) -> Mapping[str, NodeGroup]:
    """Read node groups from YAML or JSON; raises DefinitionsError with every fault, and what to look at."""
    try:
        file = msgspec.yaml.decode(raw, type=_File)
    except msgspec.ValidationError as error:
        raise DefinitionsError(f"node groups: {where}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DefinitionsError(f"node groups: {where}: no YAML{_place(error)}") from None
    faults = [f"{group.name!r}: {fault}" for group in file.groups for fault in _faults(group)]
    names = [group.name for group in file.groups]
    faults += [f"{name!r}: described twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if faults:
        raise DefinitionsError(f"node groups: {where}: " + "; ".join(faults))
    return {group.name: _group(group) for group in file.groups}


def _place(error: Exception) -> str:
    # The parser's own text shows a piece of the file, which may be a command with a token.
    cause = error.__context__
    mark, problem = getattr(cause, "problem_mark", None), getattr(cause, "problem", None)
    return f", line {mark.line + 1}: {problem}" if mark is not None else ""


def _faults(group: _Group) -> Iterator[str]:
    if not _NAME.fullmatch(group.name):
        yield "a name has 1 to 32 of a-z, 0-9 and -, and a letter or digit at both ends"
    if not 0 <= group.min_size <= group.max_size:
        yield f"sizes must be 0 <= minSize <= maxSize, not {group.min_size} and {group.max_size}"
    template = group.template
    if not template.instance_type or not template.image:
        yield "template.instanceType and template.image must not be empty"
    yield from (f"template.capacity lacks {name}" for name in _NEEDED if name not in template.capacity)
    for field, amounts in (("capacity", template.capacity), ("allocatable", template.allocatable)):
        for resource, amount in amounts.items():
            try:
                parse_quantity(str(amount))
            except ValueError as error:
                yield f"template.{field}.{resource}: {error}"
    for own in sorted(_OWN_LABELS & template.instance_labels.keys()):
        yield f"template.instanceLabels: {own} is the bridge's own"
    if template.ssh_key_id and (template.cmd or template.cmd_file):
        # The platform makes one document of both that the machine cannot parse (platform contract 4.3).
        yield "template.sshKeyId excludes cmd and cmdFile: put the public key into the commands"


def _group(wire: _Group) -> NodeGroup:
    template = wire.template
    return NodeGroup(
        name=wire.name,
        min_size=wire.min_size,
        max_size=wire.max_size,
        template=Template(
            instance_type=template.instance_type,
            image=template.image,
            zone=template.zone,
            region=template.region,
            vpc_id=template.vpc_id,
            subnet_id=template.subnet_id,
            ssh_key_id=template.ssh_key_id,
            labels=template.labels,
            taints=tuple(Taint(one.key, one.value, one.effect) for one in template.taints),
            metadata=template.metadata,
            instance_labels=template.instance_labels,
            cmd=template.cmd,
            cmd_file=Path(template.cmd_file) if template.cmd_file else None,
            capacity={name: str(amount) for name, amount in template.capacity.items()},
            allocatable={name: str(amount) for name, amount in template.allocatable.items()},
        ),
    )
