"""What tests of the adapter share: one authority, a server that answers as it is told, a client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kaas.kube.api import KubeApi
from tests.support.cluster_access import Authority
from tests.unit.kaas.kube.fake_server import Answer, FakeServer, serving


def by(seconds: float = 20.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi(pause_s=0.01) as api:
        yield api


@pytest.fixture
async def serve(authority: Authority, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start servers that end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer: Answer, **more: Any) -> FakeServer:
            return await stack.enter_async_context(serving(answer, tmp_path, authority=authority, **more))

        yield start
