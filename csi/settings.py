"""The settings that both CSI programs have. Reading them is `process.settings`."""

# ruff: noqa: RUF009 - the calls in the dataclass declare fields

from dataclasses import dataclass

from csi.endpoint import Endpoint, parse_endpoint
from process.address import TcpEndpoint
from process.kinds import DURATION, LOG_FORMAT, LOG_LEVEL, MODE, OPTIONAL_HOST_PORT, OptionKind
from process.logs import LogFormat, LogLevel
from process.settings import option

ENDPOINT: OptionKind[Endpoint] = OptionKind("endpoint", parse_endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSettings:
    """What both programs can be told."""

    endpoint: Endpoint = option(
        ENDPOINT, "Where CSI is served: unix:///path/of/socket or tcp://host:port.", required=True
    )
    socket_mode: int = option(
        MODE, "Permissions of the socket file, octal. The directory's permissions count as well.", default=0o600
    )
    http_endpoint: TcpEndpoint | None = option(
        OPTIONAL_HOST_PORT,
        "host:port of /healthz, /readyz and /metrics; port 0 takes a free one; `off` serves none.",
        default=TcpEndpoint("127.0.0.1", 0),
    )
    log_level: LogLevel = option(LOG_LEVEL, "Least level that is logged.", default=LogLevel.INFO)
    log_format: LogFormat = option(LOG_FORMAT, "Form of a log line.", default=LogFormat.TEXT)
    call_limit_s: float = option(DURATION, "Time limit of callers that set none, in seconds.", default=120.0)
    grace_s: float = option(
        DURATION,
        "Time that running calls get to end after SIGTERM, in seconds; then they have 10 s to be rolled back. An "
        "instance that is started meanwhile waits as long, with the same setting.",
        default=20.0,
    )
