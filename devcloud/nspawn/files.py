"""What a machine finds in its files: who it is, its network, who may log in, what to run at its first boot.

All of it comes from the platform's row of the instance. Belongs here: contents, and writing them into a root that is
not running. Does not: where roots lie, starting anything.
"""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import msgspec

from devcloud.addresses import gateway_of, pod_range
from devcloud.machines import Machine

NETWORK_FILE = "etc/systemd/network/10-devcloud.network"
INSTANCE_DATA = "/run/cloud-init/instance-data.json"
"""Where a system set up by cloud-init tells programs which instance it is."""
PRODUCT_UUID = "/run/devcloud/product_uuid"
"""What a machine shows as its firmware's UUID, where this host has one."""
_FIRST_BOOT = "var/lib/devcloud/first-boot.sh"
_FIRST_BOOT_DONE = "/var/lib/devcloud/first-boot.done"
_FIRST_BOOT_UNIT = "devcloud-first-boot.service"
_LOCALHOST = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PARENT_MODES = {"root/.ssh": 0o700}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What machines have in common."""

    network: IPv4Network
    pods: IPv4Network | None = None
    api_url: str = ""
    """Where a machine reaches the platform; empty: nowhere."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a machine; `link` makes it a link to there."""

    content: str = ""
    mode: int = 0o644
    link: str = ""


def files_of(machine: Machine, around: Surroundings) -> dict[str, File]:
    """Give the files that a new machine gets, by path below its root."""
    found = {
        "etc/hostname": File(f"{machine.hostname}\n"),
        "etc/machine-id": File(machine.instance_id.replace("-", "") + "\n", 0o444),
        NETWORK_FILE: File(_network(machine, around)),
    }
    if machine.authorized_keys:
        found["root/.ssh/authorized_keys"] = File("".join(f"{key}\n" for key in machine.authorized_keys), 0o600)
    if machine.environment:
        found["etc/profile.d/devcloud.sh"] = File(_profile(machine.environment))
    if machine.commands:
        found |= _first_boot(machine.commands)
    return found


def instance_data(machine: Machine, around: Surroundings) -> str:
    """Give what the machine can read about itself at `INSTANCE_DATA`: a section as cloud-init has it, and ours."""
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "v1": {
                    "cloud_name": "thecloud",
                    "instance_id": machine.instance_id,
                    "local_hostname": machine.hostname,
                    "availability_zone": machine.zone,
                },
                "devcloud": {
                    "name": machine.name,
                    "private_ip": machine.address,
                    "gateway": gateway_of(around.network),
                    "pod_range": pod_range(machine.address, around.network, around.pods),
                    "api_url": around.api_url,
                },
            }
        )
    ).decode()


def hosts(machines: Iterable[Machine]) -> str:
    """Give the hosts file of all machines; every one finds every other by host name and by name."""
    lines = []
    for machine in sorted(machines, key=lambda one: one.address):
        names = dict.fromkeys(name for name in (machine.hostname, machine.name) if _HOST.fullmatch(name))
        lines.append(f"{machine.address} {' '.join(names)}\n")
    return _LOCALHOST + "".join(lines)


def write_files(root: Path, files: dict[str, File]) -> None:
    """Write files into the root of a machine that was never booted, in place of what the image has there."""
    for name, file in files.items():
        path = root / name
        parent = Path(name).parent
        path.parent.mkdir(parents=True, exist_ok=True)
        if str(parent) in _PARENT_MODES:
            path.parent.chmod(_PARENT_MODES[str(parent)])
        # Removed first: what the image has there may be a link that leads out of the root.
        path.unlink(missing_ok=True)
        if file.link:
            path.symlink_to(file.link)
            continue
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file.mode)
        with os.fdopen(descriptor, "w") as target:
            os.fchmod(descriptor, file.mode)
            target.write(file.content)


def overwrite(path: Path, content: str) -> None:
    """Give a file new content in place, since machines have this very file mounted."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as target:
        data = content.encode()
        target.write(data)
        target.truncate(len(data))


def _network(machine: Machine, around: Surroundings) -> str:
    """Give the network file; its name sorts before the distribution's own, which asks for an address by DHCP."""
    return (
        "[Match]\nName=host0\n\n[Network]\n"
        f"Address={machine.address}/{around.network.prefixlen}\n"
        f"Gateway={gateway_of(around.network)}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


def _profile(environment: Iterable[str]) -> str:
    lines = []
    for pair in environment:
        name, equals, value = pair.partition("=")
        if equals and name.isidentifier():
            lines.append(f"export {name}={shlex.quote(value)}\n")
    return "".join(lines)


def _first_boot(commands: Iterable[str]) -> dict[str, File]:
    """Give a unit that runs the commands once, one after the other, as a system with cloud-init does."""
    script = "".join(f"sh -c {shlex.quote(command)}\n" for command in commands)
    unit = (
        "[Unit]\nDescription=Commands of this instance's launch\n"
        "Wants=network-online.target\nAfter=network-online.target\n"
        f"ConditionPathExists=!{_FIRST_BOOT_DONE}\n\n"
        # Not oneshot: what a launch runs may take long, and the machine is up without it.
        f"[Service]\nType=exec\nExecStart=/bin/sh /{_FIRST_BOOT}\n"
    )
    return {
        _FIRST_BOOT: File(f"touch {_FIRST_BOOT_DONE}\n{script}", 0o700),
        f"etc/systemd/system/{_FIRST_BOOT_UNIT}": File(unit),
        f"etc/systemd/system/multi-user.target.wants/{_FIRST_BOOT_UNIT}": File(link=f"../{_FIRST_BOOT_UNIT}"),
    }
