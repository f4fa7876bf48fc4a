from collections.abc import AsyncIterator

import grpc
import grpc.aio

from csi.pb import pluginregistration_pb2

class RegistrationStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    GetInfo: grpc.aio.UnaryUnaryMultiCallable[pluginregistration_pb2.InfoRequest, pluginregistration_pb2.PluginInfo]
    NotifyRegistrationStatus: grpc.aio.UnaryUnaryMultiCallable[pluginregistration_pb2.RegistrationStatus, pluginregistration_pb2.RegistrationStatusResponse]

class RegistrationServicer:
    async def GetInfo(
        self, request: pluginregistration_pb2.InfoRequest, context: grpc.aio.ServicerContext[pluginregistration_pb2.InfoRequest, pluginregistration_pb2.PluginInfo]
    ) -> pluginregistration_pb2.PluginInfo: ...
    async def NotifyRegistrationStatus(
        self, request: pluginregistration_pb2.RegistrationStatus, context: grpc.aio.ServicerContext[pluginregistration_pb2.RegistrationStatus, pluginregistration_pb2.RegistrationStatusResponse]
    ) -> pluginregistration_pb2.RegistrationStatusResponse: ...

def add_RegistrationServicer_to_server(servicer: RegistrationServicer, server: grpc.aio.Server) -> None: ...
