"""Plans and configurations of load balancers: what the proxies are told, without the proxies."""

import shutil
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devcloud import commands
from devcloud.balancing import haproxy, health, nginx
from devcloud.balancing.network import plan_addresses
from devcloud.balancing.plan import Endpoint, Plan, Route
from devcloud.commands import SEARCH_PATH
from devcloud.network_rows import HealthCheck, Listener, Sticky
from tests.support.certificates import MISSING_OPENSSL, make_loopback_certificate

FOLDER = Path("/data/lb-1")
HAPROXY = haproxy.Place(FOLDER, Path("/run/site"))
NGINX = nginx.Place(FOLDER, Path("/run/site"))
ENDPOINTS = (Endpoint("i-1", "10.0.0.5", 30080, 3), Endpoint("i-2", "10.0.0.6", 30080))


def plan(*routes: Route, **more: Any) -> Plan:
    return Plan("lb-1", ("10.0.0.200",), routes, **more)


def route(protocol: Any = "tcp", port: int = 80, endpoints: tuple[Endpoint, ...] = ENDPOINTS, **more: Any) -> Route:
    return Route(
        "g", Listener(name=f"{protocol}{port}", protocol=protocol, port=port, target_port=30080, **more), endpoints
    )


def config(*routes: Route, **more: Any) -> list[str]:
    return [line.strip() for line in haproxy.config_of(plan(*routes, **more), HAPROXY, "mark").splitlines()]


def servers(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("server ")]


def test_tcp_listener_sends_bytes_by_weight() -> None:
    lines = config(route(idle_timeout_s=7, max_connections=9, algorithm="least-conn"))

    assert "bind 10.0.0.200:80" in lines
    assert {"mode tcp", "maxconn 9", "timeout client 7s", "timeout server 7s", "balance leastconn"} <= set(lines)
    assert servers(lines) == ["server s_i-1 10.0.0.5:30080 weight 3", "server s_i-2 10.0.0.6:30080 weight 1"]
    assert "description mark" in lines


def test_denied_sources_come_before_allowed_ones() -> None:
    lines = config(route(allowed_sources=["10.0.0.0/8"], denied_sources=["10.1.0.0/16", "10.2.0.0/16"]))

    rejections = [line for line in lines if "reject" in line]
    assert rejections == ["tcp-request connection reject if denied", "tcp-request connection reject if !allowed"]
    assert {"acl denied src 10.1.0.0/16", "acl denied src 10.2.0.0/16", "acl allowed src 10.0.0.0/8"} <= set(lines)
    assert not [line for line in config(route()) if "reject" in line]


def test_http_listener_tells_who_asks_unless_told_not_to() -> None:
    lines = config(route("http"))

    assert {"mode http", "option forwardfor", "http-request set-header X-Forwarded-Proto http"} <= set(lines)
    assert not [line for line in config(route("http", forwarded_for=False)) if "orward" in line]


def test_redirect_needs_no_servers() -> None:
    lines = config(route("http", redirect_port=443), route("http", port=81, redirect_port=8443))

    assert servers(lines) == []
    assert not [line for line in lines if line.startswith(("backend", "default_backend"))]
    redirects = [line.partition(" location ")[2] for line in lines if " redirect code 308 " in line]
    assert redirects == [
        "https://%[var(txn.host)]%[capture.req.uri]",
        "https://%[var(txn.host)]:8443%[capture.req.uri]",
    ]


def test_tls_is_ended_with_the_first_certificate_by_default() -> None:
    https = route("https", port=443, certificate_ids=["c-1", "c-2"])
    tls = route("tls", port=444, certificate_ids=["c-1"], tls_policy="modern")
    binds = [line for line in config(https, tls) if line.startswith("bind")]

    assert binds == [
        "bind 10.0.0.200:443 ssl crt /data/lb-1/c-1.pem crt /data/lb-1/c-2.pem ssl-min-ver TLSv1.2 alpn h2,http/1.1",
        "bind 10.0.0.200:444 ssl crt /data/lb-1/c-1.pem ssl-min-ver TLSv1.3",
    ]


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (
            HealthCheck("tcp", 31000, interval_s=7, rise=4, fall=5),
            "check port 31000 inter 7s downinter 1s rise 4 fall 5",
        ),
        (
            HealthCheck("https", 1, host="a.b"),
            "check port 1 inter 5s downinter 1s rise 2 fall 3 check-ssl verify none check-sni a.b",
        ),
        (
            HealthCheck("https", 1, verify_tls=True),
            "check port 1 inter 5s downinter 1s rise 2 fall 3 check-ssl verify required ca-file @system-ca",
        ),
    ],
)
def test_health_check_of_a_server(check: HealthCheck, expected: str) -> None:
    lines = config(route(health_check=check))

    assert servers(lines)[1] == f"server s_i-2 10.0.0.6:30080 weight 1 {expected}"


def test_health_check_asks_with_http_as_told() -> None:
    check = HealthCheck("http", 31000, path="/ready?x=1", host="a.b", codes="200-204,301", timeout_s=9)
    lines = config(route(health_check=check))

    assert "http-check send meth GET uri /ready?x=1 ver HTTP/1.1 hdr Host a.b" in lines
    assert {"http-check expect status 200-204,301", "timeout check 9s", "option httpchk"} <= set(lines)
    assert "http-check send meth GET uri /healthz ver HTTP/1.0" in config(route(health_check=HealthCheck("http", 1)))


@pytest.mark.parametrize(("port", "says_who"), [(30080, True), (31000, False)])
def test_check_speaks_the_proxy_protocol_where_the_target_expects_it(port: int, says_who: bool) -> None:
    lines = config(route(proxy_protocol="v2", health_check=HealthCheck("tcp", port)))

    assert all("send-proxy-v2" in line for line in servers(lines))
    assert all(("check-send-proxy" in line) == says_who for line in servers(lines))


def test_stickiness() -> None:
    cookie = config(route("https", certificate_ids=["c"], sticky=Sticky("cookie", "STAY", 60)))
    source = config(route(sticky=Sticky("source-ip")))

    assert "cookie STAY insert indirect nocache httponly secure attr Max-Age=60" in cookie
    assert servers(cookie)[0].endswith("cookie i")
    assert {"balance source", "hash-type consistent"} <= set(source)


def test_client_s_address_is_kept_by_root_only() -> None:
    lines = config(route(transparent=True))

    assert "source 0.0.0.0 usesrc clientip" in lines
    assert "user nobody" not in lines
    assert "user nobody" in config(route())


def test_udp_is_not_haproxy_s_but_for_its_health_checks() -> None:
    plain, checked = route("udp"), route("udp", health_check=HealthCheck("tcp", 31000))

    assert not haproxy.needs(plan(plain))
    assert haproxy.needs(plan(checked))
    assert not [line for line in config(checked) if line.startswith(("frontend", "bind"))]
    assert len(servers(config(checked))) == 2


@pytest.mark.parametrize("text", ["/a b", "/a\nuser root", "/a#b", '/"', "/a'", "/a\\"])
def test_text_that_means_something_to_the_parser_is_refused(text: str) -> None:
    check = msgspec.structs.replace(HealthCheck("http", 1), path=text)

    with pytest.raises(ValueError, match="cannot stand in a configuration"):
        config(route(health_check=check))


def test_names_in_configurations_stay_and_differ() -> None:
    first = route()

    assert first.key == replace(first, endpoints=()).key
    assert len({first.key, route(port=81).key, replace(first, group="h").key}) == 3


def udp(*routes: Route, unhealthy: frozenset[tuple[str, str, str]] = frozenset()) -> list[str]:
    return [line.strip() for line in nginx.config_of(plan(*routes), NGINX, "mark", unhealthy).splitlines()]


def test_udp_listener_sends_datagrams() -> None:
    lines = udp(route("udp", port=53, idle_timeout_s=7, max_connections=5, sticky=Sticky("source-ip")))

    assert "listen 10.0.0.200:53 udp;" in lines
    assert {"proxy_timeout 7s;", "hash $remote_addr consistent;"} <= set(lines)
    assert [line for line in lines if line.startswith("server 10.")] == [
        "server 10.0.0.5:30080 weight=3 max_fails=0;",
        "server 10.0.0.6:30080 weight=1 max_fails=0;",
    ]
    assert [line for line in lines if line.startswith("limit_conn ")]
    assert "server { listen unix:/run/site/lb-1.nginx; return mark; }" in lines


def test_udp_sources_are_denied_before_they_are_allowed() -> None:
    lines = udp(route("udp", allowed_sources=["10.0.0.0/8"], denied_sources=["10.1.0.0/16"]))

    assert [line for line in lines if line.startswith(("allow", "deny"))] == [
        "deny 10.1.0.0/16;",
        "allow 10.0.0.0/8;",
        "deny all;",
    ]


def test_unhealthy_target_of_udp_is_left_out() -> None:
    one = route("udp")
    some = udp(one, unhealthy=frozenset({("g", "udp80", "i-1")}))
    none = udp(one, unhealthy=frozenset({("g", "udp80", "i-1"), ("g", "udp80", "i-2")}))

    assert [line for line in some if line.startswith("server 10.")] == ["server 10.0.0.6:30080 weight=1 max_fails=0;"]
    assert not [line for line in none if line.startswith("listen")]


def test_health_is_what_haproxy_says_and_before_it_has_looked_what_was_known() -> None:
    one = route()
    name = haproxy.backend_name(one)
    head = "# pxname,svname,status,check_status\n"
    first, second = ("g", "tcp80", "i-1"), ("g", "tcp80", "i-2")

    def read(up: str, other: str, before: Any = ()) -> Any:
        table = f"{head}{name},s_i-1,{up}\n{name},s_i-2,{other}\nother,s_i-1,DOWN,L4CON\n"
        return health.health_of(table, [one], dict(before))

    assert read("UP,L4OK", "DOWN,L4CON") == {first: "healthy", second: "unhealthy"}
    assert read("UP 1/3,L4OK", "DOWN 1/2,L4OK") == {first: "healthy", second: "unhealthy"}
    assert read("UP,INI", "no check,") == {}
    assert read("UP,INI", "DOWN,INI", {first: "healthy"}) == {first: "healthy", second: "unhealthy"}


def test_mark_is_found_among_what_a_process_says() -> None:
    assert health.mark_of("Name: HAProxy\ndescription: abc\nUptime: 0\n") == "abc"
    assert health.mark_of("") == ""


def test_addresses_of_the_pool_come_and_go_and_others_stay() -> None:
    def entry(address: str, prefix: int) -> dict[str, Any]:
        return {"family": "inet", "local": address, "prefixlen": prefix}

    there = [entry("10.0.0.1", 24), entry("10.0.0.200", 32), entry("10.0.0.201", 32), entry("10.0.0.9", 32)]
    shown = msgspec.json.encode([{"ifname": "br0", "addr_info": there}]).decode()

    lines = plan_addresses(shown, IPv4Network("10.0.0.192/26"), {"10.0.0.201", "10.0.0.202"})
    assert lines == ["addr del 10.0.0.200/32 dev br0", "addr replace 10.0.0.202/32 dev br0"]


EVERYTHING: tuple[dict[str, Any], ...] = (
    {"protocol": "tcp", "proxy_protocol": "v1", "health_check": HealthCheck("tcp", 30080)},
    {"protocol": "tcp", "proxy_protocol": "v2", "transparent": False, "algorithm": "source"},
    {"protocol": "tcp", "transparent": True, "max_connections": 5},
    {"protocol": "http", "sticky": Sticky("cookie", "STAY", 60), "denied_sources": ["10.0.0.0/8", "2001:db8::/32"]},
    {"protocol": "http", "redirect_port": 8443, "allowed_sources": ["192.0.2.1"]},
    {"protocol": "https", "certificate_ids": ["c"], "health_check": HealthCheck("https", 1, host="a.b")},
    {"protocol": "tls", "certificate_ids": ["c"], "tls_policy": "modern", "sticky": Sticky("source-ip")},
    {"protocol": "tcp", "health_check": HealthCheck("https", 1, verify_tls=True, codes="200,300-399")},
    {"protocol": "udp", "health_check": HealthCheck("http", 1, path="/x?a=b&c=%20"), "max_connections": 7},
    {"protocol": "udp", "transparent": True, "algorithm": "least-conn", "denied_sources": ["2001:db8::/32"]},
    {"protocol": "udp", "sticky": Sticky("source-ip"), "allowed_sources": ["192.0.2.0/24"]},
)


def everything() -> Plan:
    routes = tuple(route(port=49000 + at, **more) for at, more in enumerate(EVERYTHING))
    return Plan("lb-1", ("127.0.0.1",), routes, "large")


def is_there(program: str) -> bool:
    return shutil.which(program, path=SEARCH_PATH) is not None


@pytest.mark.skipif(not is_there("haproxy") or bool(MISSING_OPENSSL), reason="haproxy and openssl are needed")
async def test_haproxy_takes_what_is_written_for_it(tmp_path: Path) -> None:
    make_loopback_certificate(tmp_path)
    place = haproxy.Place(tmp_path, HAPROXY.sockets)
    place.certificate("c").write_text((tmp_path / "ca.crt").read_text() + (tmp_path / "key").read_text())
    place.states.write_text("1\n")
    place.config.write_text(haproxy.config_of(everything(), place, "mark"))

    done = await commands.run(["haproxy", "-c", "-f", str(place.config)], timeout_s=20)
    assert done.exit_code == 0, done.stderr.decode()
    assert b"WARNING" not in done.stderr, done.stderr.decode()


@pytest.mark.skipif(not is_there("nginx") or not nginx.MODULE.exists(), reason="nginx with streams is needed")
async def test_nginx_takes_what_is_written_for_it(tmp_path: Path) -> None:
    # A short name, for the path of its socket.
    place = nginx.Place(tmp_path / "lb", tmp_path)
    place.folder.mkdir()
    place.config.write_text(nginx.config_of(everything(), place, "mark", ()))
    argv = ["nginx", "-t", "-p", str(tmp_path), "-e", str(tmp_path / "log"), "-c", str(place.config)]

    done = await commands.run(argv, timeout_s=20)
    assert done.exit_code == 0, done.stderr.decode()
