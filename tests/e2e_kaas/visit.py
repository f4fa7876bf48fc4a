"""A visit of the platform's page on Kubernetes: its commands, typed and shown one after the other.

What the demonstration shows, and a test walks through.
"""

import asyncio
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster.errors import ClusterError
from tests.e2e_kaas import seed
from tests.e2e_kaas.person import CURL, Cluster, things_left
from tests.e2e_kaas.place import Place

NAME = "dev-cluster"
TEXT = "written by a pod"
_READY_S = 120


@dataclass(slots=True)
class Terminal:
    """Types commands, and remembers how long each took."""

    took: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Remember how long a part took."""
        began = time.monotonic()
        yield
        self.took.append((what, time.monotonic() - began))

    async def type(
        self, shown: str, argv: Sequence[str], environment: Mapping[str, str], *, into: Path | None = None
    ) -> None:
        """Show a command and let it write to this terminal, or into a file. Raises ClusterError when it fails."""
        say(f"$ {shown}")
        with self.timed(shown), contextlib.ExitStack() as stack:
            output = None if into is None else stack.enter_context(_private(into))
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, env={**os.environ, **environment}
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
                raise
        if code != 0:
            raise ClusterError(f"{shown} ended with {code}")
        say("")

    def summary(self) -> None:
        """Say how long all of it took."""
        say("\nseconds")
        for what, seconds in self.took:
            say(f"{seconds:8.1f}  {what}")


class Visit:
    """One person, one cluster."""

    def __init__(self, place: Place, terminal: Terminal) -> None:
        self._place = place
        self._terminal = terminal
        self._cluster = Cluster(place, NAME)

    async def come(self) -> None:
        """Make a cluster and use it. Raises ClusterError."""
        await self._cloud("create", "--name", NAME, "--workers", "2", "--wait")
        await self._cloud("list")
        await self._cloud("kubeconfig", NAME, into=self._cluster.kubeconfig)
        await self._kubectl("get", "nodes", "-o", "wide")
        await self._kubectl("get", "pods", "-A")
        say("# a claim, a pod that keeps its files on it, and a service of type NodePort")
        await self._cluster.kube.apply(seed.claim(), seed.service(), seed.deployment())
        await self._kubectl("rollout", "status", f"deployment/{seed.APP}", f"--timeout={_READY_S}s")
        await self._kubectl("get", "persistentvolumeclaims,services", "-o", "wide")
        script = f"printf %s {shlex.quote(TEXT)} > {seed.FOLDER}/index.html"
        await self._kubectl("exec", f"deployment/{seed.APP}", "--", "sh", "-c", script)
        for address in await self._cluster.addresses():
            await self._ask(f"http://{address}:{seed.NODE_PORT}/index.html")

    async def leave(self) -> None:
        """Take the claim and the cluster away, and see that nothing is left of either. Raises ClusterError."""
        await self._kubectl("delete", f"deployment/{seed.APP}", f"pvc/{seed.CLAIM}", f"service/{seed.SERVICE}")
        await self._kubectl("wait", "--for=delete", "persistentvolumes", "--all", "--timeout=60s")
        await self._cloud("rm", NAME, "--yes", "--wait")
        await self._cloud("list")
        if left := await things_left(self._place):
            raise ClusterError(f"left on the platform: {', '.join(left)}")
        say("# nothing of it is left on the platform\n")

    async def _cloud(self, *words: str, into: Path | None = None) -> None:
        argv = self._place.cloud_argv(*words)
        shown = f"cloud k8s {shlex.join(words)}" + (f" > {into.name}" if into else "")
        await self._terminal.type(shown, argv, self._place.environment(), into=into)

    async def _kubectl(self, *words: str) -> None:
        home = {"HOME": str(self._place.folder)}
        await self._terminal.type(f"kubectl {shlex.join(words)}", self._cluster.kube.argv(*words), home)

    async def _ask(self, url: str) -> None:
        argv = ("nsenter", f"--net={self._place.site.namespace}", "--", *CURL, url)
        await self._terminal.type(f"curl {url}", argv, {})


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def say(line: str) -> None:
    """Write a line for the person who watches."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
