"""The composition root: the platform as an ASGI application, and the command `devcloud`."""

import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

from starlette.types import Receive, Scope, Send

from devcloud import power
from devcloud.api.gateway import Gateway
from devcloud.balancing import worker
from devcloud.balancing.path import DataPath
from devcloud.cloud import Cloud, build
from devcloud.machines import Machines
from devcloud.reconcile import reconcile
from devcloud.seed import seed
from devcloud.settings import Settings


class DataDirBusyError(Exception):
    """Another devcloud works on the data folder."""


class App:
    """One platform as an ASGI application.

    It answers while `running` is held. `state.cloud`, `state.faults` and `state.api_key` are there for tests in the
    same process.
    """

    def __init__(self, settings: Settings, machines: Machines | None = None, path: DataPath | None = None) -> None:
        self._settings = settings
        self._machines = machines
        self._path = path
        self._gateway: Gateway | None = None
        self.state = SimpleNamespace(sockets=())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises RuntimeError outside `running`."""
        if self._gateway is None or scope["type"] != "http":
            raise RuntimeError(f"no platform runs that could answer {scope['type']}")
        await self._gateway(scope, receive, send)

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Cloud]:
        """Keep the platform open: state read, machines and disks in line with it, first user there.

        `state.sockets` are those at which instances reach the platform where they cannot reach this host; on `port`
        (0: a free one).

        Raises DataDirBusyError when another devcloud has the folder, BackendError when the back end cannot work here.
        """
        cloud = build(self._settings, self._machines, self._path)
        with hold_data_dir(self._settings.data_dir):
            for folder in (self._settings.disks_dir, self._settings.snapshots_dir):
                folder.mkdir(parents=True, exist_ok=True)
            await cloud.store.open()
            try:
                self.state.api_key = await seed(cloud)
                await cloud.machines.open()
                await cloud.path.open()
                self.state.sockets = await cloud.machines.listen(port)
                await reconcile(cloud)
                self.state.cloud, self.state.faults = cloud, cloud.faults
                self._gateway = Gateway(cloud)
                async with power.following(cloud), worker.working(cloud):
                    yield cloud
            finally:
                self._gateway = None
                for listening in self.state.sockets:
                    listening.close()
                cloud.hub.close()
                await cloud.tasks.stop()
                await cloud.path.close()
                await cloud.machines.close()
                await cloud.store.close()


def create_app(settings: Settings, machines: Machines | None = None, path: DataPath | None = None) -> App:
    """Give the platform as an ASGI application; `machines` and `path` replace what the settings have."""
    return App(settings, machines, path)


@contextlib.contextmanager
def hold_data_dir(folder: Path) -> Iterator[None]:
    """Make the folder (mode 0700) and keep other devclouds out of it; raises DataDirBusyError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirBusyError(f"another devcloud works on {folder}; stop it first") from error
        yield
    finally:
        os.close(file)


def main() -> int:
    """Run the command `devcloud`."""
    from devcloud.command import run  # noqa: PLC0415 - the command imports the server, the application does not

    return run()


if __name__ == "__main__":
    sys.exit(main())
