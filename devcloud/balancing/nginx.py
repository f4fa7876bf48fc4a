"""The configuration of nginx for the UDP listeners of one load balancer.

Belongs here: text from a plan and the targets to leave out. Does not: finding those out (HAProxy checks them).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from devcloud.balancing.path import Key
from devcloud.balancing.plan import Endpoint, Plan, Route

MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_OLD_WORKER_S = 3600
_CONNECTIONS = 4096
_WORD = re.compile(r"[A-Za-z0-9/._:-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process has its files."""

    folder: Path
    sockets: Path
    """A short one: a socket's path has at most a hundred characters."""

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "nginx.conf"

    @property
    def socket(self) -> Path:
        """Where it says on which configuration it runs."""
        return self.sockets / f"{self.folder.name}.nginx"


def needs(plan: Plan) -> bool:
    """Tell whether a load balancer has anything for nginx to do."""
    return any(route.listener.protocol == "udp" for route in plan.routes)


def config_of(plan: Plan, place: Place, mark: str, unhealthy: Collection[Key]) -> str:
    """Give the configuration; the process that runs on it says `mark`. Raises ValueError for odd words."""
    lines = [
        f"load_module {MODULE};",
        "user nobody nogroup;",
        # One process: the datagrams of a client have to reach the one that knows its session.
        "worker_processes 1;",
        f"worker_shutdown_timeout {_OLD_WORKER_S}s;",
        f"pid {place.folder}/nginx.pid;",
        f"error_log {place.folder}/nginx.log error;",
        f"events {{ worker_connections {_CONNECTIONS}; }}",
        "stream {",
        f"    server {{ listen unix:{place.socket}; return {_word(mark)}; }}",
    ]
    for route in plan.routes:
        if route.listener.protocol == "udp":
            lines += [f"    {line}" for line in _server(plan, route, unhealthy)]
    return "\n".join([*lines, "}"]) + "\n"


def _server(plan: Plan, route: Route, unhealthy: Collection[Key]) -> Iterator[str]:
    listener = route.listener
    usable = [
        endpoint for endpoint in route.endpoints if (route.group, listener.name, endpoint.instance_id) not in unhealthy
    ]
    if not usable:
        # Nobody listens then, and the kernel says so to clients.
        return
    if listener.max_connections:
        yield f"limit_conn_zone $server_port zone=c_{route.key}:64k;"
    yield f"upstream u_{route.key} {{"
    yield f"    zone u_{route.key} 256k;"
    if listener.sticky.mode == "source-ip" or listener.algorithm == "source":
        yield "    hash $remote_addr consistent;"
    elif listener.algorithm == "least-conn":
        yield "    least_conn;"
    yield from (f"    {_target(endpoint)}" for endpoint in usable)
    yield "}"
    yield "server {"
    for address in plan.addresses:
        yield f"    listen {_word(address)}:{listener.port} udp;"
    yield from (f"    deny {_word(source)};" for source in listener.denied_sources)
    if listener.allowed_sources:
        yield from (f"    allow {_word(source)};" for source in listener.allowed_sources)
        yield "    deny all;"
    if listener.max_connections:
        yield f"    limit_conn c_{route.key} {listener.max_connections};"
    if listener.transparent:
        yield "    proxy_bind $remote_addr:$remote_port transparent;"
    yield f"    proxy_timeout {listener.idle_timeout_s}s;"
    yield f"    proxy_pass u_{route.key};"
    yield "}"


def _target(endpoint: Endpoint) -> str:
    # Whether it can be sent to is for its health check to say, not for one datagram that came back.
    return f"server {_word(endpoint.address)}:{endpoint.port} weight={endpoint.weight} max_fails=0;"


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text[:64]!r} cannot stand in a configuration")
    return text
