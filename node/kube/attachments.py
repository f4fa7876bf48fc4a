"""VolumeAttachment objects: which volumes the cluster holds attached to a node."""

from dataclasses import dataclass

from node.kube.api import Json, KubeApi, Subject, quoted, text

_PATH = "/apis/storage.k8s.io/v1/volumeattachments"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One VolumeAttachment."""

    name: str
    """Made from volume, driver and node, so that the same three have the same name again."""
    volume: str
    """Name of the PersistentVolume; empty for one that is written in a pod."""


class KubeAttachments:
    """VolumeAttachments of the cluster; errors as `KubeApi` raises them."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def of_node(self, node_name: str, driver: str, *, deadline: float) -> tuple[Attachment, ...]:
        """List those of one driver and node.

        The API cannot choose by either, so this goes through all of the cluster: ask once, then by `exists`.
        """

        def keep(found: Json) -> Attachment | None:
            if text(found, "spec", "attacher") != driver or text(found, "spec", "nodeName") != node_name:
                return None
            return Attachment(text(found, "metadata", "name"), text(found, "spec", "source", "persistentVolumeName"))

        subject = Subject(_PATH, f"the VolumeAttachments of node {node_name!r}", "`list` on volumeattachments")
        return await self._api.collect(subject, keep, deadline=deadline)

    async def exists(self, name: str, *, deadline: float) -> bool:
        """Say whether a VolumeAttachment is still there."""
        subject = Subject(f"{_PATH}/{quoted(name)}", f"VolumeAttachment {name!r}", "`get` on volumeattachments")
        return await self._api.get(subject, deadline=deadline) is not None
