"""What HAProxy says about itself: on which configuration it runs, and which servers are up.

Belongs here: its words on the runtime socket. Does not: what follows from them.
"""

import asyncio
import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from devcloud.balancing.haproxy import backend_name, server_name
from devcloud.balancing.path import HEALTHY, UNHEALTHY, Key
from devcloud.balancing.plan import Route

_NOT_YET = frozenset({"", "INI"})
_ASK_S = 3.0
_SERVERS = "show stat -1 4 -1"


async def ask(socket: Path, command: str) -> str:
    """Ask a process a question, or listen to what it says by itself; empty when nobody answers in time."""
    try:
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                if command:
                    writer.write(f"{command}\n".encode())
                    await writer.drain()
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""


async def read_mark(socket: Path) -> str:
    """Give the mark of the configuration that a process runs on; empty when nobody answers."""
    return mark_of(await ask(socket, "show info"))


async def read_servers(socket: Path) -> str:
    """Give the table of servers; empty when nobody answers."""
    return await ask(socket, _SERVERS)


async def read_states(socket: Path) -> str:
    """Give what a later process takes the state of servers from; empty when nobody answers."""
    return await ask(socket, "show servers state")


def mark_of(info: str) -> str:
    """Give the mark in an answer to `show info`."""
    found = (line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("description:"))
    return next(found, "")


def health_of(table: str, routes: Iterable[Route], before: Mapping[Key, str]) -> dict[Key, str]:
    """Give which targets are up and which are not, from a table of servers; what is missing is unknown.

    A process that has just started has not looked yet: until it has, what was known `before` holds.
    """
    names = dict(_names(routes))
    found: dict[Key, str] = {}
    for line in csv.DictReader(table.lstrip("# ").splitlines()):
        key = names.get((line.get("pxname") or "", line.get("svname") or ""))
        if key is None:
            continue
        status, result = line.get("status") or "", line.get("check_status") or ""
        if status.startswith(("DOWN", "NOLB")):
            found[key] = UNHEALTHY
        elif status.startswith("UP") and result.strip("* ") not in _NOT_YET:
            found[key] = HEALTHY
        elif status.startswith("UP") and key in before:
            found[key] = before[key]
    return found


def _names(routes: Iterable[Route]) -> Iterator[tuple[tuple[str, str], Key]]:
    for route in routes:
        for endpoint in route.endpoints:
            key = (route.group, route.listener.name, endpoint.instance_id)
            yield (backend_name(route), server_name(endpoint.instance_id)), key
