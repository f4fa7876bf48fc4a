"""kubectl against the cluster, run inside of the network that the cluster is in."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devcloud import commands
from devcloud.commands import Finished
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.site import Site

LIMIT_S = 60.0


class Kubectl:
    """The cluster's administrator."""

    def __init__(self, site: Site, *, kubeconfig: Path | None = None) -> None:
        """`kubeconfig` is another cluster's of the same platform."""
        self._site = site
        self._kubeconfig = kubeconfig or site.kubeconfig

    def argv(self, *words: str) -> tuple[str, ...]:
        """Give the command of this host that runs kubectl with these words."""
        return (
            *("nsenter", f"--net={self._site.namespace}", "--", str(self._site.kubectl)),
            *("--kubeconfig", str(self._kubeconfig), *words),
        )

    async def try_run(self, *words: str, stdin: str = "", timeout_s: float = LIMIT_S) -> Finished:
        """Run kubectl and give what came of it, whatever it was."""
        # A home of its own: kubectl writes a cache there.
        environment = {**commands.ENVIRONMENT, "HOME": str(self._site.folder)}
        return await commands.run(
            self.argv(*words), timeout_s=timeout_s, stdin=stdin.encode() or None, environment=environment
        )

    async def run(self, *words: str, stdin: str = "", timeout_s: float = LIMIT_S) -> str:
        """Run kubectl and give its output. Raises ClusterError with its words."""
        done = await self.try_run(*words, stdin=stdin, timeout_s=timeout_s)
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise ClusterError(f"kubectl {' '.join(words)[:200]} ended with {done.exit_code}: {said[-2000:]}")
        return done.output

    async def get(self, kind: str, *words: str) -> Any:
        """Give an object, or a list object, as decoded JSON."""
        return json.loads(await self.run("get", kind, *words, "-o", "json"))

    async def items(self, kind: str, *words: str) -> list[Any]:
        """Give the objects of a list."""
        return list((await self.get(kind, *words))["items"])

    async def apply(self, *objects: Mapping[str, Any], words: Sequence[str] = ()) -> None:
        """Apply objects; the API server refuses fields that it does not know."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        await self.run("apply", "--validate=strict", *words, "-f", "-", stdin=text)

    async def wait(self, condition: str, *words: str, timeout_s: float = LIMIT_S) -> None:
        """Wait for a condition as `kubectl wait --for` has it. Raises ClusterError when it does not come."""
        await self.run("wait", f"--for={condition}", *words, f"--timeout={timeout_s:g}s", timeout_s=timeout_s + 10)
