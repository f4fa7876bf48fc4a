"""Reads the annotations of a service into typed values (pure); `ccm.annotations.table` has the table.

A key under our prefix that is not in the table is told by name: a misspelt annotation must not become a load balancer
other than the one that was asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from ccm.annotations import kinds
from ccm.annotations.row import PORT, Annotation, Group
from ccm.annotations.table import (
    ADOPT_ID,
    HEALTH_CODES,
    HEALTH_HOST,
    HEALTH_PATH,
    HEALTH_PROTOCOL,
    HEALTH_TLS_VERIFY,
    HOSTNAME,
    IP_MODE,
    NAME,
    ROWS,
    SHARE_WITH,
    SIZE,
    STATIC_ADDRESS,
    STICKY,
    STICKY_COOKIE_NAME,
    STICKY_TTL,
    TABLE,
    TLS_CERT,
    TLS_PASSTHROUGH,
    TLS_POLICY,
)
from ccm.model import StickyMode
from ccm.names import BALANCER_PREFIX
from ccm.notices import Notice, Reason

T = TypeVar("T")
_PORT_KEY = re.compile(r"port\.([1-9][0-9]{0,4})\.(.+)")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Values:
    """What the annotations of one service say; only what could be read."""

    _given: Mapping[str, object]
    """By key, with the port's number in it."""

    def get(self, row: Annotation[T], port: int = 0) -> T:
        """Give a value, or the row's default; `port` for rows that are about one."""
        return cast("T", self._given.get(_plain(row.name(port)), row.default))

    def has(self, row: Annotation[T], port: int = 0) -> bool:
        """Say whether it was given."""
        return _plain(row.name(port)) in self._given

    def ports(self) -> frozenset[int]:
        """Give the numbers of ports that something is said about."""
        return frozenset(int(found[1]) for key in self._given if (found := _PORT_KEY.fullmatch(key)))

    def port_rows(self, port: int) -> tuple[Annotation[object], ...]:
        """Give the rows that were given for a port."""
        return tuple(row for row in TABLE if row.is_per_port and self.has(row, port))


def parse(annotations: Mapping[str, str]) -> tuple[Values, tuple[Notice, ...]]:
    """Read the annotations of a service; what cannot be read or says nothing is told, in a fixed order.

    Values of INVALID_ANNOTATION are missing in the result: whoever acts on it must not go on as if they were default.
    """
    given: dict[str, object] = {}
    notices: list[Notice] = []
    for name in sorted(annotations):
        if not name.startswith(BALANCER_PREFIX):
            continue
        key = _plain(name)
        try:
            given[key] = _read(_row_of(key), annotations[name].strip())
        except ValueError as wrong:
            notices.append(_problem(name, annotations[name], str(wrong)))
    values = Values(given)
    return values, (*notices, *_idle(values))


def is_output(name: str) -> bool:
    """Say whether the controller writes this annotation (whole key)."""
    row = ROWS.get(_plain(name)) if name.startswith(BALANCER_PREFIX) else None
    return row is not None and row.group is Group.OUTPUT


def _plain(name: str) -> str:
    return name.removeprefix(BALANCER_PREFIX)


def _row_of(key: str) -> Annotation[object]:
    found = _PORT_KEY.fullmatch(key)
    if found and int(found[1]) > kinds.MAX_PORT:
        raise ValueError(f"names port {found[1]}, which does not exist")
    row = ROWS.get(PORT + found[2] if found else key)
    if row is None or (row.is_per_port and not found):
        known = sorted(one.key for one in TABLE if one.group is not Group.OUTPUT and not one.refusal)
        raise ValueError(f"is not known; known are {', '.join(known)}")
    return row


def _read(row: Annotation[object], text: str) -> object:
    if row.refusal:
        raise ValueError(f"is refused: {row.refusal}")
    return row.parser(text)


def _problem(name: str, text: str, problem: str) -> Notice:
    shown = name[: len(BALANCER_PREFIX) + _SHOWN]
    if is_output(name):
        return Notice(
            f"{shown} is written by the controller; what stands there is replaced", Reason.WITHOUT_EFFECT, name
        )
    value = "" if problem.startswith("is ") else f" is {text[:_SHOWN]!r}:"
    return Notice(f"annotation {shown}{value} {problem}", Reason.INVALID_ANNOTATION, name)


def _idle(values: Values) -> tuple[Notice, ...]:
    """Tell of what has no effect beside the other annotations."""
    sticky = values.get(STICKY) or StickyMode.NONE
    protocol = values.get(HEALTH_PROTOCOL)
    found: list[tuple[Annotation[object], str]] = []

    def tell(rows: tuple[Annotation[object], ...], why: str) -> None:
        found.extend((row, why) for row in rows if values.has(row))

    if values.has(ADOPT_ID):
        tell(_rows(NAME, SIZE, STATIC_ADDRESS, SHARE_WITH), "a load balancer named by adopt-id is used as it is")
    if sticky is not StickyMode.COOKIE:
        tell(_rows(STICKY_COOKIE_NAME), "it needs sticky: cookie")
    if sticky is StickyMode.NONE:
        tell(_rows(STICKY_TTL), "it needs sticky: source-ip or cookie")
    if protocol == "tcp":
        tell(_rows(HEALTH_PATH, HEALTH_HOST, HEALTH_CODES), "it needs health-check.protocol: http or https")
    if protocol != "https":
        tell(_rows(HEALTH_TLS_VERIFY), "it needs health-check.protocol: https")
    if values.get(TLS_PASSTHROUGH):
        tell(_rows(TLS_CERT, TLS_POLICY), "with tls-passthrough no TLS is ended here")
    if values.has(HOSTNAME):
        tell(_rows(IP_MODE), "with hostname the status names no address that a mode could hold for")
    return tuple(without_effect(row, why) for row, why in found)


def without_effect(row: Annotation[T], why: str, port: int = 0) -> Notice:
    """Tell that a given annotation changes nothing, and why."""
    return Notice(f"annotation {row.name(port)} has no effect: {why}", Reason.WITHOUT_EFFECT, row.name(port))


def _rows(*rows: Annotation[object]) -> tuple[Annotation[object], ...]:
    return rows
