"""Commands that give access: kubeconfigs and the SSH key. Only what was asked for goes to standard output."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kaas.cli.answers import SshKey, read
from kaas.cli.client import cluster_path
from kaas.cli.errors import CliError
from kaas.cli.output import Format, note, show
from kaas.cli.session import Ref, seconds_of, session_of


def kubeconfig(
    context: typer.Context,
    cluster: Ref,
    *,
    role: Annotated[str, typer.Option("--role", help="reader, member or admin; default: your own.")] = "",
    expires_in: Annotated[str, typer.Option("--expires-in", help="How long it is good for, such as 8h.")] = "",
) -> None:
    """Write a kubeconfig to standard output: cloud k8s kubeconfig CLUSTER > kubeconfig.yaml."""
    session = session_of(context)
    lifetime = round(seconds_of(expires_in)) if expires_in else None
    answer = session.run(lambda api: api.get(cluster_path(cluster, "kubeconfig"), role=role, expires_in=lifetime))
    text = session.told(lambda: read(answer.data, str))
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    if until := answer.headers.get("X-Kubeconfig-Expires"):
        note(f"good until {until}")


def ssh_key(
    context: typer.Context,
    cluster: Ref,
    *,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Write it to a new file, mode 0600.")] = None,
) -> None:
    """Write the private key of a cluster's machines to standard output; for admins."""
    session = session_of(context)
    answer = session.run(lambda api: api.get(cluster_path(cluster, "ssh-key")))
    key = session.told(lambda: read(answer.data, SshKey))
    if file is not None:
        session.told(lambda: _write(file, key.private_key))
    elif session.form in {Format.TABLE, Format.NAME}:
        sys.stdout.write(key.private_key)
    else:
        show(session.form, answer.data, names=(), columns=(), rows=())
    for node, address in key.addresses.items():
        note(f"{node}: ssh -i {file or 'KEY'} {key.user}@{address}")


def _write(path: Path, content: str) -> None:
    try:
        # Never over something that is there, and never readable by others, not even for a moment.
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(opened, "w") as file:
        file.write(content)
