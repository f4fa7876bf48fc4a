"""The configuration of HAProxy for one load balancer: everything but the traffic of UDP, and all health checks.

Belongs here: text from a plan, nothing else. One process serves one load balancer, so no configuration can take another
one down.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcloud.balancing.plan import Endpoint, Plan, Route
from devcloud.network_rows import HealthCheck, Listener

DEFAULT_COOKIE = "TCLB"
_CONNECT_S = 5
_REQUEST_S = 10
_OLD_WORKER_S = 3600
"""How long connections of an earlier configuration may go on."""
_HTTPS = 443
_SIZES = {"small": (1, 2000), "medium": (1, 8000), "large": (2, 20000)}
"""Threads and connections by the size of a load balancer."""
_BALANCE = {"round-robin": "roundrobin", "least-conn": "leastconn", "source": "source"}
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_WORD = re.compile(r"[A-Za-z0-9/._~!&()*+,;=:@%?-]+")
_EXPECT = "http-check expect status"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process has its files."""

    folder: Path
    sockets: Path
    """A short one: a socket's path has at most a hundred characters."""

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "haproxy.cfg"

    @property
    def socket(self) -> Path:
        """Where it answers questions."""
        return self.sockets / f"{self.folder.name}.haproxy"

    @property
    def states(self) -> Path:
        """What the last process knew of its servers' health."""
        return self.folder / "servers.state"

    def certificate(self, certificate_id: str) -> Path:
        """Where a chain lies with its key."""
        return self.folder / f"{certificate_id}.pem"


def needs(plan: Plan) -> bool:
    """Tell whether a load balancer has anything for HAProxy to do."""
    return any(_has_part(route) for route in plan.routes)


def config_of(plan: Plan, place: Place, mark: str) -> str:
    """Give the configuration; `mark` comes back from the process that runs on it. Raises ValueError for odd words."""
    is_transparent = any(route.listener.transparent for route in plan.routes)
    parts = [*_head(plan, place, mark, as_root=is_transparent)]
    for route in plan.routes:
        if route.listener.protocol != "udp":
            parts += _frontend(plan, route, place)
        if _has_backend(route):
            parts += _backend(route)
    return "\n".join(parts) + "\n"


def server_name(instance_id: str) -> str:
    """Give the name of an instance as a server."""
    return f"s_{_word(instance_id)}"


def backend_name(route: Route) -> str:
    """Give the name of a listener's servers."""
    return f"b_{route.key}"


def _has_part(route: Route) -> bool:
    return route.listener.protocol != "udp" or route.listener.health_check is not None


def _has_backend(route: Route) -> bool:
    return _has_part(route) and not route.listener.redirect_port


def _head(plan: Plan, place: Place, mark: str, *, as_root: bool) -> Iterator[str]:
    threads, connections = _SIZES[plan.size]
    yield "global"
    yield f"    description {_word(mark)}"
    yield f"    stats socket {place.socket} mode 600 level admin expose-fd listeners"
    yield f"    server-state-file {place.states}"
    yield f"    hard-stop-after {_OLD_WORKER_S}s"
    yield f"    nbthread {threads}"
    yield f"    maxconn {connections}"
    # A host that does not let its limit of open files be raised serves fewer connections, and serves.
    yield "    no strict-limits"
    yield f"    ssl-default-bind-ciphers {_CIPHERS}"
    yield "    tune.ssl.default-dh-param 2048"
    if not as_root:
        # Speaking with the client's address as one's own is the privilege that this would drop.
        yield "    user nobody"
        yield "    group nogroup"
    yield "defaults"
    yield "    load-server-state-from-file global"
    yield f"    timeout connect {_CONNECT_S}s"
    yield f"    timeout http-request {_REQUEST_S}s"
    yield "    option redispatch 1"
    yield "    retries 3"


def _frontend(plan: Plan, route: Route, place: Place) -> Iterator[str]:
    listener = route.listener
    yield f"frontend f_{route.key}"
    yield f"    mode {'http' if listener.speaks_http else 'tcp'}"
    for address in plan.addresses:
        yield f"    bind {_word(address)}:{listener.port}{_bind_options(listener, place)}"
    yield f"    timeout client {listener.idle_timeout_s}s"
    if listener.max_connections:
        yield f"    maxconn {listener.max_connections}"
    yield from _sources(listener)
    if listener.speaks_http:
        yield f"    timeout http-keep-alive {listener.idle_timeout_s}s"
    if listener.redirect_port:
        yield from _redirect(listener)
        return
    if listener.speaks_http and listener.forwarded_for:
        yield "    option forwardfor"
        yield f"    http-request set-header X-Forwarded-Proto {listener.protocol}"
        yield f"    http-request set-header X-Forwarded-Port {listener.port}"
    yield f"    default_backend {backend_name(route)}"


def _bind_options(listener: Listener, place: Place) -> str:
    if not listener.ends_tls:
        return ""
    shown = " ".join(f"crt {place.certificate(_word(one))}" for one in listener.certificate_ids)
    oldest = "TLSv1.3" if listener.tls_policy == "modern" else "TLSv1.2"
    speaks = " alpn h2,http/1.1" if listener.speaks_http else ""
    return f" ssl {shown} ssl-min-ver {oldest}{speaks}"


def _sources(listener: Listener) -> Iterator[str]:
    for name, sources in (("denied", listener.denied_sources), ("allowed", listener.allowed_sources)):
        for source in sources:
            yield f"    acl {name} src {_word(source)}"
    if listener.denied_sources:
        yield "    tcp-request connection reject if denied"
    if listener.allowed_sources:
        yield "    tcp-request connection reject if !allowed"


def _redirect(listener: Listener) -> Iterator[str]:
    port = "" if listener.redirect_port == _HTTPS else f":{listener.redirect_port}"
    yield "    http-request deny deny_status 400 unless { req.hdr(host) -m found }"
    yield r"    http-request set-var(txn.host) 'req.hdr(host),regsub(:[0-9]+$,)'"
    yield f"    http-request redirect code 308 location https://%[var(txn.host)]{port}%[capture.req.uri]"


def _backend(route: Route) -> Iterator[str]:
    listener = route.listener
    speaks_http = listener.speaks_http
    yield f"backend {backend_name(route)}"
    yield f"    mode {'http' if speaks_http else 'tcp'}"
    yield f"    timeout server {listener.idle_timeout_s}s"
    if speaks_http:
        yield f"    timeout tunnel {listener.idle_timeout_s}s"
    if listener.sticky.mode == "source-ip" or listener.algorithm == "source":
        # Worked out from the address alone, so it outlives a new configuration and a crash.
        yield "    balance source"
        yield "    hash-type consistent"
    else:
        yield f"    balance {_BALANCE[listener.algorithm]}"
    if listener.sticky.mode == "cookie":
        yield f"    cookie {_cookie(listener)}"
    if listener.transparent and listener.transport == "tcp":
        yield "    source 0.0.0.0 usesrc clientip"
    if listener.health_check is not None:
        yield from _check(listener.health_check)
    for endpoint in route.endpoints:
        yield f"    server {_server(listener, endpoint)}"


def _cookie(listener: Listener) -> str:
    words = [_word(listener.sticky.cookie_name or DEFAULT_COOKIE), "insert", "indirect", "nocache", "httponly"]
    if listener.ends_tls:
        words.append("secure")
    if listener.sticky.ttl_s:
        words += ["attr", f"Max-Age={listener.sticky.ttl_s}"]
    return " ".join(words)


def _check(check: HealthCheck) -> Iterator[str]:
    yield f"    timeout check {check.timeout_s}s"
    if check.protocol == "tcp":
        return
    yield "    option httpchk"
    host = f" hdr Host {_word(check.host)}" if check.host else ""
    # Without a name to ask for, what is asked has to be a request of the older kind, which needs none.
    version = "HTTP/1.1" if host else "HTTP/1.0"
    yield f"    http-check send meth GET uri {_word(check.path)} ver {version}{host}"
    yield f"    {_EXPECT} {_word(check.codes)}"


def _server(listener: Listener, endpoint: Endpoint) -> str:
    words = [server_name(endpoint.instance_id), f"{_word(endpoint.address)}:{endpoint.port}"]
    words += ["weight", str(endpoint.weight)]
    if listener.sticky.mode == "cookie":
        words += ["cookie", _word(endpoint.instance_id.partition("-")[0])]
    if listener.proxy_protocol:
        words.append({"v1": "send-proxy", "v2": "send-proxy-v2"}[listener.proxy_protocol])
    check = listener.health_check
    if check is not None:
        # One that is down, as each is that was asked before it was ready, is asked often, so that it is soon back.
        words += ["check", "port", str(check.port), "inter", f"{check.interval_s}s", "downinter", "1s"]
        words += ["rise", str(check.rise), "fall", str(check.fall)]
        if listener.proxy_protocol and check.port == endpoint.port:
            words.append("check-send-proxy")
        if check.protocol == "https":
            words += [
                "check-ssl",
                "verify",
                *(("required", "ca-file", "@system-ca") if check.verify_tls else ("none",)),
            ]
            if check.host:
                words += ["check-sni", _word(check.host)]
    return " ".join(words)


def _word(text: str) -> str:
    """Give a text that means nothing to the parser but itself; raises ValueError for any other."""
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text[:64]!r} cannot stand in a configuration")
    return text
