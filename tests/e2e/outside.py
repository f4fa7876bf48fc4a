"""A machine outside of the cluster: a network namespace of this host with an address of its own.

It reaches the cloud's network through the cloud's own namespace, as a client of the internet reaches a platform through
its router, and knows nothing of pods and service addresses.
"""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from devcloud import commands
from tests.e2e.cluster.site import Site

RANGE = IPv4Network("198.18.0.0/15")
"""For measurements between networks (RFC 2544): nothing else on this host has an address of it."""
_COMMAND_S = 20.0
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody outside."""

    address: str
    namespace: Path

    def argv(self, *words: str) -> tuple[str, ...]:
        """Give the command of this host that runs a program outside."""
        return ("nsenter", f"--net={self.namespace}", "--", *words)

    async def curl(self, url: str, *options: str) -> str | None:
        """Ask with curl; None when there is no good answer."""
        limits = ("--connect-timeout", f"{_ANSWER_S:g}", "--max-time", f"{2 * _ANSWER_S:g}")
        # --noproxy: a proxy of this host's environment is not outside.
        words = ("curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *limits, *options, url)
        done = await commands.run(self.argv(*words), timeout_s=_COMMAND_S)
        return done.output if done.exit_code == 0 else None

    async def ask(self, url: str, *options: str) -> dict[str, Any] | None:
        """Ask the echo server of `tests/e2e/echo_server.py` what it sees; None when there is no good answer."""
        text = await self.curl(url, *options)
        return None if text is None else dict(json.loads(text))

    async def dig(self, server: str, name: str) -> str:
        """Ask a DNS server for the IPv4 addresses of a name, over UDP; empty for no answer."""
        limits = (f"+time={_ANSWER_S:g}", "+tries=1", "+notcp", "+short")
        done = await commands.run(self.argv("dig", *limits, f"@{server}", name, "A"), timeout_s=_COMMAND_S)
        return done.output.strip() if done.exit_code == 0 else ""


@contextlib.asynccontextmanager
async def outside(site: Site) -> AsyncIterator[Client]:
    """Give a client outside; in the end nothing of it is left on this host."""
    name = f"outside-{secrets.token_hex(4)}"
    near, far = f"x{name[-8:]}i", f"x{name[-8:]}o"
    # A /30 of its own: tests run at the same time.
    first = int(RANGE.network_address) + 4 * secrets.randbelow(RANGE.num_addresses // 4)
    gateway, address = (str(IPv4Address(first + number)) for number in (1, 2))
    # The link in the cluster's folder names the namespace of the cloud.
    cloud = site.namespace.resolve().name
    await _ip("netns", "add", name)
    try:
        await _ip("-n", cloud, "link", "add", far, "type", "veth", "peer", "name", near, "netns", name)
        await _ip("-n", cloud, "addr", "add", f"{gateway}/30", "dev", far)
        await _ip("-n", cloud, "link", "set", far, "up")
        await _ip("-n", name, "addr", "add", f"{address}/30", "dev", near)
        for device in ("lo", near):
            await _ip("-n", name, "link", "set", device, "up")
        await _ip("-n", name, "route", "add", "default", "via", gateway)
        yield Client(address, Path("/run/netns") / name)
    finally:
        # The namespace itself goes only with the last process in it: the link is taken away by name.
        await commands.run(("ip", "-n", cloud, "link", "del", far), timeout_s=_COMMAND_S)
        await _ip("netns", "del", name)


async def _ip(*words: str) -> None:
    await commands.check(("ip", *words), timeout_s=_COMMAND_S)
