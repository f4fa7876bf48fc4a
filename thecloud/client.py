"""The platform, as a program sees it: open a `Client`, call its resources.

    async with Client(settings, request_id=current_request_id, observer=metrics) as cloud:
        volume = await cloud.volumes.create(name="pv-1", size_gb=1, deadline=loop.time() + 10)

Belongs here: wiring. The layers below are, from the caller inwards: a resource (`thecloud.volumes` …), retries
(`thecloud.retry`), the rate budget (`thecloud.budget`), HTTP (`thecloud.transport`).
"""

import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

from thecloud.api_keys import ApiKeys
from thecloud.budget import Budget, BudgetedExchange
from thecloud.call import Exchange
from thecloud.capabilities import Discovery, Features, check_platform
from thecloud.capacity import StorageCapacity
from thecloud.certificates import Certificates
from thecloud.credentials import key_source
from thecloud.elastic_ips import ElasticIps
from thecloud.groups import SnapshotGroups
from thecloud.instances import Instances
from thecloud.launches import Launches
from thecloud.loadbalancers import LoadBalancers
from thecloud.port_balancers import PortBalancers
from thecloud.retry import RetryingExchange
from thecloud.security_groups import SecurityGroups
from thecloud.settings import PlatformSettings
from thecloud.snapshots import Snapshots
from thecloud.ssh_keys import SshKeys
from thecloud.transport import HttpExchange, Observer, TransportBase, ignore, open_http
from thecloud.volumes import Volumes
from thecloud.vpcs import Vpcs


class Client:
    """The platform. Use as an async context manager; inside one event loop.

    Every call takes `deadline`, a time of the running loop (`loop.time()`), and has ended by then.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        *,
        request_id: Callable[[], str] = str,
        observer: Observer = ignore,
        transport: TransportBase | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Wire the layers; nothing is sent and no file is read yet.

        `request_id` gives the id of the work in hand, sent as X-Request-ID (a new one when it gives none); `observer`
        is told of every HTTP exchange; `transport` replaces the network (tests); `jitter` gives numbers in [0, 1).
        Raises ValueError naming every wrong setting.
        """
        if problems := settings.problems():
            raise ValueError("; ".join(problems))
        self._http = open_http(settings, transport)
        bare = HttpExchange(
            self._http,
            settings,
            key=key_source(settings),
            request_id=request_id,
            observer=observer,
            tells_progress=transport is None,
        )
        budget = Budget(rate_per_s=settings.requests_per_s, burst=settings.burst)
        self._exchange: Exchange = RetryingExchange(BudgetedExchange(bare, budget), jitter=jitter)
        self._discovery = Discovery(self._exchange, refresh_s=settings.features_refresh_s)
        features, window_s = self._discovery.get, settings.listing_window_s
        self.volumes = Volumes(self._exchange, features, listing_window_s=window_s)
        self.snapshots = Snapshots(self._exchange, features, listing_window_s=window_s)
        self.groups = SnapshotGroups(self._exchange, features, listing_window_s=window_s)
        self.instances = Instances(self._exchange, features, listing_window_s=window_s)
        self.launches = Launches(self._exchange, features, listing_window_s=window_s)
        self.capacity = StorageCapacity(self._exchange, features)
        self.load_balancers = LoadBalancers(self._exchange, features, listing_window_s=window_s)
        self.port_balancers = PortBalancers(self._exchange, features, listing_window_s=window_s)
        self.certificates = Certificates(self._exchange, features, listing_window_s=window_s)
        self.vpcs = Vpcs(self._exchange, features, listing_window_s=window_s)
        self.elastic_ips = ElasticIps(self._exchange, features, listing_window_s=window_s)
        self.security_groups = SecurityGroups(self._exchange, features, listing_window_s=window_s)
        self.ssh_keys = SshKeys(self._exchange, features, listing_window_s=window_s)
        self.api_keys = ApiKeys(self._exchange, features, listing_window_s=window_s)

    async def features(self, deadline: float) -> Features:
        """Give what the platform offers: known from earlier, or asked now; raises PlatformError."""
        return await self._discovery.get(deadline)

    async def check(self, deadline: float) -> None:
        """Ask something cheap that needs the key; raises PlatformError when the platform is away or refuses the key."""
        await check_platform(self._exchange, deadline=deadline)

    async def aclose(self) -> None:
        """End shared reads and close the connections."""
        storage = (self.volumes, self.snapshots, self.groups, self.instances, self.capacity)
        network = (self.load_balancers, self.port_balancers, self.certificates, self.vpcs, self.elastic_ips)
        access = (self.security_groups, self.ssh_keys, self.api_keys)
        for resource in (*storage, *network, *access):
            await resource.aclose()
        await self._discovery.aclose()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
