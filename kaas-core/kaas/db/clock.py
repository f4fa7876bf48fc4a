"""The database's clock. Leases and due times go by it, so that hosts whose clocks differ agree on them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from kaas.db.columns import UtcTime


class Moment(FunctionElement[datetime]):
    """The time at which the database works on it, and so many seconds on."""

    name = "moment"
    type = UtcTime()
    inherit_cache = True


def now() -> Moment:
    """Give the time, as a part of a statement."""
    return Moment()


def after(seconds: float) -> Moment:
    """Give a time that is ahead, as a part of a statement."""
    return Moment(literal(float(seconds), Float()))


def _seconds(element: Moment, compiler: SQLCompiler, keywords: dict[str, Any]) -> str:
    return compiler.process(element.clauses, **keywords) if len(element.clauses) else ""


@compiles(Moment, "sqlite")
def _sqlite(element: Moment, compiler: SQLCompiler, **keywords: Any) -> str:
    seconds = _seconds(element, compiler, keywords)
    moved = f", printf('%+.3f seconds', {seconds})" if seconds else ""
    # Texts are compared, so that it must look like what the driver stores: microseconds and no zone.
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now'{moved}) || '000')"


@compiles(Moment, "postgresql")
def _postgresql(element: Moment, compiler: SQLCompiler, **keywords: Any) -> str:
    seconds = _seconds(element, compiler, keywords)
    # Not now(): that is when the transaction began, which may have waited for a lock since then.
    return f"(clock_timestamp() + make_interval(secs => {seconds}))" if seconds else "clock_timestamp()"


@compiles(Moment, "mysql")
def _mysql(element: Moment, compiler: SQLCompiler, **keywords: Any) -> str:
    seconds = _seconds(element, compiler, keywords)
    moved = f" + INTERVAL ROUND({seconds} * 1000000) MICROSECOND" if seconds else ""
    return f"(UTC_TIMESTAMP(6){moved})"


async def read(connection: AsyncConnection) -> datetime:
    """Ask the database for its time."""
    return (await connection.execute(select(now()))).scalar_one()
