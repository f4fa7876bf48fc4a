"""The sealed secrets of all clusters, for who gives them newer keys. Nothing is opened here."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import tables
from kaas.db.session import Database

_SECRET = tables.x509keypair.c


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret as it is stored."""

    id: str
    cluster_id: str
    kind: str
    sealed: bytes = field(repr=False)


class SealedStore:
    """Secrets beyond all tenants. Neither leases nor locks are needed: a row is replaced as it was seen, or not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, last: str = "", *, most: int = 100) -> Sequence[SealedSecret]:
        """Give secrets in the order of their ids; `last`: the id of the last one seen."""
        columns = (_SECRET.uuid, _SECRET.cluster_id, _SECRET.kind, _SECRET.sealed)
        statement = select(*columns).where(_SECRET.uuid > last).order_by(_SECRET.uuid).limit(most)

        async def work(connection: AsyncConnection) -> Sequence[SealedSecret]:
            rows = (await connection.execute(statement)).all()
            return [SealedSecret(row.uuid, row.cluster_id, row.kind, row.sealed) for row in rows]

        return await self._database.read(work)

    async def replace(self, seen: SealedSecret, sealed: bytes) -> bool:
        """Put the same secret, sealed otherwise, in the place of what was seen; False when that is gone or changed."""
        this = (_SECRET.uuid == seen.id, _SECRET.sealed == seen.sealed)
        statement = update(tables.x509keypair).where(*this).values(sealed=sealed)

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement)).rowcount == 1

        return await self._database.write(work)
