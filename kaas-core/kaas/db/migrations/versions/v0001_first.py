"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
_BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")


def upgrade() -> None:
    """Make them."""
    _tenants()
    _clusters()
    _operations()
    _service()


def downgrade() -> None:
    """Remove them, those first that refer to others."""
    for table in (
        "conductor",
        "backup",
        "boot_token",
        "event",
        "operation_step",
        "operation",
        "quota_reservation",
        "x509keypair",
        "external_ref",
        "node",
        "nodegroup",
        "cluster",
        "idempotency_key",
        "kubeconfig_issue",
        "audit",
        "cluster_template",
        "quotas",
        "tenant",
    ):
        op.drop_table(table)


def _create(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    op.create_table(
        name,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_nopad_bin",
        sqlite_autoincrement=True,
    )


def _tenants() -> None:
    _create(
        "tenant",
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_tenant"),
    )
    _create(
        "quotas",
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("resource", sa.String(255), nullable=False),
        sa.Column("hard_limit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "resource", name="pk_quotas"),
    )
    _create(
        "cluster_template",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("image_id", sa.String(255), nullable=False),
        sa.Column("flavor_id", sa.String(255), nullable=False),
        sa.Column("master_flavor_id", sa.String(255), nullable=False),
        sa.Column("fixed_network", sa.String(255), nullable=False),
        sa.Column("network_driver", sa.String(255), nullable=False),
        sa.Column("volume_driver", sa.String(255), nullable=False),
        sa.Column("coe", sa.String(255), nullable=False),
        sa.Column("labels", _TEXT, nullable=False),
        sa.Column("master_lb_enabled", sa.Boolean(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_cluster_template"),
    )
    op.create_index("ix_cluster_template_project_id", "cluster_template", ["project_id"])
    _create(
        "audit",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_project_id", "audit", ["project_id", "id"])
    _create(
        "kubeconfig_issue",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("serial", sa.String(255), nullable=False),
        sa.Column("not_after", _TIME, nullable=False),
        sa.Column("client_ip", sa.String(255), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kubeconfig_issue"),
    )
    op.create_index("ix_kubeconfig_issue_cluster_id", "kubeconfig_issue", ["cluster_id"])
    _create(
        "idempotency_key",
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_hash", sa.String(255), nullable=False),
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.Column("answer", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "key", name="pk_idempotency_key"),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])


def _clusters() -> None:
    _create(
        "cluster",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("cluster_template_id", sa.String(36)),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_reason", _TEXT, nullable=False),
        sa.Column("health_status", sa.String(20), nullable=False),
        sa.Column("health_status_reason", _TEXT, nullable=False),
        sa.Column("api_address", sa.String(255), nullable=False),
        sa.Column("coe_version", sa.String(255), nullable=False),
        sa.Column("node_counters", _TEXT, nullable=False),
        sa.Column("lease_owner", sa.String(255), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", _TIME),
        sa.Column("due_at", _TIME),
        sa.Column("woken", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_template_id"], ["cluster_template.uuid"], name="fk_cluster_cluster_template_id"
        ),
        sa.PrimaryKeyConstraint("uuid", name="pk_cluster"),
        sa.UniqueConstraint("project_id", "name", name="uq_cluster_project_id_name"),
    )
    op.create_index("ix_cluster_due_at", "cluster", ["due_at"])
    _create(
        "nodegroup",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("flavor_id", sa.String(255), nullable=False),
        sa.Column("image_id", sa.String(255), nullable=False),
        sa.Column("node_count", sa.Integer(), nullable=False),
        sa.Column("min_node_count", sa.Integer(), nullable=False),
        sa.Column("max_node_count", sa.Integer(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.CheckConstraint(
            "min_node_count <= node_count AND node_count <= max_node_count", name=op.f("ck_nodegroup_bounds")
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.uuid"], name="fk_nodegroup_cluster_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name="pk_nodegroup"),
        sa.UniqueConstraint("cluster_id", "name", name="uq_nodegroup_cluster_id_name"),
    )
    _create(
        "node",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("nodegroup", sa.String(255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("instance_id", sa.String(255), nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("boot_phase", sa.String(255), nullable=False),
        sa.Column("log_tail", _TEXT, nullable=False),
        sa.Column("ssh_host_key", _TEXT, nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("unhealthy_since", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.uuid"], name="fk_node_cluster_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name="pk_node"),
        sa.UniqueConstraint("cluster_id", "name", name="uq_node_cluster_id_name"),
    )
    op.create_index("ix_node_unhealthy_since", "node", ["unhealthy_since"])
    _create(
        "external_ref",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("external_id", sa.String(255), nullable=False),
        sa.Column("node_id", sa.String(36), nullable=False),
        sa.Column("step", sa.String(255), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.uuid"], name="fk_external_ref_cluster_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name="pk_external_ref"),
        sa.UniqueConstraint("cluster_id", "kind", "name", name="uq_external_ref_cluster_id_kind_name"),
    )
    _create(
        "x509keypair",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("sealed", _BLOB, nullable=False),
        sa.Column("not_after", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.uuid"], name="fk_x509keypair_cluster_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name="pk_x509keypair"),
        sa.UniqueConstraint("cluster_id", "kind", name="uq_x509keypair_cluster_id_kind"),
    )
    _create(
        "quota_reservation",
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.Column("clusters", sa.BigInteger(), nullable=False),
        sa.Column("nodes", sa.BigInteger(), nullable=False),
        sa.Column("vcpus", sa.BigInteger(), nullable=False),
        sa.Column("memory_mb", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.uuid"], name="fk_quota_reservation_cluster_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_quota_reservation"),
    )
    op.create_index("ix_quota_reservation_project_id", "quota_reservation", ["project_id"])


def _operations() -> None:
    _create(
        "operation",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("active_cluster_id", sa.String(36)),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("arguments", _TEXT, nullable=False),
        sa.Column("deadline", _TIME, nullable=False),
        sa.Column("error_code", sa.String(255), nullable=False),
        sa.Column("error", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.CheckConstraint(
            "(active_cluster_id IS NOT NULL AND active_cluster_id = cluster_id AND state IN ('pending', 'running'))"
            " OR (active_cluster_id IS NULL AND state NOT IN ('pending', 'running'))",
            name=op.f("ck_operation_active"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_operation"),
        sa.UniqueConstraint("active_cluster_id", name="uq_operation_active_cluster_id"),
        sa.UniqueConstraint("uuid", name="uq_operation_uuid"),
    )
    op.create_index("ix_operation_cluster_id", "operation", ["cluster_id", "id"])
    op.create_index("ix_operation_project_id", "operation", ["project_id", "id"])
    _create(
        "operation_step",
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("inputs_hash", sa.String(255), nullable=False),
        sa.Column("result", _TEXT, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("next_try_at", _TIME),
        sa.Column("error_code", sa.String(255), nullable=False),
        sa.Column("error", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operation.uuid"], name="fk_operation_step_operation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("operation_id", "key", name="pk_operation_step"),
    )
    _create(
        "event",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.Column("node_id", sa.String(36), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("code", sa.String(255), nullable=False),
        sa.Column("severity", sa.String(20), nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_cluster_id", "event", ["cluster_id", "id"])
    op.create_index("ix_event_created_at", "event", ["created_at"])
    op.create_index("ix_event_project_id", "event", ["project_id", "id"])


def _service() -> None:
    _create(
        "boot_token",
        sa.Column("token_hash", sa.String(255), nullable=False),
        sa.Column("node_id", sa.String(36), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.uuid"], name="fk_boot_token_node_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_boot_token"),
    )
    op.create_index("ix_boot_token_expires_at", "boot_token", ["expires_at"])
    op.create_index("ix_boot_token_node_id", "boot_token", ["node_id"])
    _create(
        "backup",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("cluster_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("location", _TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(255), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("verified_at", _TIME),
        sa.Column("expires_at", _TIME),
        sa.PrimaryKeyConstraint("uuid", name="pk_backup"),
    )
    op.create_index("ix_backup_cluster_id", "backup", ["cluster_id"])
    _create(
        "conductor",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("report_count", sa.BigInteger(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", _TEXT, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("last_seen_up", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conductor"),
    )
