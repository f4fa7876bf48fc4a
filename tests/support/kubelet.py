"""The kubelet's plugin manager in small: it watches the registry folder, asks plugins, and tells them what came of it.

What it does is what kubelet 1.36 does, by the kernel's own events: a socket that is created or moved in is asked, one
that is deleted is forgotten, one that is moved away is not noticed, and hidden files are not looked at.
"""

import asyncio
import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio

from csi.pb import csi_pb2, csi_pb2_grpc, pluginregistration_pb2, pluginregistration_pb2_grpc

_IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x80, 0x100, 0x200
_EVENT = struct.Struct("iIII")
_OPTIONS = [("grpc.default_authority", "localhost")]
LIMIT_S = 10.0


class Kubelet:
    """One life of a kubelet; a restart is another one on the same folder."""

    def __init__(self, folder: Path, *, refusals: tuple[str, ...] = (), asks_node_info: bool = False) -> None:
        """`refusals`: what to say instead of registering, one after the other."""
        self.folder = folder
        self.refusals = list(refusals)
        self.asks_node_info = asks_node_info
        self.infos: list[pluginregistration_pb2.PluginInfo] = []
        """Every answer to GetInfo."""
        self.zones: list[str] = []
        """Zone of every registration, empty where there was none."""
        self.errors: list[str] = []
        """Why a plugin was refused."""
        self._fd = -1
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def registrations(self) -> int:
        """How often a plugin was registered."""
        return len(self.zones)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Kubelet"]:
        """Watch the folder, and begin with what is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = libc.inotify_add_watch(self._fd, os.fsencode(self.folder), _IN_CREATE | _IN_MOVED_TO | _IN_DELETE)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._read)
        for path in sorted(self.folder.iterdir()):
            self._created(path)
        try:
            yield self
        finally:
            loop.remove_reader(self._fd)
            os.close(self._fd)
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def _read(self) -> None:
        data = os.read(self._fd, 65536)
        while data:
            _, mask, _, length = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            data = data[_EVENT.size + length :]
            if mask & (_IN_CREATE | _IN_MOVED_TO):
                self._created(self.folder / name)

    def _created(self, path: Path) -> None:
        if path.name.startswith("."):
            return
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.stat().st_mode):
                task = asyncio.create_task(self._register(path))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _register(self, path: Path) -> None:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=_OPTIONS) as channel:
            plugin = pluginregistration_pb2_grpc.RegistrationStub(channel)
            info = await plugin.GetInfo(pluginregistration_pb2.InfoRequest(), timeout=LIMIT_S)
            self.infos.append(info)
            error, zone = (self.refusals.pop(0), "") if self.refusals else await self._node_info(info.endpoint)
            status = pluginregistration_pb2.RegistrationStatus(plugin_registered=not error, error=error)
            await plugin.NotifyRegistrationStatus(status, timeout=LIMIT_S)
            if error:
                self.errors.append(error)
            else:
                self.zones.append(zone)

    async def _node_info(self, endpoint: str) -> tuple[str, str]:
        if not self.asks_node_info:
            return "", ""
        async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=_OPTIONS) as channel:
            try:
                node = await csi_pb2_grpc.NodeStub(channel).NodeGetInfo(
                    csi_pb2.NodeGetInfoRequest(), wait_for_ready=True, timeout=LIMIT_S
                )
            except grpc.aio.AioRpcError as error:
                return f"RegisterPlugin error -- plugin registration failed with err: {error.details()}", ""
        return "", node.accessible_topology.segments.get("topology.csi.thecloud.io/zone", "")
