"""Registration with the kubelet, plugin registration v1: this process answers the kubelet itself, without a sidecar.

The kubelet watches a folder for sockets, asks each what it is, and tells it what came of it.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from csi.driver import DRIVER_NAME
from csi.pb import pluginregistration_pb2, pluginregistration_pb2_grpc

LOG = logging.getLogger("csi.registration")

PLUGIN_TYPE = "CSIPlugin"
SUPPORTED_VERSIONS = ("1.0.0",)
"""Versions of CSI's protobuf package, as the kubelet compares them: only the major number decides."""

Context = grpc.aio.ServicerContext[Any, Any]


class RegistrationError(Exception):
    """The kubelet refused the plugin; the text is the kubelet's reason."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Where to register, and what the kubelet is told."""

    socket: Path
    """Our socket in the kubelet's plugin registry folder."""
    endpoint: Path
    """The CSI socket as the kubelet sees it, which is another path than ours when we run in a container."""


class RegistrationServicer(pluginregistration_pb2_grpc.RegistrationServicer):
    """Answers the kubelet, and keeps a refusal for `wait_refused`."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self._refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def GetInfo(  # noqa: N802
        self, request: pluginregistration_pb2.InfoRequest, context: Context
    ) -> pluginregistration_pb2.PluginInfo:
        """Say what this plugin is and where it serves."""
        del request, context
        return pluginregistration_pb2.PluginInfo(
            type=PLUGIN_TYPE,
            name=DRIVER_NAME,
            endpoint=str(self._registration.endpoint),
            supported_versions=SUPPORTED_VERSIONS,
        )

    async def NotifyRegistrationStatus(  # noqa: N802
        self, request: pluginregistration_pb2.RegistrationStatus, context: Context
    ) -> pluginregistration_pb2.RegistrationStatusResponse:
        """Take note of what came of the registration."""
        del context
        if request.plugin_registered:
            LOG.info("registered with the kubelet")
        elif not self._refusal.done():
            self._refusal.set_result(request.error or "no reason given")
        return pluginregistration_pb2.RegistrationStatusResponse()

    async def wait_refused(self) -> None:
        """Wait for ever, unless the kubelet refuses; then raise RegistrationError.

        The program ends on it, because the kubelet asks again only when the socket appears anew.
        """
        reason = await self._refusal
        raise RegistrationError(f"the kubelet refused to register {DRIVER_NAME}: {reason}")
