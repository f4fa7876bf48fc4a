"""Kinds of settings that only this program has: files, where it listens, pairs, networks and network addresses."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from process.address import TcpEndpoint, parse_host_port
from process.kinds import OptionKind

_DESCRIPTOR = re.compile(r"fd:([0-9]{1,6})")
OFF = "off"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A socket that whoever started this process opened and left open, under its number."""

    number: int

    @property
    def authority(self) -> str:
        """The socket as it is written in settings."""
        return f"fd:{self.number}"


Place = TcpEndpoint | Descriptor
"""Where something listens."""
Pairs = tuple[tuple[str, str], ...]


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("the path of a file or folder is needed")
    return Path(text).absolute()


def _place(text: str) -> Place:
    found = _DESCRIPTOR.fullmatch(text)
    return Descriptor(int(found[1])) if found else parse_host_port(text)


def _place_or_off(text: str) -> Place | None:
    return None if text == OFF else _place(text)


def _show_place(value: Place | None) -> str:
    return OFF if value is None else value.authority


def _pairs(text: str) -> Pairs:
    found: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, equals, value = word.partition("=")
        if not equals or not name or name in found:
            raise ValueError("name=value is needed, separated by commas, each name once")
        found[name] = value
    return tuple(found.items())


def _show_pairs(pairs: Pairs) -> str:
    return ",".join(f"{name}={value}" for name, value in pairs)


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(IPv4Network(word.strip())) for word in text.split(",") if word.strip())


def _pattern(form: str, example: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(form, text):
            raise ValueError(f"something like {example} is needed")
        return text

    return parse


FILE: OptionKind[Path] = OptionKind("path", _path)
"""Relative ones are below the current folder."""
PLACE: OptionKind[Place] = OptionKind("address", _place, _show_place)
OPTIONAL_PLACE: OptionKind[Place | None] = OptionKind("address", _place_or_off, _show_place)
PAIRS: OptionKind[Pairs] = OptionKind("list", _pairs, _show_pairs)
NETWORKS: OptionKind[tuple[str, ...]] = OptionKind("networks", _networks, ",".join)
USER_ID: OptionKind[str] = OptionKind("name", _pattern(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}", "ada"))
TENANT: OptionKind[str] = OptionKind("name", _pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", "blue"))
