"""Commands on whole clusters: create, list, show, health, scale, repair, delete."""

import sys
from typing import Annotated, Any

import typer

from kaas.cli.answers import Cluster, Health, Node, read
from kaas.cli.client import Answer, Api, cluster_path
from kaas.cli.errors import printable
from kaas.cli.output import Format, age, note, show
from kaas.cli.session import (
    DEFAULT_TIMEOUT,
    DryRun,
    Ref,
    Session,
    Timeout,
    Wait,
    Yes,
    confirm,
    dry,
    limit_of,
    session_of,
)

_COLUMNS = ("ID", "NAME", "STATUS", "VERSION", "WORKERS", "HA", "ENDPOINT", "AGE")
_NODE_COLUMNS = ("NODE", "ROLE", "STATUS", "GROUP", "ADDRESS", "VERSION", "PHASE")


def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the cluster.", show_default=False)],
    vpc: Annotated[str, typer.Option("--vpc", "-v", help="Id of the VPC; default: the service's own.")] = "",
    version: Annotated[str, typer.Option("--version", "-V", help="Kubernetes version; default: the service's.")] = "",
    workers: Annotated[int | None, typer.Option("--workers", "-w", help="Number of workers; default: 2.")] = None,
    ha: Annotated[bool, typer.Option("--ha", help="Three control planes instead of one.")] = False,
    isolate: Annotated[bool, typer.Option("--isolate", help="Kept with the cluster; nothing acts on it yet.")] = False,
    pod_cidr: Annotated[str, typer.Option("--pod-cidr", help="Range of pods, such as 192.168.0.0/16.")] = "",
    service_cidr: Annotated[str, typer.Option("--service-cidr", help="Range of services.")] = "",
    cni: Annotated[str, typer.Option("--cni", help="Pod network: calico, flannel, cilium, bridge or none.")] = "",
    worker_type: Annotated[str, typer.Option("--worker-type", help="Instance type of workers.")] = "",
    control_plane_type: Annotated[
        str, typer.Option("--control-plane-type", help="Instance type of control planes.")
    ] = "",
    api_from: Annotated[
        list[str] | None, typer.Option("--api-from", help="Range that may reach its API; may repeat; default: all.")
    ] = None,
    node_ports_from: Annotated[
        list[str] | None, typer.Option("--node-ports-from", help="Range that may reach NodePorts; may repeat.")
    ] = None,
    open_node_network: Annotated[
        bool, typer.Option("--open-node-network", help="Open VXLAN, BGP and kubelets to all, as documented.")
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Create a cluster."""
    session, limit = session_of(context), limit_of(timeout)
    asked: dict[str, Any] = {
        "name": name,
        "vpc_id": vpc,
        "version": version,
        "workers": workers,
        "pod_cidr": pod_cidr,
        "service_cidr": service_cidr,
        "cni": cni,
        "worker_type": worker_type,
        "control_plane_type": control_plane_type,
    }
    body = {field: value for field, value in asked.items() if value not in {"", None}}
    body |= {field: True for field, value in (("ha", ha), ("network_isolation", isolate)) if value}
    narrowed = {"api": api_from, "node_ports": node_ports_from, "open_node_network": open_node_network}
    if access := {field: value for field, value in narrowed.items() if value}:
        body["access"] = access

    async def work(api: Api) -> None:
        answer = await api.change("POST", "/clusters", body, dry_run=dry(dry_run))
        if dry_run:
            session.plan(answer)
            return
        what = f"cluster {name} is being created"
        await session.finish(api, answer, wait=wait, timeout_s=limit, what=what)
        made = await api.get(cluster_path(read(answer.data, Cluster).id)) if wait else answer
        _show(session, made)

    session.run(work)


def list_(context: typer.Context) -> None:
    """List clusters."""
    session = session_of(context)
    answer = session.run(lambda api: api.all("/clusters"))
    clusters = session.told(lambda: read(answer.data or [], list[Cluster]))
    show(
        session.form,
        answer.data or [],
        names=[cluster.name for cluster in clusters],
        columns=_COLUMNS,
        rows=map(_row, clusters),
    )


def show_(context: typer.Context, cluster: Ref) -> None:
    """Show a cluster with its node groups and nodes."""
    session = session_of(context)

    async def work(api: Api) -> None:
        answer = await api.get(cluster_path(cluster))
        if session.form is not Format.TABLE:
            _show(session, answer)
            return
        _show_whole(read(answer.data, Cluster))
        nodes = read((await api.get(cluster_path(cluster, "nodes"))).data or [], list[Node])
        there = [node for node in nodes if node.status != "gone"]
        sys.stdout.write("\n")
        show(session.form, nodes, names=(), columns=_NODE_COLUMNS, rows=map(_node_row, there))
        for node in there:
            if node.status == "unhealthy" and node.log_tail:
                note(f"\nend of the log of {node.name}:\n{node.log_tail}")

    session.run(work)


def health(context: typer.Context, cluster: Ref) -> None:
    """Show what was last seen of a cluster."""
    session = session_of(context)
    answer = session.run(lambda api: api.get(cluster_path(cluster, "health")))
    seen = session.told(lambda: read(answer.data, Health))
    nodes = f"{seen.nodes_ready}/{seen.nodes_total}"
    row = (seen.status.upper(), "answers" if seen.api_server else "silent", nodes, seen.message)
    show(
        session.form,
        answer.data,
        names=[seen.status],
        columns=("STATUS", "API SERVER", "NODES READY", "MESSAGE"),
        rows=[row],
    )


def scale(
    context: typer.Context,
    cluster: Ref,
    *,
    count: Annotated[int | None, typer.Argument(metavar="WORKERS", help="Number of workers in all.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", help="The same as an option.")] = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Give a cluster another number of workers."""
    session, limit = session_of(context), limit_of(timeout)
    wanted = workers if workers is not None else count
    if wanted is None or (workers is not None and count is not None and workers != count):
        raise typer.BadParameter("give the number of workers once: cloud k8s scale CLUSTER --workers 4")
    session.change(
        "PUT",
        cluster_path(cluster, "scale"),
        {"workers": wanted},
        what=f"cluster {cluster} is being scaled to {wanted} workers",
        dry_run=dry_run,
        wait=wait,
        timeout_s=limit,
    )


def repair(
    context: typer.Context,
    cluster: Ref,
    *,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Bring a cluster back to what is wanted of it."""
    session, limit = session_of(context), limit_of(timeout)
    session.change(
        "POST",
        cluster_path(cluster, "repair"),
        None,
        what=f"cluster {cluster} is being repaired",
        dry_run=dry_run,
        wait=wait,
        timeout_s=limit,
    )


def delete(
    context: typer.Context,
    cluster: Ref,
    *,
    yes: Yes = False,
    volumes: Annotated[
        bool,
        typer.Option(
            "--delete-volumes",
            "--volumes",
            help="Delete the volumes of claims too, but for those with reclaim policy Retain.",
        ),
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete a cluster with its machines. Volumes of claims are kept, and named at the end."""
    session, limit = session_of(context), limit_of(timeout)
    if not dry_run:
        more = " and all volumes of its claims" if volumes else ""
        session.told(lambda: confirm(f"Delete cluster {cluster} with all its machines{more}?", yes=yes))
    session.change(
        "DELETE",
        cluster_path(cluster),
        None,
        what=f"cluster {cluster} is being deleted",
        dry_run=dry_run,
        wait=wait,
        timeout_s=limit,
        volumes="delete" if volumes else None,
    )


def _show(session: Session, answer: Answer) -> None:
    cluster = read(answer.data, Cluster)
    show(session.form, answer.data, names=[cluster.name], columns=_COLUMNS, rows=[_row(cluster)])


def _row(cluster: Cluster) -> tuple[str, ...]:
    return (
        cluster.id,
        cluster.name,
        cluster.status.upper(),
        cluster.version,
        str(cluster.worker_count),
        "yes" if cluster.ha_enabled else "no",
        cluster.endpoint,
        age(cluster.created_at),
    )


def _node_row(node: Node) -> tuple[str, ...]:
    return node.name, node.role, node.status, node.node_group, node.address, node.version, node.boot_phase


def _show_whole(cluster: Cluster) -> None:
    groups = ", ".join(
        f"{group.name} {group.current_size} ({group.instance_type}, {group.min_size} to {group.max_size})"
        for group in cluster.node_groups or ()
    )
    facts = (
        ("ID", cluster.id),
        ("NAME", cluster.name),
        ("STATUS", cluster.status.upper()),
        ("REASON", cluster.status_reason),
        ("VERSION", cluster.version),
        ("ENDPOINT", cluster.endpoint),
        ("CONTROL PLANE", ", ".join(cluster.control_plane_ips or ())),
        ("HA", "yes" if cluster.ha_enabled else "no"),
        ("NODE GROUPS", groups),
        ("VPC", cluster.vpc_id),
        ("PODS", f"{cluster.pod_cidr} {cluster.cni}".strip()),
        ("SERVICES", cluster.service_cidr),
        ("OPERATION", cluster.job_id),
        ("AGE", age(cluster.created_at)),
    )
    for name, value in facts:
        if value:
            sys.stdout.write(f"{name:<14}{printable(value)}\n")
