"""The kinds of objects that a cloud controller manager asks for, and where the API has them."""

from dataclasses import dataclass
from typing import Any, Final, Generic
from urllib.parse import quote

from ccm.kube.model import Lease, Node, O, Secret, Service


@dataclass(frozen=True, slots=True)
class Kind(Generic[O]):
    """A kind of object, and the struct that holds the parts of it that are read."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    type: type[O]
    is_namespaced: bool

    @property
    def api_version(self) -> str:
        """As `apiVersion` of an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", namespace: str = "", subresource: str = "") -> str:
        """Path of an object, or of a collection without a name; of all namespaces when none is given.

        Raises ValueError for a name without the namespace that the kind needs: it would be another object's path.
        """
        if name and self.is_namespaced and not namespace:
            raise ValueError(f"{self.kind} {name}: its namespace is missing")
        base = f"/apis/{self.group}" if self.group else "/api"
        where = ("namespaces", namespace) if self.is_namespaced and namespace else ()
        parts = (self.version, *where, self.plural, name, subresource)
        return base + "".join("/" + quote(part, safe="") for part in parts if part)


NODES: Final = Kind("", "v1", "nodes", "Node", Node, is_namespaced=False)
SERVICES: Final = Kind("", "v1", "services", "Service", Service, is_namespaced=True)
SECRETS: Final = Kind("", "v1", "secrets", "Secret", Secret, is_namespaced=True)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease", Lease, is_namespaced=True)

_ALL: tuple[Kind[Any], ...] = (NODES, SERVICES, SECRETS, LEASES)


def kind_of(found: O) -> Kind[O]:
    """Say of which kind an object is; raises LookupError for one that is not listed here."""
    for kind in _ALL:
        if isinstance(found, kind.type):
            return kind
    raise LookupError(f"{type(found).__name__} is no kind that this program knows")
