"""Commands on node groups."""

from typing import Annotated, Any

import typer

from kaas.cli.answers import Cluster, NodeGroup, read
from kaas.cli.client import Api, cluster_path
from kaas.cli.output import show
from kaas.cli.session import DEFAULT_TIMEOUT, DryRun, Ref, Timeout, Wait, Yes, confirm, dry, limit_of, session_of

_COLUMNS = ("NAME", "TYPE", "SIZE", "READY", "MIN", "MAX")
Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the node group.", show_default=False)]
Size = Annotated[int | None, typer.Option("--size", "--desired-size", "-s", help="Number of nodes.")]
Least = Annotated[int | None, typer.Option("--min-size", help="Smallest number of nodes.")]
Most = Annotated[int | None, typer.Option("--max-size", help="Largest number of nodes.")]


def list_(context: typer.Context, cluster: Ref) -> None:
    """List the node groups of a cluster."""
    session = session_of(context)
    answer = session.run(lambda api: api.get(cluster_path(cluster)))
    groups = session.told(lambda: read(answer.data, Cluster).node_groups or [])
    data = answer.data.get("node_groups") or []
    show(
        session.form,
        data,
        names=[group.name for group in groups],
        columns=_COLUMNS,
        rows=[_row(group) for group in groups],
    )


def create(
    context: typer.Context,
    cluster: Ref,
    name: Name,
    *,
    instance_type: Annotated[str, typer.Option("--type", "--instance-type", help="Instance type of its nodes.")] = "",
    size: Size = None,
    min_size: Least = None,
    max_size: Most = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="KEY=VALUE; may repeat.")] = None,
    taint: Annotated[list[str] | None, typer.Option("--taint", help="KEY=VALUE:EFFECT; may repeat.")] = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Add a node group."""
    body = {"name": name, **_sizes(size, min_size, max_size)}
    if instance_type:
        body["instance_type"] = instance_type
    if label:
        body["labels"] = dict(map(_label, label))
    if taint:
        body["taints"] = list(map(_taint, taint))
    _change(context, "POST", cluster_path(cluster, "nodegroups"), body, dry_run=dry_run, wait=wait, timeout=timeout)


def update(
    context: typer.Context,
    cluster: Ref,
    name: Name,
    *,
    size: Size = None,
    min_size: Least = None,
    max_size: Most = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Give a node group other sizes."""
    path = cluster_path(cluster, "nodegroups", name)
    body = _sizes(size, min_size, max_size)
    _change(context, "PUT", path, body, dry_run=dry_run, wait=wait, timeout=timeout)


def delete(
    context: typer.Context,
    cluster: Ref,
    name: Name,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete a node group with its machines."""
    if not dry_run:
        question = f"Delete node group {name} of cluster {cluster} with all its machines?"
        session_of(context).told(lambda: confirm(question, yes=yes))
    path = cluster_path(cluster, "nodegroups", name)
    _change(context, "DELETE", path, None, dry_run=dry_run, wait=wait, timeout=timeout)


def _change(
    context: typer.Context,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    dry_run: bool,
    wait: bool,
    timeout: str,
) -> None:
    session, limit = session_of(context), limit_of(timeout)

    async def work(api: Api) -> None:
        answer = await api.change(method, path, body, dry_run=dry(dry_run))
        if dry_run:
            session.plan(answer)
            return
        await session.finish(api, answer, wait=wait, timeout_s=limit, what="the node group is being changed")
        if answer.data is not None:
            group = read(answer.data, NodeGroup)
            show(session.form, answer.data, names=[group.name], columns=_COLUMNS, rows=[_row(group)])

    session.run(work)


def _sizes(size: int | None, least: int | None, most: int | None) -> dict[str, Any]:
    given = {"desired_size": size, "min_size": least, "max_size": most}
    return {field: value for field, value in given.items() if value is not None}


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is no label; it looks like KEY=VALUE")
    return key, value


def _taint(text: str) -> dict[str, str]:
    pair, colon, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not key or not colon:
        raise typer.BadParameter(f"{text!r} is no taint; it looks like KEY=VALUE:NoSchedule")
    return {"key": key, "value": value, "effect": effect}


def _row(group: NodeGroup) -> tuple[str, ...]:
    ready = "" if group.ready_size is None else str(group.ready_size)
    return (
        group.name,
        group.instance_type,
        str(group.current_size),
        ready,
        str(group.min_size),
        str(group.max_size),
    )
