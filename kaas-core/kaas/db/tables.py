"""The tables. The revisions in `migrations/` make the same by themselves; a test compares the two.

Where Magnum has a column for a fact, it has Magnum's name here: `project_id` is the tenant, `coe_version` Kubernetes'.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

from kaas.db.columns import BigId, Json, Note, Prose, Sealed, UtcTime, Word

ID = 36
NAME = 255
WORD = 20
"""Longest word that stands for a state, a kind or a role."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *parts: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        # Names and keys differ by case and by spaces at their end; MariaDB compares so only when it is told to.
        mysql_collate="utf8mb4_nopad_bin",
        # The number of an event that was pruned is not given again, since readers go on from it.
        sqlite_autoincrement=True,
    )


def _uuid() -> Column[str]:
    return Column("uuid", Word(ID), primary_key=True)


def _of_cluster(*, primary_key: bool = False) -> Column[str]:
    return Column(
        "cluster_id", Word(ID), ForeignKey("cluster.uuid", ondelete="CASCADE"), primary_key=primary_key, nullable=False
    )


tenant = _table("tenant", Column("project_id", Word(NAME), primary_key=True))
"""A row to lock: what counts against a tenant's quota is decided one request after the other."""

cluster_template = _table(
    "cluster_template",
    _uuid(),
    Column("project_id", Word(NAME), nullable=False),
    Column("user_id", Word(NAME), nullable=False),
    Column("name", Word(NAME), nullable=False),
    Column("image_id", Word(NAME), nullable=False),
    Column("flavor_id", Word(NAME), nullable=False),
    Column("master_flavor_id", Word(NAME), nullable=False),
    Column("fixed_network", Word(NAME), nullable=False),
    Column("network_driver", Word(NAME), nullable=False),
    Column("volume_driver", Word(NAME), nullable=False),
    Column("coe", Word(NAME), nullable=False),
    Column("labels", Json, nullable=False),
    Column("master_lb_enabled", Boolean, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("ix_cluster_template_project_id", "project_id"),
)

cluster = _table(
    "cluster",
    _uuid(),
    Column("project_id", Word(NAME), nullable=False),
    Column("user_id", Word(NAME), nullable=False),
    Column("name", Word(NAME), nullable=False),
    Column("cluster_template_id", Word(ID), ForeignKey("cluster_template.uuid")),
    Column("spec", Prose, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("observed_generation", Integer, nullable=False),
    Column("status", Word(WORD), nullable=False),
    Column("status_reason", Prose, nullable=False),
    Column("health_status", Word(WORD), nullable=False),
    Column("health_status_reason", Prose, nullable=False),
    Column("api_address", Word(NAME), nullable=False),
    Column("coe_version", Word(NAME), nullable=False),
    # The next number of each group. Here, because the numbers outlive a group that is taken away and made again.
    Column("node_counters", Json, nullable=False),
    Column("lease_owner", Word(NAME), nullable=False),
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_until", UtcTime),
    Column("due_at", UtcTime, index=True),
    # Made due while somebody held it, so that giving it back does not put that off.
    Column("woken", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("project_id", "name"),
)

nodegroup = _table(
    "nodegroup",
    _uuid(),
    _of_cluster(),
    Column("project_id", Word(NAME), nullable=False),
    Column("name", Word(NAME), nullable=False),
    Column("role", Word(WORD), nullable=False),
    Column("flavor_id", Word(NAME), nullable=False),
    Column("image_id", Word(NAME), nullable=False),
    Column("node_count", Integer, nullable=False),
    Column("min_node_count", Integer, nullable=False),
    Column("max_node_count", Integer, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("cluster_id", "name"),
    CheckConstraint("min_node_count <= node_count AND node_count <= max_node_count", name="bounds"),
)
"""The groups of a cluster's `spec` for those who read tables, and for who compares names; written with it."""

node = _table(
    "node",
    _uuid(),
    _of_cluster(),
    Column("nodegroup", Word(NAME), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Word(NAME), nullable=False),
    Column("role", Word(WORD), nullable=False),
    Column("state", Word(WORD), nullable=False),
    Column("instance_id", Word(NAME), nullable=False),
    Column("address", Word(NAME), nullable=False),
    Column("boot_phase", Note(NAME), nullable=False),
    Column("log_tail", Prose, nullable=False),
    Column("ssh_host_key", Prose, nullable=False),
    Column("version", Word(NAME), nullable=False),
    Column("unhealthy_since", UtcTime, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("cluster_id", "name"),
)

operation = _table(
    "operation",
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("uuid", Word(ID), nullable=False, unique=True),
    Column("project_id", Word(NAME), nullable=False),
    # No foreign key: operations outlive their cluster.
    Column("cluster_id", Word(ID), nullable=False),
    # The cluster again while it is not ended, and unique: one at a time. MariaDB has no partial index for it.
    Column("active_cluster_id", Word(ID), unique=True),
    Column("kind", Word(WORD), nullable=False),
    Column("state", Word(WORD), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("requested_by", Note(NAME), nullable=False),
    Column("request_id", Note(NAME), nullable=False),
    Column("arguments", Json, nullable=False),
    Column("deadline", UtcTime, nullable=False),
    Column("error_code", Note(NAME), nullable=False),
    Column("error", Prose, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    CheckConstraint(
        "(active_cluster_id IS NOT NULL AND active_cluster_id = cluster_id AND state IN ('pending', 'running'))"
        " OR (active_cluster_id IS NULL AND state NOT IN ('pending', 'running'))",
        name="active",
    ),
    Index("ix_operation_cluster_id", "cluster_id", "id"),
    Index("ix_operation_project_id", "project_id", "id"),
)

operation_step = _table(
    "operation_step",
    Column("operation_id", Word(ID), ForeignKey("operation.uuid", ondelete="CASCADE"), primary_key=True),
    Column("key", Word(NAME), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("state", Word(WORD), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("inputs_hash", Word(NAME), nullable=False),
    Column("result", Json, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("next_try_at", UtcTime),
    Column("error_code", Note(NAME), nullable=False),
    Column("error", Prose, nullable=False),
)

external_ref = _table(
    "external_ref",
    _uuid(),
    _of_cluster(),
    Column("kind", Word(WORD), nullable=False),
    Column("name", Word(NAME), nullable=False),
    Column("state", Word(WORD), nullable=False),
    Column("external_id", Word(NAME), nullable=False),
    Column("node_id", Word(ID), nullable=False),
    Column("step", Word(NAME), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("cluster_id", "kind", "name"),
)

event = _table(
    "event",
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("project_id", Word(NAME), nullable=False),
    Column("cluster_id", Word(ID), nullable=False),
    Column("operation_id", Word(ID), nullable=False),
    Column("node_id", Word(ID), nullable=False),
    Column("actor", Note(NAME), nullable=False),
    Column("code", Note(NAME), nullable=False),
    Column("severity", Word(WORD), nullable=False),
    Column("message", Prose, nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
    Index("ix_event_cluster_id", "cluster_id", "id"),
    Index("ix_event_project_id", "project_id", "id"),
)

x509keypair = _table(
    "x509keypair",
    _uuid(),
    _of_cluster(),
    Column("project_id", Word(NAME), nullable=False),
    Column("kind", Word(NAME), nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("not_after", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("cluster_id", "kind"),
)
"""Everything of a cluster that is secret, each under its kind and encrypted before it comes here."""

kubeconfig_issue = _table(
    "kubeconfig_issue",
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("project_id", Word(NAME), nullable=False),
    Column("user_id", Word(NAME), nullable=False),
    Column("cluster_id", Word(ID), nullable=False, index=True),
    Column("role", Word(NAME), nullable=False),
    Column("serial", Word(NAME), nullable=False),
    Column("not_after", UtcTime, nullable=False),
    Column("client_ip", Note(NAME), nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

quotas = _table(
    "quotas",
    Column("project_id", Word(NAME), primary_key=True),
    Column("resource", Word(NAME), primary_key=True),
    Column("hard_limit", BigInteger, nullable=False),
)

quota_reservation = _table(
    "quota_reservation",
    _of_cluster(primary_key=True),
    Column("project_id", Word(NAME), nullable=False, index=True),
    Column("operation_id", Word(ID), nullable=False),
    Column("clusters", BigInteger, nullable=False),
    Column("nodes", BigInteger, nullable=False),
    Column("vcpus", BigInteger, nullable=False),
    Column("memory_mb", BigInteger, nullable=False),
)
"""What each cluster may use after its newest operation; it goes with the cluster's row."""

backup = _table(
    "backup",
    _uuid(),
    # No foreign key: backups outlive their cluster.
    Column("cluster_id", Word(ID), nullable=False, index=True),
    Column("project_id", Word(NAME), nullable=False),
    Column("kind", Word(WORD), nullable=False),
    Column("state", Word(WORD), nullable=False),
    Column("location", Prose, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Word(64), nullable=False),
    Column("key_id", Word(NAME), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("verified_at", UtcTime),
    Column("expires_at", UtcTime),
)

conductor = _table(
    "conductor",
    Column("id", Word(NAME), primary_key=True),
    Column("host", Word(NAME), nullable=False),
    Column("version", Word(NAME), nullable=False),
    Column("report_count", BigInteger, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("disabled_reason", Prose, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("last_seen_up", UtcTime, nullable=False),
)

boot_token = _table(
    "boot_token",
    Column("token_hash", Word(NAME), primary_key=True),
    Column("node_id", Word(ID), ForeignKey("node.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

idempotency_key = _table(
    "idempotency_key",
    Column("project_id", Word(NAME), primary_key=True),
    Column("key", Word(NAME), primary_key=True),
    Column("request_hash", Word(NAME), nullable=False),
    Column("operation_id", Word(ID), nullable=False),
    Column("answer", Prose, nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
)

audit = _table(
    "audit",
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("project_id", Word(NAME), nullable=False),
    Column("user_id", Word(NAME), nullable=False),
    Column("role", Word(NAME), nullable=False),
    Column("request_id", Note(NAME), nullable=False),
    Column("action", Note(NAME), nullable=False),
    Column("target", Note(NAME), nullable=False),
    Column("outcome", Note(NAME), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_audit_project_id", "project_id", "id"),
)
