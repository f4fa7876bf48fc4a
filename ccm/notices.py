"""What a controller has to tell people about an object, in the words of an event (pure)."""

from dataclasses import dataclass, field
from enum import Enum


class Reason(Enum):
    """The reason that an event carries."""

    INVALID_ANNOTATION = "InvalidAnnotation"
    WITHOUT_EFFECT = "AnnotationWithoutEffect"
    INVALID_SERVICE = "InvalidService"
    """The service asks for what cannot be on any platform, or contradicts itself."""
    UNSUPPORTED = "UnsupportedByPlatform"
    """Another platform could; this one does not offer it."""
    NO_NODES = "UnAvailableLoadBalancer"
    CERTIFICATE = "CertificateNotFound"
    CONFLICT = "LoadBalancerConflict"
    """Another user of the same load balancer is in the way."""
    NEEDS_RECREATE = "NeedsRecreate"
    NOT_SHARED = "LoadBalancerNotShared"
    FAMILY = "AddressFamilyNotServed"
    INVALID_LABEL = "InvalidLabel"


@dataclass(frozen=True, slots=True, order=True)
class Notice:
    """One thing to tell."""

    text: str
    reason: Reason
    key: str = ""
    """The annotation that it is about, with its prefix; empty when it is about none."""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.text}"


@dataclass(slots=True)
class Findings:
    """Collects what is told while something is worked out."""

    refusals: list[Notice] = field(default_factory=list)
    """Each forbids to go on."""
    notices: list[Notice] = field(default_factory=list)

    def refuse(self, reason: Reason, text: str, key: str = "") -> None:
        """Forbid to go on."""
        self.refusals.append(Notice(text, reason, key))

    def tell(self, reason: Reason, text: str, key: str = "") -> None:
        """Tell something that does not forbid to go on."""
        self.notices.append(Notice(text, reason, key))
