from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.annotations import table
from ccm.annotations.kinds import NODE_PORT, CertificateRef
from ccm.annotations.parsing import is_output, parse
from ccm.annotations.reference import page
from ccm.annotations.row import Annotation, Group, IpMode, Policy
from ccm.annotations.table import TABLE
from ccm.model import Algorithm, StickyMode
from ccm.names import BALANCER_PREFIX
from ccm.notices import Reason
from tests.unit.ccm.desired.made import marks

GOOD: list[tuple[Annotation[Any], str, object]] = [
    (table.NAME, "web-1", "web-1"),
    (table.POLICY, "orphan", Policy.ORPHAN),
    (table.POLICY, "keep-address", Policy.KEEP_ADDRESS),
    (table.RECREATE, "allow", True),
    (table.SIZE, "large", "large"),
    (table.INTERNAL, " TRUE ", True),
    (table.STATIC_ADDRESS, "2001:DB8:0:0::1, 192.0.2.1", ("2001:db8::1", "192.0.2.1")),
    (table.HOSTNAME, "shop.example.org", "shop.example.org"),
    (table.IP_MODE, "Proxy", IpMode.PROXY),
    (table.PROTOCOL, "https", "https"),
    (table.IDLE_TIMEOUT, "5m", 300),
    (table.IDLE_TIMEOUT, "24h", 86400),
    (
        table.TLS_CERT,
        "secret:shop-tls, wild.example",
        (CertificateRef("shop-tls", is_secret=True), CertificateRef("wild.example")),
    ),
    (table.TLS_PASSTHROUGH, "false", False),
    (table.TLS_POLICY, "modern", "modern"),
    (table.PROXY_PROTOCOL, "v2", "v2"),
    (table.FORWARDED_FOR, "false", False),
    (table.ALGORITHM, "least-conn", Algorithm.LEAST_CONN),
    (table.STICKY, "source-ip", StickyMode.SOURCE_IP),
    (table.MAX_CONNECTIONS, "0", 0),
    (table.HEALTH_PORT, "node-port", NODE_PORT),
    (table.HEALTH_PORT, "8080", 8080),
    (table.HEALTH_PATH, "/live?x=1", "/live?x=1"),
    (table.HEALTH_CODES, "200-299, 401", "200-299,401"),
    (table.DENY_SOURCE_RANGES, "10.1.2.3/8,192.0.2.0/24,10.0.0.0/8", ("10.0.0.0/8", "192.0.2.0/24")),
    (table.SHARE_WITH, "shop/a,shop/b", frozenset({"shop/a", "shop/b"})),
]
BAD = [
    ("name", ""),
    ("name", "x" * 129),
    ("name", "a b"),
    ("adopt-id", "../x"),
    ("policy", "Delete"),
    ("recreate", "true"),
    ("size", "huge"),
    ("internal", "yes"),
    ("static-address", "192.0.2.1,192.0.2.2"),
    ("static-address", "192.0.2.0/24"),
    ("static-address", "fe80::1%eth0"),
    ("static-address", ","),
    ("hostname", "Shop.example.org"),
    ("hostname", "192.0.2.1_x"),
    ("ip-mode", "vip"),
    ("protocol", "udp"),
    ("protocol", "sctp"),
    ("idle-timeout", "0"),
    ("idle-timeout", "25h"),
    ("idle-timeout", "1.5"),
    ("idle-timeout", "٣"),
    ("max-connections", "-1"),
    ("tls-cert", "secret:"),
    ("tls-cert", "secret:a/b"),
    ("tls-cert", "a/b"),
    ("tls-policy", "old"),
    ("proxy-protocol", "v3"),
    ("sticky", "ip"),
    ("health-check.port", "0"),
    ("health-check.port", "65536"),
    ("health-check.path", "healthz"),
    ("health-check.path", "/a b"),
    ("health-check.codes", "299-200"),
    ("health-check.codes", "99"),
    ("health-check.rise", "0"),
    ("deny-source-ranges", "10.0.0.1"),
    ("deny-source-ranges", "10.0.0.0/33"),
    ("deny-source-ranges", ",".join(f"10.0.{n % 256}.{n // 256}/32" for n in range(300))),
    ("node-selector", "a in b"),
    ("share-with", "web"),
    ("subnet", "s1"),
    ("zone", "z1"),
    ("region", "r1"),
    ("reverse-dns", "a.example"),
    ("acme-domains", "a.example"),
    ("security-groups", "web"),
    ("sizes", "small"),
    ("port.80.size", "small"),
    ("port.<n>.protocol", "http"),
    ("port.0.protocol", "http"),
    ("port.70000.protocol", "http"),
    ("port.080.protocol", "http"),
    ("port.80.protocol", "ftp"),
    ("", "x"),
]


@pytest.mark.parametrize(("row", "text", "value"), GOOD)
def test_a_good_value_is_read_into_its_type(row: Annotation[Any], text: str, value: object):
    values, problems = parse({row.name(): text})
    assert [one for one in problems if one.reason is Reason.INVALID_ANNOTATION] == []
    assert values.has(row)
    assert values.get(row) == value


@pytest.mark.parametrize(("key", "text"), BAD)
def test_a_bad_one_is_told_by_its_name_and_missing(key: str, text: str):
    values, problems = parse(marks({key: text, "name": "web"} if key != "name" else {key: text}))
    (problem,) = problems
    assert problem.reason is Reason.INVALID_ANNOTATION
    assert problem.key == BALANCER_PREFIX + key
    assert f"annotation {BALANCER_PREFIX}{key} " in problem.text
    assert values.get(table.NAME) == ("" if key == "name" else "web")


def test_what_is_not_under_our_prefix_is_not_ours():
    values, problems = parse({"service.beta.kubernetes.io/x": "y", "loadbalancer.thecloud.dev": "z", "name": "n"})
    assert problems == ()
    assert not any(values.has(row) for row in TABLE)


def test_ports_have_their_own_values():
    values, problems = parse(
        marks({"port.80.protocol": "http", "port.443.tls-cert": "a", "port.443.idle-timeout": "9"})
    )
    assert problems == ()
    assert values.ports() == {80, 443}
    assert values.get(table.PORT_PROTOCOL, 80) == "http"
    assert values.get(table.PORT_PROTOCOL, 443) == ""
    assert values.get(table.PORT_IDLE_TIMEOUT, 443) == 9
    assert values.port_rows(443) == (table.PORT_TLS_CERT, table.PORT_IDLE_TIMEOUT)


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({"sticky-cookie-name": "a"}, {"sticky-cookie-name"}),
        ({"sticky": "source-ip", "sticky-cookie-name": "a", "sticky-ttl": "9"}, {"sticky-cookie-name"}),
        ({"sticky": "cookie", "sticky-cookie-name": "a", "sticky-ttl": "9"}, set()),
        ({"sticky": "none", "sticky-ttl": "9"}, {"sticky-ttl"}),
        ({"health-check.path": "/x", "health-check.codes": "200", "health-check.host": "a"}, set()),
        (
            {"health-check.protocol": "tcp", "health-check.path": "/x", "health-check.codes": "200"},
            {"health-check.path", "health-check.codes"},
        ),
        ({"health-check.tls-verify": "true"}, {"health-check.tls-verify"}),
        ({"health-check.protocol": "https", "health-check.tls-verify": "true"}, set()),
        ({"tls-passthrough": "true", "tls-cert": "a", "tls-policy": "modern"}, {"tls-cert", "tls-policy"}),
        ({"tls-passthrough": "false", "tls-cert": "a"}, set()),
        ({"hostname": "a.example", "ip-mode": "VIP"}, {"ip-mode"}),
        (
            {"adopt-id": "x", "name": "a", "size": "small", "static-address": "192.0.2.1", "share-with": "a/b"},
            {"name", "size", "static-address", "share-with"},
        ),
    ],
)
def test_what_has_no_effect_beside_the_others_is_told(given: dict[str, str], idle: set[str]):
    _, problems = parse(marks(given))
    assert {one.reason for one in problems} <= {Reason.WITHOUT_EFFECT}
    assert {one.key.removeprefix(BALANCER_PREFIX) for one in problems} == idle


def test_nonsense_in_a_key_of_ours_does_not_forbid_anything():
    _, problems = parse(marks({"id": "no id at all", "address": "x", "observed-hash": "f" * 64}))
    assert [(one.key, one.reason) for one in problems] == [(BALANCER_PREFIX + "id", Reason.WITHOUT_EFFECT)]
    assert is_output(BALANCER_PREFIX + "degraded-reason")
    assert not is_output(BALANCER_PREFIX + "name")
    assert not is_output("degraded-reason")


_keys = st.one_of(
    st.sampled_from([row.key for row in TABLE]),
    st.sampled_from([row.key.replace("<n>", "80") for row in TABLE]),
    st.text(max_size=40),
    st.builds("port.{}.{}".format, st.integers(0, 10**6), st.text(max_size=10)),
)


@settings(deadline=None)
@given(st.dictionaries(_keys, st.text(max_size=60), max_size=8))
def test_every_text_is_read_or_told_and_never_raises(given: dict[str, str]):
    values, problems = parse(marks(given))
    told = {one.key for one in problems}
    for row in TABLE:
        name = row.name(80) if row.is_per_port else row.name()
        if name in marks(given):
            assert values.has(row, 80 if row.is_per_port else 0) or name in told


@settings(deadline=None)
@given(
    st.sampled_from([row for row in TABLE if not row.is_per_port]), st.text(alphabet="0123456789smh,.:/-=!() ain\n٣")
)
def test_a_parser_gives_a_value_or_a_value_error(row: Annotation[object], text: str):
    values, problems = parse({row.name(): text})
    assert values.has(row) != any(
        one.reason is Reason.INVALID_ANNOTATION or "is replaced" in one.text for one in problems
    )


def test_each_key_is_once_in_the_table_and_on_the_page():
    keys = [row.key for row in TABLE]
    assert len(keys) == len(set(keys))
    for row in TABLE:
        (line,) = [line for line in page().splitlines() if line.startswith(f"| `{row.key}` |")]
        assert line.count(" | ") == (1 if row.group is Group.OUTPUT else 2)
        assert row.meaning
