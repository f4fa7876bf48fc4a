"""A cloud of this host with kaas on it: devcloud with machines, and the service inside of their network.

The service runs where the machines' addresses can be reached; its API is on this host's loopback all the same, by a
socket that it is handed over.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from devcloud import commands
from devcloud.commands import Finished
from kaas.bootstrap.kubeadm import HostQuirks, shared_host
from tests.e2e.cluster import platform
from tests.e2e.cluster.assets import Assets
from tests.e2e.cluster.binaries import KUBERNETES_VERSION
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.images import COREDNS_TAG, ETCD_TAG
from tests.e2e.cluster.site import Site
from tests.e2e_kaas import machine_image
from tests.support.stack import Program

OVERLAYS = ("--csi-overlay=overlays/devcloud", "--ccm-overlay=ccm/overlays/devcloud")
PHONE_HOME_PORT = 8087
MAX_VOLUMES = 20
_NODE_MEMORY_MIB = 6144
_START_S = 60.0
_COMMAND_S = 60.0
_LOOK_S = 0.1


@dataclass(slots=True)
class Place:
    """What runs, below one folder."""

    site: Site
    """The platform, as the tests of a single cluster have it; its kubeconfig is that of the cluster looked at last."""
    url: str = ""
    """Of the service's API."""
    key: str = ""
    program: Program | None = None
    listening: socket.socket | None = None

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.site.folder

    @property
    def state_dir(self) -> Path:
        """The service's own files."""
        return self.folder / "kaas"

    @property
    def log(self) -> Path:
        """What the service wrote."""
        return self.site.logs / "kaas.log"

    def environment(self) -> Mapping[str, str]:
        """Give the variables with which people's commands find the service."""
        return {"CLOUD_API_URL": self.url, "CLOUD_API_KEY": self.key, "HOME": str(self.folder)}

    async def cloud(self, *words: str, timeout_s: float = _COMMAND_S) -> Finished:
        """Run `cloud k8s` with these words, as a person does, and give what came of it."""
        environment = {**os.environ, **self.environment()}
        return await commands.run(self.cloud_argv(*words), timeout_s=timeout_s, environment=environment)

    def cloud_argv(self, *words: str) -> tuple[str, ...]:
        """Give the command of this host that runs `cloud k8s` with these words."""
        return (str(Path(sys.executable).with_name("cloud")), "k8s", *words)

    async def listed(self, kind: str) -> Sequence[Mapping[str, Any]]:
        """Give what the platform lists of a kind. Raises ClusterError."""
        vpc = (self.folder / "vpc").read_text()
        query = f"?vpc_id={vpc}" if kind == "security-groups" else ""
        return list(await self.call("GET", f"/{kind}{query}") or ())

    async def call(self, method: str, path: str) -> Any:
        """Ask the platform as its user; gives `data` of the answer. Raises ClusterError for an error status."""
        return await platform.call(self.site, method, path)

    async def start(self) -> None:
        """Start the service, and wait until it says that it works. Raises ClusterError."""
        if self.listening is None:
            # It is kept while the service is away, so that its address stays.
            self.listening = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        descriptor = self.listening.fileno()
        argv = (
            *("nsenter", f"--net={self.site.namespace}", "--"),
            *(sys.executable, "-m", "kaas.program", "serve", f"--listen=fd:{descriptor}", *self._flags()),
        )
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(descriptor,)
            )
        self.program = Program("kaas", list(argv), self.log, process)
        async with asyncio.timeout(_START_S):
            while b"kaas: API on" not in self.log.read_bytes()[seen:]:
                if not self.program.running:
                    raise ClusterError(f"kaas ended:\n{self.program.log_tail()}")
                await asyncio.sleep(_LOOK_S)

    async def stop(self) -> None:
        """End the service; what it made stays."""
        if self.program is not None:
            await self.program.stop()
        if self.listening is not None:
            self.listening.close()
            self.listening = None

    async def kill(self) -> None:
        """End the service with SIGKILL; its socket stays."""
        if self.program is not None:
            await self.program.stop(signal.SIGKILL)

    def _flags(self) -> Sequence[str]:
        gateway, network = platform.NETWORK[1], platform.NETWORK
        node = f"TC_LOOP_DISK_DIR={self.site.cloud_dir / 'disks'},TC_MAX_VOLUMES={MAX_VOLUMES}"
        return (
            f"--state-dir={self.state_dir}",
            f"--platform-url={self.site.inner_url}",
            f"--api-key-file={self.site.cloud_dir / 'api-key'}",
            "--requests-per-s=100",
            f"--phone-home-listen={gateway}:{PHONE_HOME_PORT}",
            f"--phone-home-url=https://{gateway}:{PHONE_HOME_PORT}",
            f"--catalogue-file={self.folder / 'catalogue.yaml'}",
            f"--quirks-file={self.folder / 'quirks.yaml'}",
            f"--conductor-sources={network}",
            f"--balancer-sources={network}",
            f"--node-network={network}",
            "--default-cni=bridge",
            "--health-period=15s",
            "--repair-dead-after=20s",
            f"--default-vpc={(self.folder / 'vpc').read_text()}",
            "--proxy-mode=nftables",
            f"--dns-image-tag={COREDNS_TAG}",
            f"--etcd-image-tag={ETCD_TAG}",
            f"--csi-node-env={node}",
            *OVERLAYS,
        )


async def make_cloud(folder: Path, assets: Assets, archives: Sequence[Path]) -> Place:
    """Start the platform below a new folder, and write down what the service is told. Raises ClusterError."""
    image = await machine_image.make(folder / "image", assets, archives)
    pid = platform.start(folder, image, max_volumes=MAX_VOLUMES)
    (folder / "devcloud.pid").write_text(str(pid))
    outer, inner = await platform.addresses(folder, pid)
    site = Site(
        folder=folder,
        devcloud_url=outer,
        inner_url=inner,
        kubectl=assets.binaries["kubectl"],
        max_volumes=MAX_VOLUMES,
    )
    place = Place(site)
    await _furnish(place)
    return place


async def _furnish(place: Place) -> None:
    """Make what the service's operator makes once: keys, a first user, and what is offered."""
    folder = place.folder
    (folder / "vpc").write_text((await platform.call(place.site, "GET", "/vpcs"))[-1]["id"])
    offer = {"version": KUBERNETES_VERSION, "image": platform.IMAGE, "cnis": ["bridge"]}
    (folder / "catalogue.yaml").write_text(json.dumps({"versions": [offer]}))
    (folder / "quirks.yaml").write_bytes(msgspec.json.encode(_quirks()))
    await _kaas("keyring", "new", f"--state-dir={place.state_dir}")
    said = await _kaas("user", "add", f"--state-dir={place.state_dir}", "--user=ada")
    place.key = said.rpartition("CLOUD_API_KEY=")[2].split()[0]


def _quirks() -> HostQuirks:
    """Say what machines need that share this host."""
    host_mib = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return shared_host(reserved_memory=f"{max(host_mib - _NODE_MEMORY_MIB, 0)}Mi")


async def _kaas(*words: str) -> str:
    done = await commands.run(
        (sys.executable, "-m", "kaas.program", *words), timeout_s=_COMMAND_S, environment=os.environ
    )
    if done.exit_code != 0:
        raise ClusterError(f"kaas {' '.join(words[:2])} ended with {done.exit_code}: {done.complaint}")
    return done.output


async def remove(folder: Path) -> None:
    """End the platform of a folder, with all that it made, and the folder. Raises ClusterError when something stays."""
    pid_file = folder / "devcloud.pid"
    await platform.take_down(folder, int(pid_file.read_text()) if pid_file.exists() else None)
    await asyncio.to_thread(shutil.rmtree, folder)


def new_folder() -> Path:
    """Give the path of a folder that is not there yet; it has room for machines."""
    return Path("/var/tmp") / f"thecloud-kaas-{secrets.token_hex(3)}"
