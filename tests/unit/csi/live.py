"""A real gRPC server of the shell on a socket, and a channel to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc
import grpc.aio

from csi.endpoint import UnixEndpoint, claimed
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.server import AddService, RpcServer

# grpcio clients would send the escaped socket path as the authority otherwise.
CHANNEL_OPTIONS = [
    ("grpc.default_authority", "localhost"),
    # A connection of its own: gRPC would share one among all channels to an address, also one that is being drained.
    ("grpc.use_local_subchannel_pool", 1),
]


@contextlib.asynccontextmanager
async def channel_to(path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{path}", options=CHANNEL_OPTIONS) as channel:
        yield channel


@contextlib.asynccontextmanager
async def serving(
    path: Path, services: Sequence[AddService], *, metrics: Metrics | None = None, default_limit_s: float = 30.0
) -> AsyncIterator[grpc.aio.Channel]:
    interceptor = Interceptor(metrics=metrics or Metrics(), default_limit_s=default_limit_s)
    async with (
        claimed(UnixEndpoint(path), wait_s=0.0) as place,
        RpcServer(place, services, interceptor, grace_s=5.0),
        channel_to(path) as channel,
    ):
        yield channel


async def until(claim: Callable[[], bool]) -> None:
    """Let the loop turn until a claim about another task's work holds."""
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)
