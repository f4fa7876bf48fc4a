"""The annotations of services: one table, a row for each (pure).

`ccm.annotations.parsing` reads them, `ccm.annotations.reference` prints the reference page.
"""

from ccm.annotations import kinds
from ccm.annotations.kinds import CertificateRef
from ccm.annotations.row import PORT, Annotation, Group, IpMode, Policy
from ccm.desired.selector import Selector, parse_selector
from ccm.model import SIZES, Algorithm, Protocol, StickyMode

_DAY_S = 86400
_text = str.strip
_NAMES = "a name: 1 to 128 letters, digits and `._-`"
_NUMBER = "a number, {} to {}"
_TIME = "seconds, or with `s`, `m`, `h`; {} to {} s"
_SWITCH = "`true` or `false`"
_no_way = "{} cannot be chosen on this platform; take the annotation away"

NAME = Annotation(
    "name", Group.IDENTITY, kinds.word(128), "", _NAMES, "name at the platform; it need not be unique. Changed in place"
)
ADOPT_ID = Annotation(
    "adopt-id",
    Group.IDENTITY,
    kinds.word(64),
    "",
    "id of a load balancer",
    "use this load balancer, which somebody else made. Only the service's own ports and targets on it are written; it "
    "is never deleted, renamed or resized",
)
POLICY = Annotation(
    "policy",
    Group.IDENTITY,
    kinds.choice(Policy),
    Policy.DELETE,
    "`delete`, `orphan`, `keep-address`",
    "what becomes of it when the service goes: deleted; left as it is, without this cluster's tags; or deleted while "
    "the addresses of `static-address` stay allocated to the tenant, as they do with `delete`",
)
RECREATE = Annotation(
    "recreate",
    Group.IDENTITY,
    kinds.allow,
    default=False,
    form="`allow`",
    meaning="permits a change that only another load balancer can have: the old one is deleted, the address may change",
)
SIZE = Annotation(
    "size",
    Group.PLACEMENT,
    kinds.one_of(*SIZES),
    "",
    "`small`, `medium`, `large`",
    "size; without it the controller's default. Changed in place",
)
INTERNAL = Annotation(
    "internal",
    Group.PLACEMENT,
    kinds.boolean,
    default=False,
    form=_SWITCH,
    meaning="reachable inside the network only. To change it needs `recreate`",
)
SUBNET = Annotation(
    "subnet", Group.PLACEMENT, _text, "", "any", "refused: there is no such choice", _no_way.format("a subnet")
)
ZONE = Annotation(
    "zone", Group.PLACEMENT, _text, "", "any", "refused: there is no such choice", _no_way.format("a zone")
)
REGION = Annotation(
    "region", Group.PLACEMENT, _text, "", "any", "refused: there is no such choice", _no_way.format("a region")
)
STATIC_ADDRESS: Annotation[tuple[str, ...]] = Annotation(
    "static-address",
    Group.ADDRESS,
    kinds.addresses,
    (),
    "an IP address, or one of each family",
    "addresses of elastic IPs of the tenant. The same as `spec.loadBalancerIP`, for two families as well. To change it "
    "needs `recreate`",
)
HOSTNAME = Annotation(
    "hostname",
    Group.ADDRESS,
    kinds.dns_name,
    "",
    "a DNS name",
    "published in the service's status in place of the addresses; the name has to be kept by somebody else",
)
IP_MODE = Annotation(
    "ip-mode",
    Group.ADDRESS,
    kinds.choice(IpMode),
    None,
    "`VIP`, `Proxy`",
    "`ipMode` in the service's status. Without it `Proxy` where a listener ends TLS or speaks the PROXY protocol, else "
    "`VIP`",
)
REVERSE_DNS = Annotation(
    "reverse-dns", Group.ADDRESS, _text, "", "any", "refused: there is no such choice", _no_way.format("reverse DNS")
)
PROTOCOL = Annotation(
    "protocol",
    Group.LISTENERS,
    kinds.one_of(*(one.value for one in Protocol if one is not Protocol.UDP)),
    "",
    "`tcp`, `http`, `https`, `tls`",
    "what the TCP ports speak: bytes, HTTP, HTTPS that ends here, TLS that ends here. UDP ports are UDP",
)
IDLE_TIMEOUT = Annotation(
    "idle-timeout",
    Group.LISTENERS,
    kinds.seconds(1, _DAY_S),
    300,
    _TIME.format(1, _DAY_S),
    "closes connections that are silent for so long (default 300)",
)
PORT_PROTOCOL = Annotation(
    PORT + "protocol",
    Group.LISTENERS,
    kinds.one_of(*(one.value for one in Protocol)),
    "",
    "`tcp`, `udp`, `http`, `https`, `tls`",
    "the same for port `<n>`. Without both, the port's `appProtocol` decides: `http`, `https` and `tls` (the last two "
    "where there is a certificate), anything else is TCP",
)
PORT_TLS_CERT: Annotation[tuple[CertificateRef, ...]] = Annotation(
    PORT + "tls-cert",
    Group.LISTENERS,
    kinds.certificates,
    (),
    "as `tls-cert`",
    "certificates of port `<n>`; without a protocol, one that ends TLS is chosen: `https` for `appProtocol: http` and "
    "`https`, else `tls`",
)
PORT_REDIRECT_HTTP = Annotation(
    PORT + "redirect-http",
    Group.LISTENERS,
    kinds.integer(1, kinds.MAX_PORT),
    0,
    _NUMBER.format(1, kinds.MAX_PORT),
    "port `<n>` speaks HTTP and answers with a redirect to this port of the service, which has to speak `https`",
)
PORT_PROXY_PROTOCOL = Annotation(
    PORT + "proxy-protocol",
    Group.LISTENERS,
    kinds.one_of("v1", "v2", "none"),
    "",
    "`v1`, `v2`, `none`",
    "as `proxy-protocol`, for port `<n>`",
)
PORT_IDLE_TIMEOUT = Annotation(
    PORT + "idle-timeout",
    Group.LISTENERS,
    kinds.seconds(1, _DAY_S),
    0,
    _TIME.format(1, _DAY_S),
    "as `idle-timeout`, for port `<n>`",
)
TLS_CERT: Annotation[tuple[CertificateRef, ...]] = Annotation(
    "tls-cert",
    Group.TLS,
    kinds.certificates,
    (),
    "list of platform ids or names, and `secret:<name>`",
    "certificates of the ports that end TLS, the first for clients that name no host. `secret:<name>` is a Secret of "
    "type `kubernetes.io/tls` in the service's namespace; a change of it is followed",
)
TLS_PASSTHROUGH = Annotation(
    "tls-passthrough",
    Group.TLS,
    kinds.boolean,
    default=False,
    form=_SWITCH,
    meaning="TLS is not ended: what would be `https` or `tls` is passed on as it comes",
)
TLS_POLICY = Annotation(
    "tls-policy",
    Group.TLS,
    kinds.one_of("intermediate", "modern"),
    "intermediate",
    "`intermediate`, `modern`",
    "least version of TLS: 1.2 (default) or 1.3",
)
ACME_DOMAINS = Annotation(
    "acme-domains",
    Group.TLS,
    _text,
    "",
    "any",
    "refused: the platform does not obtain certificates; let cert-manager write a Secret and name that in `tls-cert`",
    "the platform does not obtain certificates; name a Secret in tls-cert",
)
PROXY_PROTOCOL = Annotation(
    "proxy-protocol",
    Group.CLIENT,
    kinds.one_of("v1", "v2", "none"),
    "none",
    "`v1`, `v2`, `none`",
    "tells the targets of TCP ports the client's address in a header, which they have to expect",
)
FORWARDED_FOR = Annotation(
    "forwarded-for",
    Group.CLIENT,
    kinds.boolean,
    default=True,
    form=_SWITCH,
    meaning="adds `X-Forwarded-For`, `-Proto` and `-Port` on `http` and `https` (default)",
)
ALGORITHM = Annotation(
    "algorithm",
    Group.BALANCING,
    kinds.choice(Algorithm),
    Algorithm.ROUND_ROBIN,
    "`round-robin`, `least-conn`, `source`",
    "how a target is chosen",
)
STICKY = Annotation(
    "sticky",
    Group.BALANCING,
    kinds.choice(StickyMode),
    None,
    "`none`, `source-ip`, `cookie`",
    "keeps a client with its target; `cookie` on `http` and `https` only. Without it `sessionAffinity: ClientIP` means "
    "`source-ip`, with its time",
)
STICKY_COOKIE_NAME = Annotation(
    "sticky-cookie-name",
    Group.BALANCING,
    kinds.cookie_name,
    "",
    "name of a cookie",
    "with `sticky: cookie`; without it `TCLB`",
)
STICKY_TTL = Annotation(
    "sticky-ttl",
    Group.BALANCING,
    kinds.seconds(0, 7 * _DAY_S),
    0,
    _TIME.format(0, 7 * _DAY_S),
    "how long a silent client is remembered; 0 leaves it to the platform, for a cookie until the browser ends",
)
MAX_CONNECTIONS = Annotation(
    "max-connections",
    Group.BALANCING,
    kinds.integer(0, 1_000_000),
    0,
    _NUMBER.format(0, "1000000"),
    "connections at a time, for each port; 0 is no limit",
)
HEALTH_PROTOCOL = Annotation(
    "health-check.protocol",
    Group.HEALTH,
    kinds.one_of("tcp", "http", "https"),
    "http",
    "`tcp`, `http`, `https`",
    "how targets are asked (default `http`)",
)
HEALTH_PORT = Annotation(
    "health-check.port",
    Group.HEALTH,
    kinds.health_port,
    None,
    "a port, or `node-port`",
    "where they are asked. Without it `healthCheckNodePort` with `externalTrafficPolicy: Local`, else that of "
    "kube-proxy, 10256; both fail for nodes that are about to go. `node-port` is where the traffic goes",
)
HEALTH_PATH = Annotation(
    "health-check.path", Group.HEALTH, kinds.path, "/healthz", "a path", "asked for (default `/healthz`)"
)
HEALTH_HOST = Annotation("health-check.host", Group.HEALTH, kinds.dns_name, "", "a DNS name", "host in the question")
HEALTH_CODES = Annotation(
    "health-check.codes",
    Group.HEALTH,
    kinds.codes,
    "200-299",
    "HTTP status codes and ranges",
    "answers of a healthy target (default `200-299`)",
)
HEALTH_INTERVAL = Annotation(
    "health-check.interval", Group.HEALTH, kinds.seconds(1, 300), 5, _TIME.format(1, 300), "between two (default 5)"
)
HEALTH_TIMEOUT = Annotation(
    "health-check.timeout",
    Group.HEALTH,
    kinds.seconds(1, 300),
    3,
    _TIME.format(1, 300),
    "for an answer (default 3, or the interval where that is shorter); not above the interval",
)
HEALTH_RISE = Annotation(
    "health-check.rise", Group.HEALTH, kinds.integer(1, 10), 2, _NUMBER.format(1, 10), "good answers until healthy"
)
HEALTH_FALL = Annotation(
    "health-check.fall", Group.HEALTH, kinds.integer(1, 10), 3, _NUMBER.format(1, 10), "bad answers until unhealthy"
)
HEALTH_TLS_VERIFY = Annotation(
    "health-check.tls-verify",
    Group.HEALTH,
    kinds.boolean,
    default=False,
    form=_SWITCH,
    meaning="with `https`: the target's certificate has to be valid",
)
DENY_SOURCE_RANGES: Annotation[tuple[str, ...]] = Annotation(
    "deny-source-ranges",
    Group.ACCESS,
    kinds.cidrs,
    (),
    "list of CIDRs",
    "refused clients; wins over `spec.loadBalancerSourceRanges`, which says who may come",
)
SECURITY_GROUPS = Annotation(
    "security-groups",
    Group.ACCESS,
    _text,
    "",
    "any",
    "refused: load balancers have none; use the source ranges",
    "load balancers of this platform have no security groups; use the source ranges",
)
NODE_SELECTOR = Annotation(
    "node-selector",
    Group.TARGETS,
    parse_selector,
    Selector(),
    "a label selector, such as `pool in (a,b),!spot`",
    "only nodes with these labels are targets",
)
SHARE_WITH: Annotation[frozenset[str]] = Annotation(
    "share-with",
    Group.SHARING,
    kinds.services,
    frozenset(),
    "list of `namespace/name`",
    "these services and this one use one load balancer, where the others name this one as well: the oldest of them has "
    "it. Each port number can be used by one of them; size, name and addresses are those of the oldest",
)
ID = Annotation("id", Group.OUTPUT, kinds.word(64), "", "", "id of the load balancer")
ADDRESS = Annotation("address", Group.OUTPUT, _text, "", "", "its addresses")
OBSERVED_HASH = Annotation(
    "observed-hash", Group.OUTPUT, kinds.word(64), "", "", "of what was last written; equal means that nothing is to do"
)
DEGRADED_REASON = Annotation("degraded-reason", Group.OUTPUT, _text, "", "", "why not everything asked for was done")

TABLE: tuple[Annotation[object], ...] = tuple(one for one in dict(globals()).values() if isinstance(one, Annotation))
ROWS = {row.key: row for row in TABLE}
"""The same by key."""
