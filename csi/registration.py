"""Registration with the kubelet, plugin registration v1: this process answers the kubelet itself, without a sidecar.

The kubelet watches a folder for sockets, asks each what it is, and tells it what came of it; when it starts, it asks
those that are there. Here is what it is told and what it said; the life of our socket is `csi.registrar`.
"""

import asyncio
import logging
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
    """The plugin cannot be registered as long as this process lives; the text says why."""


class Registration:
    """Where to register, what the kubelet is told, and what it last said."""

    def __init__(self, *, socket: Path, endpoint: Path) -> None:
        """`socket`: ours in the kubelet's plugin registry folder; `endpoint`: the CSI socket as the kubelet sees it.

        That one is another path than ours when we run in a container.
        """
        self.socket = socket
        self.endpoint = endpoint
        self._problem = "the kubelet has not registered this plugin yet"
        self._times = 0
        self._refusals = 0
        self._is_renewal_wanted = False
        self._news = asyncio.Event()

    @property
    def problem(self) -> str:
        """Why the kubelet does not use this plugin; empty when it does."""
        return self._problem

    @property
    def refusals(self) -> int:
        """How often the kubelet has refused the plugin since it last registered it."""
        return self._refusals

    def note_registered(self) -> None:
        """Take note that the kubelet uses this plugin."""
        LOG.info("registered with the kubelet")
        self._problem = ""
        self._times += 1
        self._refusals = 0
        news, self._news = self._news, asyncio.Event()
        news.set()

    def note_refused(self, reason: str) -> None:
        """Take note that the kubelet does not want this plugin as it is."""
        self._problem = f"the kubelet refused to register {DRIVER_NAME}: {reason or 'it gave no reason'}"
        self._refusals += 1
        LOG.warning("%s; it is offered the plugin again", self._problem)

    def note_unserved(self, why: str) -> None:
        """Take note that the kubelet finds no socket of ours."""
        problem = f"the kubelet cannot find this plugin: {why}"
        if problem != self._problem:
            LOG.warning(problem)
        self._problem = problem

    def note_served(self) -> None:
        """Take note that the kubelet finds our socket, and has to ask."""
        self._problem = "the kubelet has not registered this plugin yet"

    def renew(self) -> None:
        """Have the kubelet register the plugin again: it then asks anew what NodeGetInfo tells."""
        self._is_renewal_wanted = True

    def take_renewal(self) -> bool:
        """Say whether a renewal was asked for since this was last called."""
        wanted, self._is_renewal_wanted = self._is_renewal_wanted, False
        return wanted

    async def wait_registered(self, *, after: int = 0) -> int:
        """Wait until the kubelet has registered the plugin more than `after` times; gives how often it has.

        More than once: the kubelet was started anew, or the plugin was offered again.
        """
        while self._times <= after:
            await self._news.wait()
        return self._times


class RegistrationServicer(pluginregistration_pb2_grpc.RegistrationServicer):
    """Answers the kubelet, and notes what it says."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration

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
            self._registration.note_registered()
        else:
            self._registration.note_refused(request.error)
        return pluginregistration_pb2.RegistrationStatusResponse()
