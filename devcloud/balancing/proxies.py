"""The data path of the back end `nspawn`: HAProxy and nginx in the platform's network namespace.

Belongs here: the order in which addresses, files, configurations and processes of a load balancer come and go. Does
not: what a configuration says.
"""

import asyncio
import hashlib
import shutil
import signal
from collections.abc import Collection, Mapping
from pathlib import Path

from devcloud.balancing import haproxy, health, network, nginx
from devcloud.balancing.path import UNHEALTHY, Key
from devcloud.balancing.plan import Plan
from devcloud.balancing.process import Program, Proxy, end, find_ours, write_private
from devcloud.errors import BackendError
from devcloud.nspawn.network import Network

_RUN = Path("/run")
_HAPROXY = "/usr/sbin/haproxy"
_NGINX = "/usr/sbin/nginx"
NEEDED = {_HAPROXY: "haproxy", _NGINX: "nginx-light", str(nginx.MODULE): "libnginx-mod-stream"}
"""Files of this host, with the Debian package of each."""


class Proxies:
    """Carries the traffic of load balancers; needs root, and the namespace to be there."""

    def __init__(self, site: Network, folder: Path) -> None:
        self._network = site
        self._folder = folder.resolve()
        self._sockets = _RUN / site.name
        self._carried: dict[str, _Carried] = {}
        self._wanted: frozenset[str] | None = None
        self._is_closed = True
        self.can_be_transparent = False

    @property
    def needs_looking(self) -> bool:
        """Whether there are proxies, whose targets come and go."""
        return bool(self._carried)

    async def open(self) -> None:
        """Make folders and the way back of clients' addresses; processes that run are taken over one by one."""
        for folder in (self._folder, self._sockets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._is_closed = False
        if missing_packages():
            self.can_be_transparent = False
            return
        await network.ignore_refusals(self._network)
        self.can_be_transparent = await network.make_way_back(self._network)

    async def close(self) -> None:
        """Stop all proxies."""
        await self._let_go()
        await self._end_all()
        await asyncio.to_thread(shutil.rmtree, self._sockets, ignore_errors=True)

    async def keep(self, plans: Collection[Plan]) -> None:
        """Remove what belongs to other load balancers, then have the addresses: none is ever served twice."""
        if self._is_closed:
            return
        ids = {plan.id for plan in plans}
        for gone in [one for one in self._carried if one not in ids]:
            await self._carried.pop(gone).stop()
        for stray in {path.name for path in self._folder.iterdir()} - ids:
            left = _Carried(self._network, self._folder / stray, self._sockets)
            await left.take_over()
            await left.stop()
            await asyncio.to_thread(shutil.rmtree, self._folder / stray)
        wanted = frozenset(address for plan in plans if plan.owns_addresses for address in plan.addresses)
        if wanted != self._wanted:
            await network.set_addresses(self._network, wanted)
            self._wanted = wanted

    async def apply(self, plan: Plan) -> None:
        """Make the data path of one load balancer as planned."""
        if missing := missing_packages():
            raise BackendError(f"load balancers need these packages on this host: {', '.join(missing)}")
        carried = self._carried.get(plan.id)
        if carried is None:
            # The processes of an earlier platform go on where there are any.
            carried = _Carried(self._network, self._folder / plan.id, self._sockets)
            self._carried[plan.id] = carried
            await carried.take_over()
        async with carried.lock:
            if not self._is_closed:
                await carried.apply(plan)

    async def look(self) -> bool:
        """Ask all proxies for the health of their targets."""
        changed = await asyncio.gather(*(carried.look() for carried in list(self._carried.values())))
        return any(changed)

    def health(self, balancer_id: str) -> Mapping[Key, str]:
        """Give what the last look found."""
        carried = self._carried.get(balancer_id)
        return {} if carried is None else carried.health

    async def clear(self) -> None:
        """Stop all proxies, also those that a crash left, and remove their files."""
        await self._let_go()
        await self._end_all()
        for folder in (self._folder, self._sockets):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _let_go(self) -> None:
        """Let nothing begin any more, and what has begun end."""
        self._is_closed = True
        carried = list(self._carried.values())
        self._carried.clear()
        self._wanted = None
        for one in carried:
            async with one.lock:
                continue

    async def _end_all(self) -> None:
        left = await asyncio.to_thread(find_ours, self._network)
        while left:
            await end(left)
            left = await asyncio.to_thread(find_ours, self._network)


class _Carried:
    """The proxies of one load balancer."""

    def __init__(self, site: Network, folder: Path, sockets: Path) -> None:
        self._folder = folder
        self._haproxy_place = haproxy.Place(folder, sockets)
        self._nginx_place = nginx.Place(folder, sockets)
        self._haproxy = Proxy(site, _haproxy_program(self._haproxy_place))
        self._nginx = Proxy(site, _nginx_program(self._nginx_place))
        self._plan: Plan | None = None
        self._left_out: frozenset[Key] = frozenset()
        self.health: Mapping[Key, str] = {}
        self.lock = asyncio.Lock()

    async def take_over(self) -> None:
        """Go on with the processes of an earlier platform, where there are any."""
        for proxy in (self._haproxy, self._nginx):
            await asyncio.to_thread(proxy.take_over)

    async def apply(self, plan: Plan) -> None:
        if self._plan is None and self._haproxy.is_alive:
            # What an earlier platform's process knows, before anything is made from it.
            table = await health.read_servers(self._haproxy_place.socket)
            self.health = health.health_of(table, plan.routes, {})
        left_out = self._unhealthy_udp(plan)
        if plan == self._plan and left_out == self._left_out and self._runs(plan):
            return
        await asyncio.to_thread(self._write_certificates, plan)
        try:
            if haproxy.needs(plan):
                await self._run_haproxy(plan)
            else:
                await self._haproxy.stop()
            if nginx.needs(plan):
                mark = _mark("nginx", nginx.config_of(plan, self._nginx_place, "0", left_out))
                config = nginx.config_of(plan, self._nginx_place, mark, left_out)
                if not self._nginx.is_alive or await _read_all(self._nginx_place.socket) != mark:
                    await self._run_nginx(config, mark)
            else:
                await self._nginx.stop()
        except ValueError as error:
            raise BackendError(f"load balancer {plan.id} has no configuration: {error}") from error
        self._plan, self._left_out = plan, left_out
        await asyncio.to_thread(self._remove_certificates, plan)

    async def look(self) -> bool:
        if self._plan is None:
            return False
        checked = [route for route in self._plan.routes if route.listener.health_check is not None]
        if not checked:
            changed, self.health = bool(self.health), {}
            return changed
        table = await health.read_servers(self._haproxy_place.socket)
        if not table:
            # Nobody answers while a process is started again; what was known is the best guess.
            return False
        found = health.health_of(table, checked, self.health)
        changed, self.health = found != self.health, found
        return changed

    async def stop(self) -> None:
        await self._haproxy.stop()
        await self._nginx.stop()
        for socket in (self._haproxy_place.socket, self._nginx_place.socket):
            socket.unlink(missing_ok=True)

    def _runs(self, plan: Plan) -> bool:
        return (self._haproxy.is_alive or not haproxy.needs(plan)) and (self._nginx.is_alive or not nginx.needs(plan))

    def _unhealthy_udp(self, plan: Plan) -> frozenset[Key]:
        udp = {(route.group, route.listener.name) for route in plan.routes if route.listener.protocol == "udp"}
        return frozenset(key for key, state in self.health.items() if state == UNHEALTHY and key[:2] in udp)

    async def _run_haproxy(self, plan: Plan) -> None:
        place = self._haproxy_place
        secrets = "".join(plan.certificates[one] for one in sorted(plan.certificates))
        mark = _mark(haproxy.config_of(plan, place, "0"), secrets)
        if self._haproxy.is_alive and await health.read_mark(place.socket) == mark:
            return
        # Servers that are down stay so, until the new process has looked itself.
        states = await health.read_states(place.socket)
        await asyncio.to_thread(write_private, place.states, states)
        await self._haproxy.run(haproxy.config_of(plan, place, mark), mark)

    async def _run_nginx(self, config: str, mark: str) -> None:
        if not self._nginx.is_alive:
            # A process that was killed leaves it behind, and the next one would not listen.
            self._nginx_place.socket.unlink(missing_ok=True)
        await self._nginx.run(config, mark)

    def _write_certificates(self, plan: Plan) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for certificate_id, pem in plan.certificates.items():
            write_private(self._haproxy_place.certificate(certificate_id), pem)

    def _remove_certificates(self, plan: Plan) -> None:
        kept = {self._haproxy_place.certificate(one) for one in plan.certificates}
        for path in set(self._folder.glob("*.pem")) - kept:
            path.unlink(missing_ok=True)


def missing_packages() -> list[str]:
    """Give the packages that this host lacks for load balancers."""
    return sorted({package for file, package in NEEDED.items() if not Path(file).exists()})


def _haproxy_program(place: haproxy.Place) -> Program:
    candidate = place.folder / "haproxy.cfg.new"
    return Program(
        name="haproxy",
        start=(_HAPROXY, "-W", "-db", "-f", str(place.config)),
        check=(_HAPROXY, "-c", "-q", "-f", str(candidate)),
        config=place.config,
        candidate=candidate,
        log=place.folder / "haproxy.log",
        reload_signal=signal.SIGUSR2,
        gives_up="Loading failure",
        read_mark=lambda: health.read_mark(place.socket),
    )


def _nginx_program(place: nginx.Place) -> Program:
    candidate = place.folder / "nginx.conf.new"
    log = place.folder / "nginx.log"
    common = ("-p", str(place.folder), "-e", str(log))
    return Program(
        name="nginx",
        start=(_NGINX, *common, "-c", str(place.config), "-g", "daemon off;"),
        check=(_NGINX, "-t", "-q", *common, "-c", str(candidate)),
        config=place.config,
        candidate=candidate,
        log=log,
        reload_signal=signal.SIGHUP,
        gives_up="still could not bind",
        read_mark=lambda: _read_all(place.socket),
    )


async def _read_all(socket: Path) -> str:
    return (await health.ask(socket, "")).strip()


def _mark(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
