"""Reads this host's Node object from the Kubernetes API, with the pod's own service account.

One GET, from the standard library: an HTTP client package would cost this process a quarter of its memory. Not here:
what is made of the object (`identity`).
"""

import asyncio
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csi.errors import CsiError, ErrorKind

ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ZONE_LABEL = "topology.kubernetes.io/zone"
UNINITIALIZED_TAINT = "node.cloudprovider.kubernetes.io/uninitialized"
MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeObject:
    """What a Node object says about the machine behind it; empty texts where it says nothing."""

    provider_id: str
    zone: str
    is_uninitialized: bool = False
    """The cloud controller manager has yet to set provider id and zone."""


def in_cluster(environment: Mapping[str, str], *, account_dir: Path = ACCOUNT_DIR) -> "KubeNodes | None":
    """Give the API of the cluster whose pod this process is in; None when it is in none."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port.isdecimal() or not (account_dir / "token").exists():
        return None
    return KubeNodes(host=host, port=int(port), account_dir=account_dir)


class KubeNodes:
    """Node objects of the cluster that this pod runs in."""

    def __init__(self, *, host: str, port: int, account_dir: Path = ACCOUNT_DIR) -> None:
        """`host` and `port` of the API as the pod's environment gives them; `account_dir` holds token and ca.crt."""
        self._host = host
        self._port = port
        self._account_dir = account_dir

    async def get(self, name: str, *, deadline: float) -> NodeObject:
        """Read one Node.

        Raises CsiError: PRECONDITION when the API refuses it or has none, UNKNOWN_OUTCOME when the API cannot be
        reached or does not make sense, TIMEOUT.
        """
        loop = asyncio.get_running_loop()
        limit_s = max(deadline - loop.time(), 0.1)
        try:
            async with asyncio.timeout_at(deadline):
                status, body = await asyncio.to_thread(self._fetch, name, limit_s)
        except TimeoutError:
            raise CsiError(ErrorKind.TIMEOUT, f"the Kubernetes API did not answer for node {name!r} in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CsiError(
                ErrorKind.UNKNOWN_OUTCOME,
                f"the Kubernetes API at {self._host}:{self._port} cannot be asked for node {name!r}: {error}",
            ) from error
        return _read(name, status, body)

    def _fetch(self, name: str, limit_s: float) -> tuple[int, bytes]:
        # Both files are read at every call: the kubelet renews the token, and a CA may be replaced.
        token = (self._account_dir / "token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self._account_dir / "ca.crt"))
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=limit_s, context=context)
        try:
            path = f"/api/v1/nodes/{urllib.parse.quote(name, safe='')}"
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER_BYTES)
        finally:
            connection.close()


def _read(name: str, status: int, body: bytes) -> NodeObject:
    if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        raise CsiError(
            ErrorKind.PRECONDITION,
            f"the Kubernetes API refuses node {name!r} to this pod's service account ({status}); its role needs "
            "`get` on nodes",
        )
    if status == http.HTTPStatus.NOT_FOUND:
        raise CsiError(ErrorKind.PRECONDITION, f"the cluster has no node {name!r}; check --node-name (NODE_NAME)")
    try:
        node = json.loads(body) if status == http.HTTPStatus.OK else None
    except ValueError:
        node = None
    if not isinstance(node, dict):
        raise CsiError(ErrorKind.UNKNOWN_OUTCOME, f"the Kubernetes API answered {status} for node {name!r}, no Node")
    return NodeObject(
        provider_id=_text(node, "spec", "providerID"),
        zone=_text(node, "metadata", "labels", ZONE_LABEL),
        is_uninitialized=UNINITIALIZED_TAINT in _taints(node),
    )


def _taints(node: dict[str, Any]) -> set[str]:
    spec = node.get("spec")
    taints = spec.get("taints") if isinstance(spec, dict) else None
    return {_text(taint, "key") for taint in taints} if isinstance(taints, list) else set()


def _text(value: Any, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
