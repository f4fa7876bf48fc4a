"""A real gRPC server of the shell on a socket, and a channel to it."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import grpc.aio

from csi.endpoint import UnixEndpoint
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.server import AddService, RpcServer

# grpcio clients would send the escaped socket path as the authority otherwise.
CHANNEL_OPTIONS = [("grpc.default_authority", "localhost")]


@contextlib.asynccontextmanager
async def channel_to(path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{path}", options=CHANNEL_OPTIONS) as channel:
        yield channel


@contextlib.asynccontextmanager
async def serving(
    path: Path, services: Sequence[AddService], *, metrics: Metrics | None = None, default_limit_s: float = 30.0
) -> AsyncIterator[grpc.aio.Channel]:
    interceptor = Interceptor(metrics=metrics or Metrics(), default_limit_s=default_limit_s)
    async with RpcServer(UnixEndpoint(path), services, interceptor, grace_s=5.0), channel_to(path) as channel:
        yield channel
