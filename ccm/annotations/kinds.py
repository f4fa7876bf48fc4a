"""Parsers for the values of annotations: text to a typed value, or ValueError saying what is allowed (pure)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import TypeVar

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

MAX_PORT = 65535
MAX_ITEMS = 256
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_MAX_DNS_NAME = 253
_PATH = re.compile(r"/[\x21-\x7e]{0,1023}")
_CODE = r"[1-5][0-9]{2}"
_CODES = re.compile(rf"{_CODE}(-{_CODE})?(,{_CODE}(-{_CODE})?)*")
_COOKIE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SERVICE = re.compile(rf"{_DNS_LABEL}/{_DNS_LABEL}")
_SECONDS = re.compile(r"([0-9]{1,9})(s|m|h)?")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}
_SECRET = "secret:"  # noqa: S105 - a prefix, no secret

NODE_PORT = 0
"""In place of a port: the port of the node that the listener sends to."""


@dataclass(frozen=True, slots=True, order=True)
class CertificateRef:
    """A certificate that a service names."""

    name: str
    is_secret: bool = False
    """A Secret of type kubernetes.io/tls in the service's namespace; otherwise an id or a name at the platform."""

    def __str__(self) -> str:
        return f"{_SECRET}{self.name}" if self.is_secret else self.name


def boolean(text: str) -> bool:
    """Read `true` or `false`."""
    if text.lower() not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text.lower() == "true"


def allow(text: str) -> bool:
    """Read `allow`, the one word that permits something."""
    if text != "allow":
        raise ValueError("must be allow; leave it away to forbid it")
    return True


def integer(least: int, most: int) -> Callable[[str], int]:
    """Give a parser of whole numbers in a range, both ends included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def seconds(least: int, most: int) -> Callable[[str], int]:
    """Give a parser of times in whole seconds, also with the unit `s`, `m` or `h`."""

    def parse(text: str) -> int:
        found = _SECONDS.fullmatch(text)
        value = int(found[1]) * _UNITS_S[found[2] or ""] if found else -1
        if not least <= value <= most:
            raise ValueError(f"must be a time from {least} to {most} seconds, such as 30, 30s or 5m")
        return value

    return parse


def choice(kind: type[E]) -> Callable[[str], E]:
    """Give a parser of the values of an enum."""
    known = {str(one.value): one for one in kind}

    def parse(text: str) -> E:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return known[text]

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Give a parser of some fixed words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def word(longest: int) -> Callable[[str], str]:
    """Give a parser of names: letters, digits and `._-`."""

    def parse(text: str) -> str:
        if not _WORD.fullmatch(text) or len(text) > longest:
            raise ValueError(f"must be 1 to {longest} letters, digits and '._-', a letter or digit first")
        return text

    return parse


def dns_name(text: str) -> str:
    """Read a DNS name."""
    if len(text) > _MAX_DNS_NAME or not _DNS_NAME.fullmatch(text):
        raise ValueError("must be a DNS name in lower case")
    return text


def path(text: str) -> str:
    """Read the path of a URL."""
    if not _PATH.fullmatch(text):
        raise ValueError("must begin with / and have no blanks")
    return text


def codes(text: str) -> str:
    """Read HTTP status codes, such as `200-299,401`."""
    plain = text.replace(" ", "")
    if not _CODES.fullmatch(plain) or any(part[:3] > part[-3:] for part in plain.split(",")):
        raise ValueError("must be HTTP status codes and ranges, such as 200-299,401")
    return plain


def cookie_name(text: str) -> str:
    """Read the name of a cookie."""
    if not _COOKIE.fullmatch(text):
        raise ValueError("must be 1 to 64 characters that are allowed in the name of a cookie")
    return text


def health_port(text: str) -> int:
    """Read a port, or `node-port` (gives NODE_PORT)."""
    if text == "node-port":
        return NODE_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PORT:
        raise ValueError(f"must be a port from 1 to {MAX_PORT}, or node-port")
    return int(text)


def cidrs(text: str) -> tuple[str, ...]:
    """Read CIDRs in their canonical form, sorted; bits behind the mask are dropped as Kubernetes does."""
    return tuple(sorted(set(_items(text, cidr))))


def cidr(text: str) -> str:
    """Read one CIDR; raises ValueError naming it."""
    if "/" not in text:
        raise ValueError(f"{text[:80]!r} is no CIDR, such as 192.0.2.0/24")
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no CIDR, such as 192.0.2.0/24") from None


def addresses(text: str) -> tuple[str, ...]:
    """Read one IP address or one of each family, in the order that they stand."""
    found = tuple(_items(text, address))
    families = [ip_address(one).version for one in found]
    if len(families) != len(set(families)):
        raise ValueError("must be one IP address, or one of each family with a comma between")
    return found


def address(text: str) -> str:
    """Read one IP address in its canonical form; raises ValueError naming it."""
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no IP address") from None
    if getattr(found, "scope_id", None):
        raise ValueError(f"{text[:80]!r} has a zone; an address of a load balancer has none")
    return str(found)


def certificates(text: str) -> tuple[CertificateRef, ...]:
    """Read references to certificates; the first is the default one."""
    return tuple(dict.fromkeys(_items(text, _certificate)))


def services(text: str) -> frozenset[str]:
    """Read services as `namespace/name`."""
    return frozenset(_items(text, _service))


def _service(text: str) -> str:
    if not _SERVICE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not of the form namespace/name")
    return text


def _certificate(text: str) -> CertificateRef:
    name = text.removeprefix(_SECRET)
    if text.startswith(_SECRET):
        if len(name) > _MAX_DNS_NAME or not _DNS_NAME.fullmatch(name):
            raise ValueError(f"{text[:80]!r} does not name a Secret, such as secret:shop-tls")
        return CertificateRef(name, is_secret=True)
    return CertificateRef(word(128)(name))


def _items(text: str, parse: Callable[[str], T]) -> Sequence[T]:
    parts = [part.strip() for part in text.split(",")]
    found = [parse(part) for part in parts[: MAX_ITEMS + 1] if part]
    if not found or len(found) > MAX_ITEMS:
        raise ValueError(f"must have 1 to {MAX_ITEMS} items with commas between")
    return found
