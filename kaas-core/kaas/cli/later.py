"""Commands that the service does not carry out yet; it says so itself, and the exit code is one of its own."""

from typing import Annotated

import typer

from kaas.cli.client import cluster_path
from kaas.cli.session import DEFAULT_TIMEOUT, Ref, Timeout, Wait, limit_of, session_of


def upgrade(
    context: typer.Context,
    cluster: Ref,
    *,
    version: Annotated[str, typer.Option("--version", "-V", help="Version to go to.", show_default=False)],
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Go to another version (comes next)."""
    _ask(context, "POST", cluster_path(cluster, "upgrade"), {"version": version}, wait=wait, timeout=timeout)


def backup(context: typer.Context, cluster: Ref, *, wait: Wait = False, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Back a cluster up (comes next)."""
    _ask(context, "POST", cluster_path(cluster, "backups"), None, wait=wait, timeout=timeout)


def restore(
    context: typer.Context,
    cluster: Ref,
    *,
    path: Annotated[str, typer.Option("--path", help="Path of the backup.", show_default=False)],
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Go back to a backup (comes next)."""
    _ask(context, "POST", cluster_path(cluster, "restore"), {"backup_path": path}, wait=wait, timeout=timeout)


def rotate_secrets(
    context: typer.Context, cluster: Ref, *, wait: Wait = False, timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """Renew a cluster's certificates and keys (comes next)."""
    _ask(context, "POST", cluster_path(cluster, "rotate-secrets"), None, wait=wait, timeout=timeout)


def _ask(
    context: typer.Context, method: str, path: str, body: dict[str, object] | None, *, wait: bool, timeout: str
) -> None:
    session_of(context).change(
        method, path, body, what="it was taken", dry_run=False, wait=wait, timeout_s=limit_of(timeout)
    )
