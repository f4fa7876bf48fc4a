"""What the tests of the Kubernetes plumbing share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from ccm.kube.client import KubeClient, open_client
from tests.support.fake_api import FakeApi, fake_api


def by(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@contextlib.asynccontextmanager
async def server_and_client(**options: Any) -> AsyncIterator[tuple[FakeApi, KubeClient]]:
    async with fake_api() as api, await open_client(master=api.url, **options) as client:
        yield api, client


@contextlib.asynccontextmanager
async def running(*work: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run coroutines beside a block, and end them after it; a failure of one is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline, pause_s = by(seconds), 0.05
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to be"
        await asyncio.sleep(pause_s)
        pause_s = min(1.0, pause_s * 1.5)


def node(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"kind": "Node", "metadata": {"name": name}, "spec": spec}


def service(name: str = "web", namespace: str = "default", **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, **metadata}
    spec = {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}
    return {"kind": "Service", "metadata": meta, "spec": spec}
