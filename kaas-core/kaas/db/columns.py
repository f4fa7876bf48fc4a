"""Types of columns that behave alike on all three databases."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, BindParameter, ColumnElement, DateTime, Dialect, Integer, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from kaas.db import codec

MYSQL = "mysql"
"""What SQLAlchemy calls MariaDB behind a URL that begins so; other ways of writing the URL are not let through."""

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""A number that grows with each row; SQLite counts in INTEGER only."""


def storable(text: str) -> str:
    """Give a text that every database takes: PostgreSQL refuses NUL, and none takes half a surrogate pair."""
    return str(text).replace("\x00", "\ufffd").encode(errors="replace").decode()


class Word(TypeDecorator[str]):
    """An identifier. One that is too long is an error; compared with a text that cannot be stored, it differs."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002, RUF100
        """Make it storable."""
        return None if value is None else storable(value)


class Note(Word):
    """Words from outside that are only shown again; what is too long is cut."""

    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002, RUF100
        """Make it fit."""
        return None if value is None else storable(value)[: self.length]


class Prose(TypeDecorator[str]):
    """Text of any length."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose a type that holds more than 64 KiB."""
        return mysql.MEDIUMTEXT() if dialect.name == MYSQL else self.impl_instance

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002, RUF100
        """Make it storable."""
        return None if value is None else storable(value)


class Json(TypeDecorator[Mapping[str, object]]):
    """An object, stored as text: nothing is asked of it in SQL, and the three JSON types differ."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose a type that holds more than 64 KiB."""
        return mysql.MEDIUMTEXT() if dialect.name == MYSQL else self.impl_instance

    def process_bind_param(self, value: Mapping[str, object] | None, dialect: Dialect) -> str | None:  # noqa: ARG002, RUF100
        """Write it."""
        return None if value is None else codec.to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, object] | None:  # noqa: ARG002, RUF100
        """Read it."""
        return None if value is None else msgspec.json.decode(value, type=dict[str, object])


class _Bytes(FunctionElement[bytes]):
    name = "bytes"
    inherit_cache = True


@compiles(_Bytes)
def _as_they_are(element: _Bytes, compiler: SQLCompiler, **keywords: Any) -> str:
    return compiler.process(element.clauses, **keywords)


@compiles(_Bytes, MYSQL)
def _from_hex(element: _Bytes, compiler: SQLCompiler, **keywords: Any) -> str:
    return f"UNHEX({compiler.process(element.clauses, **keywords)})"


class Sealed(TypeDecorator[bytes]):
    """Bytes. They are sent to MariaDB as hexadecimal digits: not every release of its driver can send bytes."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose a type that holds more than 64 KiB."""
        return mysql.MEDIUMBLOB() if dialect.name == MYSQL else self.impl_instance

    def bind_expression(self, bindvalue: BindParameter[bytes]) -> ColumnElement[bytes]:
        """Let the database make bytes of what is sent."""
        return _Bytes(bindvalue)

    def bind_processor(self, dialect: Dialect) -> Callable[[bytes | None], object] | None:
        """Send digits to MariaDB."""
        if dialect.name != MYSQL:
            return super().bind_processor(dialect)
        return lambda value: None if value is None else value.hex()


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone, in and out; stored as UTC with microseconds."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose a type that keeps microseconds."""
        return mysql.DATETIME(fsp=6) if dialect.name == MYSQL else DateTime(timezone=True)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn it into UTC; a time without a zone could mean anything. Raises ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, RUF100
        """Give it in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
