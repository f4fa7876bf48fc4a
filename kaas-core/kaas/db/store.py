"""All that is read and written in the tables, by who asks: requests, conductors, booting machines, the service itself.

Every method is one transaction. The order of locks is the same everywhere: the tenant, then the cluster.
"""

from kaas.db.boots import BootStore
from kaas.db.conducting import ConductorStore
from kaas.db.conductors import ConductorRegistry
from kaas.db.requests import RequestStore
from kaas.db.retention import Retention
from kaas.db.sealed import SealedStore
from kaas.db.session import POOL_SIZE, Database, make_engine
from kaas.db.tenants import TenantStore
from kaas.db.wakeups import NO_WAKEUPS
from kaas.domain.store import Amounts
from kaas.engine.port import Wakeups


class Store:
    """A database with the newest tables. `close` it at the end.

    Requests and boots are made when there is an engine that they wake, and an engine needs `conducting`.
    """

    def __init__(self, database: Database, *, default_quota: Amounts | None = None) -> None:
        self._database = database
        self._default_quota = default_quota
        self.conducting = ConductorStore(database, default_quota=default_quota)
        self.conductors = ConductorRegistry(database)
        self.tenants = TenantStore(database)
        self.retention = Retention(database)
        self.sealed = SealedStore(database)

    def requests(self, wakeups: Wakeups = NO_WAKEUPS) -> RequestStore:
        """Give what the API works with."""
        return RequestStore(self._database, wakeups=wakeups, default_quota=self._default_quota)

    def boots(self, wakeups: Wakeups = NO_WAKEUPS) -> BootStore:
        """Give what conductors issue boot tokens with, and machines report to."""
        return BootStore(self._database, wakeups=wakeups)

    async def close(self) -> None:
        """Give up all connections."""
        await self._database.close()


def open_store(url: str, *, default_quota: Amounts | None = None, pool_size: int = POOL_SIZE) -> Store:
    """Make a store on the database of a URL; nothing is connected yet. Raises ValueError when it is no such URL.

    `default_quota`: what a tenant without limits of its own may use; None: no limit.
    """
    return Store(Database(make_engine(url, pool_size=pool_size), at_once=pool_size), default_quota=default_quota)
