"""How to reach the platform: one frozen struct, filled by the program that uses the client.

Belongs here: what can be set, and what is wrong with it. Does not belong here: flags and environment, which are each
program's own.
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from thecloud.presence import canonical_id

MAX_KEY_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """Where the platform is, who we are, and how hard we may press it."""

    base_url: str
    """`http://host:port` or `https://host[:port][/prefix]`."""
    api_key_file: Path | None = None
    """File with the API key; read again whenever it changes. Exactly one of this and `api_key`."""
    api_key: str = field(default="", repr=False)
    """The API key itself, for programs that get it from the environment."""
    ca_file: Path | None = None
    """PEM file of the authorities that sign the platform's certificate; the system's when not given."""
    tenant_id: str = ""
    """Tenant to work in; the key's default tenant when empty."""
    requests_per_s: float = 20.0
    """Mean rate of requests of this client; all clients share the platform's own limit (platform contract 1.5)."""
    burst: int = 40
    """Requests that may be made at once after a quiet time."""
    connect_timeout_s: float = 5.0
    """Time to open one connection."""
    read_attempt_s: float = 10.0
    """Time that one attempt of a read may take before it is tried again; changes use the caller's whole time."""
    listing_window_s: float = 0.1
    """A collection is listed at most once in this time; who asks meanwhile shares the next listing."""
    features_refresh_s: float = 600.0
    """Age at which the platform is asked again what it offers."""
    max_connections: int = 128
    """Connections open at once; an attach that waits holds one."""

    def problems(self) -> tuple[str, ...]:
        """Say everything that is wrong, each with the name of the setting; empty when all is well."""
        found = [*_address_problems(self.base_url), *self._key_problems(), *self._number_problems()]
        if self.tenant_id and canonical_id(self.tenant_id) is None:
            found.append(f"tenant_id is {self.tenant_id[:80]!r}; a uuid is needed")
        if self.ca_file is not None and not self.ca_file.is_file():
            found.append(f"ca_file {self.ca_file} is not a file")
        return tuple(found)

    def _key_problems(self) -> list[str]:
        if self.api_key_file is None and not self.api_key.strip():
            return ["api_key_file or api_key is needed: the platform takes no anonymous calls"]
        if self.api_key_file is not None and self.api_key:
            return ["api_key_file and api_key are both set; one of them is needed"]
        if self.api_key and (problem := key_problem(self.api_key)):
            return [f"api_key {problem}"]
        return []

    def _number_problems(self) -> list[str]:
        positive = ("requests_per_s", "connect_timeout_s", "read_attempt_s", "features_refresh_s")
        found = [
            f"{name} is {getattr(self, name)}; more than 0 is needed" for name in positive if getattr(self, name) <= 0
        ]
        at_least_one = ("burst", "max_connections")
        found += [
            f"{name} is {getattr(self, name)}; at least 1 is needed" for name in at_least_one if getattr(self, name) < 1
        ]
        if self.listing_window_s < 0:
            found.append(f"listing_window_s is {self.listing_window_s}; 0 or more is needed")
        return found


def key_problem(text: str) -> str:
    """Say why a text cannot be an API key, without showing it; empty when it can. White space around it is no part."""
    key = text.strip()
    if not key:
        return "is empty; put the platform's API key there"
    # What cannot be a header must be stopped here: an HTTP library's complaint about it would show the key.
    if len(key) > MAX_KEY_BYTES or not key.isascii() or not key.isprintable() or " " in key:
        return f"does not hold a key: one word of at most {MAX_KEY_BYTES} printable ASCII characters is needed"
    return ""


def _address_problems(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return ["base_url cannot be read as an address"]
    if parts.username is not None or parts.password is not None:
        # The value is not shown: it holds a secret.
        return ["base_url must not hold a user or a password; the API key has its own setting"]
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        return [f"base_url is {address[:200]!r}; http://host[:port] or https://host[:port] is needed"]
    if parts.query or parts.fragment:
        return ["base_url must not have a query or a fragment"]
    return []
