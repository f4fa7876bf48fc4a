"""The rows of the state: one frozen struct per table, and the mapping between both.

Belongs here: shapes and plain reading and writing of rows. Does not: rules, transactions.
"""

import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, get_origin

import msgspec

AVAILABLE = "AVAILABLE"
IN_USE = "IN-USE"
CREATING = "CREATING"
ERROR = "ERROR"
STARTING = "STARTING"
RUNNING = "RUNNING"
STOPPED = "STOPPED"
PAUSED = "PAUSED"

SERIAL_CHARACTERS = 20
ZERO_UUID = "00000000-0000-0000-0000-000000000000"
ZERO_TIME = "0001-01-01T00:00:00Z"


def now() -> str:
    """Give the time as RFC 3339 text in UTC; texts sort like the times."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id() -> str:
    """Give a fresh uuid as text."""
    return str(uuid.uuid4())


def serial_of(volume_id: str) -> str:
    """Give the serial that the guest's kernel reports for a volume: the first 20 hex digits of its uuid."""
    return volume_id.replace("-", "")[:SERIAL_CHARACTERS]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows."""

    id: str
    created_at: str = msgspec.field(default_factory=now)


class User(Row, frozen=True, kw_only=True):
    """A person or service that owns keys."""

    email: str
    name: str
    password_hash: str
    default_tenant_id: str | None = None
    role: str = "developer"
    updated_at: str = msgspec.field(default_factory=now)


class Tenant(Row, frozen=True, kw_only=True):
    """A customer: what instances and volumes belong to."""

    name: str
    slug: str
    owner_id: str
    plan: str = "free"
    status: str = "active"
    vcpus_used: int = 0
    memory_mb_used: int = 0
    updated_at: str = msgspec.field(default_factory=now)


class Member(Row, frozen=True, kw_only=True):
    """A user's place in a tenant."""

    tenant_id: str
    user_id: str
    role: str


class ApiKey(Row, frozen=True, kw_only=True):
    """A credential; only its hash is kept."""

    user_id: str
    tenant_id: str
    name: str
    key_hash: str
    default_tenant_id: str | None = None


class Instance(Row, frozen=True, kw_only=True):
    """A machine."""

    user_id: str
    tenant_id: str
    name: str
    image: str
    status: str
    instance_type: str = "basic-2"
    container_id: str = ""
    ports: str = ""
    vpc_id: str = ""
    subnet_id: str = ""
    private_ip: str = ""
    volume_binds: list[str] = []
    env: list[str] = []
    cmd: list[str] = []
    cpu_limit: int = 0
    memory_limit: int = 0
    disk_limit: int = 0
    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}
    ssh_key_id: str = ""
    hostname: str = ""
    zone: str = ""
    version: int = 1
    updated_at: str = msgspec.field(default_factory=now)


class Health(msgspec.Struct, frozen=True):
    """One thing that is wrong with a volume."""

    status: str
    reason: str
    message: str


class Volume(Row, frozen=True, kw_only=True):
    """A block volume."""

    user_id: str
    tenant_id: str
    name: str
    size_gb: int
    status: str = AVAILABLE
    instance_id: str | None = None
    mount_path: str = ""
    read_only: bool = False
    tags: dict[str, str] = {}
    performance_class: str = ""
    zone: str = ""
    source_snapshot_id: str | None = None
    source_volume_id: str | None = None
    health: list[Health] = []
    idem_key: str | None = None
    idem_hash: str = ""
    updated_at: str = msgspec.field(default_factory=now)

    @property
    def serial(self) -> str:
        """What the guest's kernel reports for the disk."""
        return serial_of(self.id)


class Snapshot(Row, frozen=True, kw_only=True):
    """A point-in-time copy of a volume."""

    user_id: str
    tenant_id: str
    volume_id: str
    volume_name: str
    size_gb: int
    status: str
    description: str = ""
    name: str = ""
    tags: dict[str, str] = {}
    zone: str = ""
    performance_class: str = ""
    group_id: str | None = None
    idem_key: str | None = None
    idem_hash: str = ""


class SnapshotGroup(Row, frozen=True, kw_only=True):
    """Snapshots of several volumes at one point in time."""

    user_id: str
    tenant_id: str
    name: str
    status: str
    tags: dict[str, str] = {}
    idem_key: str | None = None
    idem_hash: str = ""


class SshKey(Row, frozen=True, kw_only=True):
    """A public key that can be put into an instance at launch."""

    user_id: str
    tenant_id: str
    name: str
    public_key: str
    fingerprint: str


class Image(Row, frozen=True, kw_only=True):
    """A registered image; not connected to launching (platform contract 4.8)."""

    user_id: str
    tenant_id: str
    name: str
    description: str = ""
    os: str = ""
    version: str = ""
    size_bytes: int = 0
    status: str = "PENDING"
    is_public: bool = False
    updated_at: str = msgspec.field(default_factory=now)


R = TypeVar("R", bound=Row)
Value = str | int | float | None


class Table(Generic[R]):
    """Reads and writes rows of one type; maps and lists are JSON columns."""

    def __init__(self, name: str, row_type: type[R]) -> None:
        self.name = name
        self._type = row_type
        fields = msgspec.structs.fields(row_type)
        self._columns = tuple(f.encode_name for f in fields)
        self._json = tuple(f.encode_name for f in fields if get_origin(f.type) in {dict, list})
        names = ", ".join(self._columns)
        marks = ", ".join(f":{c}" for c in self._columns)
        sets = ", ".join(f"{c} = :{c}" for c in self._columns)
        # Table and column names come from the structs above, never from a request.
        self._insert = f"INSERT INTO {name} ({names}) VALUES ({marks})"  # noqa: S608
        self._update = f"UPDATE {name} SET {sets} WHERE id = :id"  # noqa: S608
        self._select = f"SELECT {names} FROM {name} "  # noqa: S608
        self._delete = f"DELETE FROM {name} WHERE id = ?"  # noqa: S608

    def insert(self, db: sqlite3.Connection, row: R) -> R:
        """Add a row; raises sqlite3.IntegrityError when a unique value is taken."""
        db.execute(self._insert, self._to_columns(row))
        return row

    def update(self, db: sqlite3.Connection, row: R) -> R:
        """Write all columns of an existing row."""
        db.execute(self._update, self._to_columns(row))
        return row

    def delete(self, db: sqlite3.Connection, row_id: str) -> bool:
        """Remove a row; False when there was none."""
        return db.execute(self._delete, (row_id,)).rowcount > 0

    def get(self, db: sqlite3.Connection, row_id: str) -> R | None:
        """Give the row with this id, or None."""
        return self.one(db, "id = ?", row_id)

    def one(self, db: sqlite3.Connection, where: str, *values: Value) -> R | None:
        """Give the first row that fits the condition (SQL with `?`), or None."""
        found = db.execute(f"{self._select}WHERE {where} LIMIT 1", values).fetchone()
        return None if found is None else self._to_row(found)

    def all(self, db: sqlite3.Connection, where: str = "1", *values: Value) -> list[R]:
        """Give the rows that fit the condition, newest first."""
        query = f"{self._select}WHERE {where} ORDER BY created_at DESC, rowid DESC"
        return [self._to_row(found) for found in db.execute(query, values)]

    def _to_columns(self, row: R) -> dict[str, Any]:
        columns = msgspec.structs.asdict(row)
        for name in self._json:
            columns[name] = msgspec.json.encode(columns[name]).decode()
        return columns

    def _to_row(self, values: tuple[Any, ...]) -> R:
        columns = dict(zip(self._columns, values, strict=True))
        for name in self._json:
            columns[name] = msgspec.json.decode(columns[name])
        return msgspec.convert(columns, self._type, strict=False)


USERS = Table("users", User)
TENANTS = Table("tenants", Tenant)
MEMBERS = Table("members", Member)
API_KEYS = Table("api_keys", ApiKey)
INSTANCES = Table("instances", Instance)
VOLUMES = Table("volumes", Volume)
SNAPSHOTS = Table("snapshots", Snapshot)
SNAPSHOT_GROUPS = Table("snapshot_groups", SnapshotGroup)
SSH_KEYS = Table("ssh_keys", SshKey)
IMAGES = Table("images", Image)
