"""The command `devcloud`: serve, enter, reset, version."""

import argparse
import asyncio
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from devcloud import addresses
from devcloud import app as application
from devcloud.api.pages import find_version
from devcloud.cloud import build
from devcloud.disks import IMAGE_SUFFIX, PART_SUFFIX
from devcloud.errors import CloudError
from devcloud.nspawn.enter import replace_process
from devcloud.nspawn.records import folders
from devcloud.reconcile import take_down
from devcloud.server import Server, open_socket, url_of
from devcloud.settings import DEFAULT_NETWORK, Backend, HostInstance, ImageFolder, Quota, Settings, Tier

DEFAULT_LISTEN = "127.0.0.1:8080"
_DEFAULT_DIR = Path("/var/lib/devcloud")
_OWN_FILES = ("state.db", "state.db-wal", "state.db-shm", "api-key", "api-key.part")
_LOOP_CONTROL = Path("/dev/loop-control")
_SHELL = ("/bin/sh", "-l")
_ENTER_FAILED = 255
"""Exit code of `enter` when there is no command whose code could be told, as with ssh."""
_SMALLEST_NETWORK = 8
"""Addresses: the network's two own, the platform's, three in reserve, and instances."""


class UsageError(Exception):
    """Options that do not fit together or this machine; the text says what to do."""


def run(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line and give the exit code."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return int(options.work(options))
    except (UsageError, application.DataDirBusyError, CloudError) as error:
        sys.stderr.write(f"devcloud: {error}\n")
    except OSError as error:
        sys.stderr.write(f"devcloud: {error.strerror}{f': {error.filename}' if error.filename else ''}\n")
    return int(options.failed)


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    host, port = parse_listen(options.listen, allow_remote=options.allow_remote)
    settings = read_settings(options)
    _check_backend(settings)
    with open_socket(host, port) as listening:
        asyncio.run(_serve(settings, listening))
    return 0


async def _serve(settings: Settings, listening: socket.socket) -> None:
    app = application.create_app(settings)
    async with app.running(listening.getsockname()[1]):
        # Written at once: whoever started this process waits for the line.
        sys.stdout.write(
            f"devcloud ({settings.tier.value} tier, back end {settings.backend.value}) on {url_of(listening)}\n"
            f"API key in {settings.api_key_path}; volumes in {settings.disks_dir}\n"
        )
        for inside in app.state.sockets:
            sys.stdout.write(f"from inside of instances: {url_of(inside)}\n")
        sys.stdout.flush()
        await Server(app).serve(sockets=[listening, *app.state.sockets])


def enter(options: argparse.Namespace) -> int:
    """Become a command in the machine of an instance."""
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    replace_process(options.data_dir, options.instance, words or _SHELL, os.environ)
    return _ENTER_FAILED


def reset(options: argparse.Namespace) -> int:
    """Remove the machines and disks of a data folder from this machine, and its state; nothing else is touched."""
    settings = Settings(data_dir=options.data_dir)
    if not settings.data_dir.is_dir():
        return 0
    if settings.machines_dir.exists():
        settings = Settings(data_dir=options.data_dir, backend=Backend.NSPAWN)
    with application.hold_data_dir(settings.data_dir):
        refused = asyncio.run(take_down(build(settings)))
        if refused:
            raise UsageError("no state was removed, disks are in use: " + "; ".join(refused))
        for name in _OWN_FILES:
            (settings.data_dir / name).unlink(missing_ok=True)
        for folder in (settings.disks_dir, settings.snapshots_dir):
            for suffix in (IMAGE_SUFFIX, PART_SUFFIX):
                for path in folder.glob("*" + suffix):
                    path.unlink(missing_ok=True)
            _remove_empty(folder)
        (settings.data_dir / "lock").unlink(missing_ok=True)
    _remove_empty(settings.data_dir)
    return 0


def _remove_empty(folder: Path) -> None:
    """Remove a folder unless it holds something that is not ours, or is not there."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def show_version(options: argparse.Namespace) -> int:
    """Write the version."""
    del options
    sys.stdout.write(f"devcloud {find_version()}\n")
    return 0


def parse_listen(text: str, *, allow_remote: bool) -> tuple[str, int]:
    """Split `host:port`; raises UsageError for an address that others can reach unless that is allowed."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise UsageError(f"--listen {text!r} is not host:port")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise UsageError(f"--listen {text!r}: an IP address is needed") from error
    if not is_loopback and not allow_remote:
        raise UsageError(f"--listen {host} can be reached by others over plain HTTP; add --allow-remote to want that")
    return host, int(port)


def read_settings(options: argparse.Namespace) -> Settings:
    """Give the settings of a command line; raises UsageError."""
    zones = tuple(options.zone or ("zone-1",))
    hosts = tuple(HostInstance(*text.partition("=")[::2]) for text in options.host_instance or ())
    for host in hosts:
        if not host.name or (host.zone and host.zone not in zones):
            raise UsageError(
                f"--host-instance {host.name}={host.zone}: NAME or NAME=ZONE with a zone of --zone is needed"
            )
    network, pods = _read_networks(options.network, options.pod_network)
    lb_addresses = _read_lb_addresses(options.lb_addresses, network, pods)
    return Settings(
        data_dir=options.data_dir,
        tier=Tier(options.tier),
        backend=Backend(options.backend),
        zones=zones,
        host_instances=hosts,
        machine_images=tuple(map(_read_image, options.machine_image or ())),
        network=network,
        pod_network=pods,
        lb_addresses=lb_addresses,
        lb_tick_s=options.lb_tick,
        region=options.region,
        boot_timeout_s=options.boot_timeout,
        stop_timeout_s=options.stop_timeout,
        max_volumes=options.max_volumes,
        capacity_gb=options.capacity_gb,
        rate_limit_rps=options.rate_limit,
        snapshot_delay_s=options.snapshot_delay,
        instance_start_s=options.instance_start,
        durable=not options.no_fsync,
        quota=Quota(options.quota_instances, options.quota_vcpus, options.quota_memory_gb),
    )


def _read_image(text: str) -> ImageFolder:
    name, equals, folder = text.partition("=")
    if not name or not equals or not Path(folder).is_dir():
        raise UsageError(f"--machine-image {text}: NAME=FOLDER with a folder that is there is needed")
    return ImageFolder(name, Path(folder))


def _read_networks(text: str, pod_text: str | None) -> tuple[IPv4Network, IPv4Network | None]:
    try:
        network = IPv4Network(text)
        pods = IPv4Network(pod_text) if pod_text else None
    except ValueError as error:
        raise UsageError(f"--network and --pod-network are IPv4 networks such as 10.77.0.0/24: {error}") from error
    if network.num_addresses < _SMALLEST_NETWORK:
        raise UsageError(
            f"--network {network} has no room for instances; give it at least {_SMALLEST_NETWORK} addresses"
        )
    if pods is not None and not addresses.fits(network, pods):
        raise UsageError(
            f"--pod-network {pods} has to hold a /24 for every address of --network {network}, apart from it; "
            "10.77.0.0/24 and 192.168.0.0/16 go together"
        )
    return network, pods


def _read_lb_addresses(text: str | None, network: IPv4Network, pods: IPv4Network | None) -> IPv4Network | None:
    if text is None:
        return None
    try:
        wanted = IPv4Network(text)
    except ValueError as error:
        raise UsageError(f"--lb-addresses is an IPv4 network such as 203.0.113.0/24: {error}") from error
    is_part = wanted.subnet_of(network) and addresses.gateway_of(network) not in map(str, (wanted[0], *wanted.hosts()))
    if not is_part and (wanted.overlaps(network) or (pods is not None and wanted.overlaps(pods))):
        raise UsageError(
            f"--lb-addresses {wanted} has to lie apart from --network and --pod-network, or in --network without the "
            f"platform's own address {addresses.gateway_of(network)}"
        )
    return wanted


def _check_backend(settings: Settings) -> None:
    if settings.backend is not Backend.NSPAWN and folders(settings.machines_dir):
        raise UsageError(
            f"{settings.data_dir} has machines; serve it with --backend nspawn, or remove them with `devcloud reset`"
        )
    if settings.backend is Backend.NONE:
        return
    if os.geteuid() != 0 or not _LOOP_CONTROL.exists():
        raise UsageError(
            f"the back end `{settings.backend.value}` needs root and loop devices (/dev/loop-control); "
            "use --backend none"
        )
    if settings.backend is Backend.NSPAWN and settings.host_instances:
        raise UsageError("--host-instance is for the back end `host`; with `nspawn` every instance is launched")
    if settings.backend is Backend.NSPAWN and not settings.machine_images:
        raise UsageError("the back end `nspawn` needs something to launch from: --machine-image NAME=FOLDER")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcloud", description="The Cloud, small enough to run beside a test.")
    parser.set_defaults(log_level="warning", failed=1)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve the platform's API"))
    command = commands.add_parser("enter", help="run a command in the machine of an instance (back end nspawn)")
    command.add_argument("--data-dir", type=Path, default=_DEFAULT_DIR)
    command.add_argument("instance", help="id, host name or name")
    command.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="default: a shell")
    command.set_defaults(work=enter, failed=_ENTER_FAILED)
    command = commands.add_parser("reset", help="remove machines and disks from this machine, and the state")
    command.add_argument("--data-dir", type=Path, default=_DEFAULT_DIR)
    command.set_defaults(work=reset)
    commands.add_parser("version", help="write the version").set_defaults(work=show_version)
    return parser


def _add_serve(command: argparse.ArgumentParser) -> None:
    quota = Quota()
    add = command.add_argument
    add("--tier", choices=[tier.value for tier in Tier], default=Tier.EXTENDED.value, help="which platform to play")
    add("--listen", default=DEFAULT_LISTEN, help=f"host:port, port 0 takes a free one (default {DEFAULT_LISTEN})")
    add("--allow-remote", action="store_true", help="listen on an address that others can reach")
    add("--data-dir", type=Path, default=_DEFAULT_DIR, help=f"state and images (default {_DEFAULT_DIR})")
    add("--backend", choices=[item.value for item in Backend], default=Backend.HOST.value, help="behind instances")
    add("--host-instance", action="append", metavar="NAME[=ZONE]", help="an instance that is this machine; may repeat")
    add("--machine-image", action="append", metavar="NAME=FOLDER", help="what nspawn launches from; may repeat")
    add("--network", default=DEFAULT_NETWORK, help=f"private addresses of instances (default {DEFAULT_NETWORK})")
    add("--pod-network", help="its n-th /24 is routed to the instance with the n-th address (nspawn)")
    add("--lb-addresses", help="of load balancers and elastic IPs (default: the upper quarter of --network, a /24)")
    add("--lb-tick", type=float, default=5.0, metavar="SECONDS", help="between looks of the strict tier's worker")
    add("--region", default="region-1", help="of all instances (default region-1)")
    add("--boot-timeout", type=float, default=90.0, metavar="SECONDS", help="for a machine to come up (default 90)")
    add("--stop-timeout", type=float, default=30.0, metavar="SECONDS", help="for a machine to power off (default 30)")
    add("--zone", action="append", help="a zone, the first is the default; may repeat (default zone-1)")
    add("--max-volumes", type=int, default=64, help="volumes per instance (default 64)")
    add("--capacity-gb", type=int, default=0, help="storage that volumes may claim (default: what the disk has)")
    add("--rate-limit", type=float, default=100.0, metavar="RPS", help="requests per second, 0 for none (default 100)")
    add("--snapshot-delay", type=float, default=0.0, metavar="SECONDS", help="how long snapshots stay CREATING")
    add("--instance-start", type=float, default=0.0, metavar="SECONDS", help="how long instances stay STARTING")
    add("--quota-instances", type=int, default=quota.instances, help="instances that a tenant may launch")
    add("--quota-vcpus", type=int, default=quota.vcpus, help="virtual CPUs of launched instances")
    add("--quota-memory-gb", type=int, default=quota.memory_gb, help="memory of launched instances")
    add("--no-fsync", action="store_true", help="survive kill -9 but no power cut; faster")
    add("--log-level", choices=["debug", "info", "warning", "error"], default="warning")
    command.set_defaults(work=serve)
