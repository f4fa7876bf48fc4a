"""All rules of the controller together, wired to one platform and one cluster."""

from collections.abc import Callable
from dataclasses import dataclass

from controller.attachments import Attachments
from controller.creation import Creation
from controller.groups import Groups
from controller.names import Ownership
from controller.nodes import Nodes
from controller.ports import Cloud
from controller.snapshots import Snapshots
from controller.uses import Uses
from controller.volumes import ABSENCE_CONFIRM_S, Volumes
from controller.written import UNANSWERED_S


@dataclass(frozen=True, slots=True)
class Rules:
    """What the servicers translate to."""

    cloud: Cloud
    creation: Creation
    volumes: Volumes
    attachments: Attachments
    snapshots: Snapshots
    groups: Groups
    nodes: Nodes


def wire_rules(
    cloud: Cloud,
    ownership: Ownership,
    *,
    absence_confirm_s: float = ABSENCE_CONFIRM_S,
    clock: Callable[[], float] | None = None,
    unanswered_s: float = UNANSWERED_S,
) -> Rules:
    """Give all rules, sharing one set of locks; `clock` replaces the loop's in tests of what is remembered.

    `unanswered_s` is how long a strict platform may go on with an attach or detach that it has not answered.
    """
    uses = Uses()
    nodes = Nodes(cloud.instances)
    return Rules(
        cloud=cloud,
        creation=Creation(cloud, ownership, uses, name_confirm_s=absence_confirm_s),
        volumes=Volumes(cloud, ownership, uses, absence_confirm_s=absence_confirm_s),
        attachments=Attachments(cloud, nodes, uses, clock=clock, unanswered_s=unanswered_s),
        snapshots=Snapshots(cloud, ownership, uses),
        groups=Groups(cloud, ownership, uses),
        nodes=nodes,
    )
