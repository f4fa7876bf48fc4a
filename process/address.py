"""The address of a TCP port, as programs are told it."""

from dataclasses import dataclass

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A TCP port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{self.authority}"

    @property
    def authority(self) -> str:
        """The address as `host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str) -> TcpEndpoint:
    """Read `host:port` or `[address]:port`. Raises ValueError saying what is wrong."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, such as [::1]:9000")
    if not colon or not host or any(mark in host for mark in "/@[] "):
        raise ValueError("host:port is needed")
    if not port.isascii() or not port.isdigit() or int(port[:9]) > MAX_PORT:
        raise ValueError(f"the port must be a number up to {MAX_PORT}")
    return TcpEndpoint(host=host, port=int(port))
