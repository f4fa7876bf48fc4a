"""What the API can be told; filled by the program that serves it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Bounds of requests and answers."""

    max_body_bytes: int = 64 * 1024
    """Largest body of a request."""
    kubeconfig_ttl_s: float = 24 * 3600.0
    """How long a kubeconfig is good for when the request does not say."""
    default_events: int = 100
    """Events in an answer when the request does not say."""
