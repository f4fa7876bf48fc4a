"""How the controllers read and write objects of Kubernetes, as narrow as they do it."""

from collections.abc import Mapping
from typing import Any, Protocol

from ccm.kube.kinds import Kind
from ccm.kube.model import O


class ObjectClient(Protocol[O]):
    """Reads and patches objects of one kind; `ccm.kube.client.KubeClient` is one, and its errors are raised."""

    async def get(self, kind: Kind[O], name: str, namespace: str = "", *, deadline: float) -> O | None:
        """Read an object; None when it is not there."""
        ...

    async def patch(
        self,
        kind: Kind[O],
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
        body: Mapping[str, Any],
        deadline: float,
    ) -> O | None:
        """Apply a JSON merge patch; gives the object after it, None when it is not there."""
        ...
