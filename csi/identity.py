"""CSI's Identity service: the driver's name and version, and what the plugin as a whole offers."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio
from google.protobuf import wrappers_pb2

from csi.driver import DRIVER_NAME
from csi.pb import csi_pb2, csi_pb2_grpc

DISTRIBUTION = "thecloud-kubernetes"

Context = grpc.aio.ServicerContext[Any, Any]


def vendor_version() -> str:
    """Give the version of the installed distribution; `unknown` when the code runs without being installed."""
    # Imported late, because only one call in the life of a program needs it and it costs as much as a small plugin.
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


PLUGIN_CAPABILITIES: Mapping[str, csi_pb2.PluginCapability] = {
    **{
        name: csi_pb2.PluginCapability(service=csi_pb2.PluginCapability.Service(type=name))
        for name in csi_pb2.PluginCapability.Service.Type.keys()[1:]
    },
    **{
        name: csi_pb2.PluginCapability(volume_expansion=csi_pb2.PluginCapability.VolumeExpansion(type=name))
        for name in csi_pb2.PluginCapability.VolumeExpansion.Type.keys()[1:]
    },
}
"""What a plugin can announce, by the name in the CSI enums: services, kinds of topology, and how volumes grow."""


class Identity(csi_pb2_grpc.IdentityServicer):
    """Answers for one program.

    Probe says "ready" as soon as it is served, also while the platform is away or refuses the key: sidecars wait for it
    at their start without a word to anybody, and no user would learn why a claim stays pending. Each call that needs
    the platform says it, which becomes the claim's event, and so does /readyz.
    """

    def __init__(self, *, capabilities: Sequence[csi_pb2.PluginCapability]) -> None:
        self._capabilities = tuple(capabilities)
        self._version = ""

    async def GetPluginInfo(  # noqa: N802
        self, request: csi_pb2.GetPluginInfoRequest, context: Context
    ) -> csi_pb2.GetPluginInfoResponse:
        """Give the driver's name and version."""
        del request, context
        self._version = self._version or vendor_version()
        return csi_pb2.GetPluginInfoResponse(name=DRIVER_NAME, vendor_version=self._version)

    async def GetPluginCapabilities(  # noqa: N802
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: Context
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        """Give what the plugin as a whole offers."""
        del request, context
        return csi_pb2.GetPluginCapabilitiesResponse(capabilities=self._capabilities)

    async def Probe(self, request: csi_pb2.ProbeRequest, context: Context) -> csi_pb2.ProbeResponse:  # noqa: N802
        """Say that the plugin has been started."""
        del request, context
        return csi_pb2.ProbeResponse(ready=wrappers_pb2.BoolValue(value=True))
