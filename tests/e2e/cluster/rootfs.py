"""The file system of a machine: the Debian system, the programs of a Kubernetes node, and the files of `machine/`.

What makes one machine differ from another (host name, hosts, network, pod network) is not in it: who starts the machine
writes that into its own layer.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.cluster.binaries import tool_of
from tests.e2e.cluster.cache import Artefact, digest, digest_of_files
from tests.e2e.cluster.commands import run
from tests.e2e.cluster.debian import System

FILES = Path(__file__).parent / "machine"
"""Laid over the system as they are, below `/`."""
PROGRAMS = {
    "/usr/bin": ("kubeadm", "kubelet", "kubectl"),
    "/usr/local/bin": ("containerd", "containerd-shim-runc-v2", "ctr"),
    "/opt/cni/bin": ("bridge", "host-local", "loopback", "portmap"),
}
"""Which programs of the table of binaries are where."""
FOLDERS = ("etc/cni/net.d", "etc/kubernetes/manifests", "var/lib/containerd", "var/lib/kubelet", "lib/modules")
LOOP_DEVICES = 64
"""Nodes /dev/loop0 and up. The kubelet itself makes loop devices for volumes in block mode."""
ENABLED = ("containerd.service", "kubelet.service", "systemd-networkd.service")
DISABLED = (
    *("ssh.service", "ssh.socket", "nftables.service", "getty@.service", "remote-fs.target"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "xfs_scrub_all.timer"),
)
"""Nothing of it is wanted on a machine that lives for a test; sshd is started by who needs it."""
_SPECIFIC = ("etc/hostname", "etc/machine-id", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/log/*.log")
"""What debootstrap leaves of this host, or what every machine makes for itself."""
_COMMAND_S = 300.0
_SOURCE = Path(__file__).read_bytes()


def rootfs_key(system: Artefact) -> str:
    """Give the key of the machine's files on top of that Debian system."""
    files = digest_of_files((path for path in FILES.rglob("*") if path.is_file()), below=FILES)
    wanted = sorted(name for names in PROGRAMS.values() for name in names)
    builds = (f"{name} {tool_of(name).artefact.key}" for name in wanted)
    return digest(system.label, files, *builds, _SOURCE)


async def make_rootfs(root: Path, system: System, binaries: Mapping[str, Path]) -> None:
    """Make the machine's root folder. Raises AssetError."""
    await run(("cp", "--archive", "--no-target-directory", system.root, root), timeout_s=_COMMAND_S)
    await asyncio.to_thread(_add_files, root, binaries)
    # systemctl refuses a unit that this release does not have.
    here = [unit for unit in DISABLED if (root / "lib/systemd/system" / unit).exists()]
    await run(("chroot", root, "systemctl", "disable", *here), timeout_s=_COMMAND_S)
    await run(("chroot", root, "systemctl", "enable", *ENABLED), timeout_s=_COMMAND_S)


def loop_nodes() -> str:
    """Give the lines for systemd-tmpfiles that make the nodes of loop devices."""
    nodes = (f"b /dev/loop{number} 0660 root disk - 7:{number}" for number in range(LOOP_DEVICES))
    return "\n".join(("c /dev/loop-control 0660 root disk - 10:237", *nodes)) + "\n"


def _add_files(root: Path, binaries: Mapping[str, Path]) -> None:
    for pattern in _SPECIFIC:
        for path in root.glob(pattern):
            path.unlink()
    # Empty, not absent: systemd then makes an id at every first boot without asking anything.
    (root / "etc/machine-id").touch()
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for source in FILES.rglob("*"):
        if source.is_file():
            _place(source, root / source.relative_to(FILES), mode=0o644)
    for folder, names in PROGRAMS.items():
        for name in names:
            _place(binaries[name], root / folder.lstrip("/") / name, mode=0o755)
    loops = root / "etc/tmpfiles.d/loop.conf"
    loops.write_text(loop_nodes())


def _place(source: Path, target: Path, *, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # It may be a link, such as resolv.conf on many hosts, and must not be written through.
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
