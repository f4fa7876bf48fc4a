"""Options of other cloud controller managers that are accepted and do nothing, so that existing manifests still start.

Each says what takes its place. An option whose silent loss would change what a cluster does is not here: it is refused
like any unknown one.
"""

from dataclasses import dataclass, fields
from typing import Any

from process.kinds import TEXT, OptionKind, whole_number
from process.settings import option, options_of

_ANY: OptionKind[str | None] = OptionKind("any", TEXT.parse, is_switch=True)
"""Flags that stood alone for others may stand alone here."""


def _ignored(why: str) -> Any:
    return option(_ANY, f"Without effect: {why}")


@dataclass(frozen=True, kw_only=True)
class CompatibilityOptions:
    """What is accepted without effect. Every default is None, so that what was given can be told."""

    cloud_provider: str | None = _ignored("there is one platform.")
    cloud_config: str | None = _ignored("the platform is named by --platform-url and --api-key-file.")
    cluster_name: str | None = _ignored("objects of the cluster are told by --cluster-id.")
    allow_untagged_cloud: str | None = _ignored("--cluster-id is always needed.")
    external_cloud_volume_plugin: str | None = _ignored("volumes are the CSI driver's.")
    use_service_account_credentials: str | None = _ignored("all controllers use one identity, whose role is small.")
    allocate_node_cidrs: str | None = _ignored("kube-controller-manager gives the nodes their pod networks.")
    cidr_allocator_type: str | None = _ignored("see --allocate-node-cidrs.")
    concurrent_node_status_updates: str | None = _ignored("--concurrent-node-syncs counts for these as well.")
    node_sync_period: str | None = _ignored("nodes are followed by a watch.")
    min_resync_period: str | None = _ignored("services are compared anew every --drift-period.")
    controller_start_interval: str | None = _ignored("the controllers start together.")
    feature_gates: str | None = _ignored("there are none.")
    kube_api_content_type: str | None = _ignored("objects are read as JSON.")
    authentication_kubeconfig: str | None = _ignored("reviews are asked for with --kubeconfig.")
    authorization_kubeconfig: str | None = _ignored("reviews are asked for with --kubeconfig.")
    authentication_tolerate_lookup_failure: str | None = _ignored(
        "client certificates count from when their authorities are known."
    )
    leader_elect_resource_lock: str | None = _ignored("the lock is a Lease.")
    cert_dir: str | None = _ignored("a certificate that nobody gave is kept in memory.")
    http2_max_streams_per_connection: str | None = _ignored("HTTP/1.1 is served.")
    profiling: str | None = _ignored("no profile is served.")
    contention_profiling: str | None = _ignored("no profile is served.")
    webhook_bind_address: str | None = _ignored("no webhook is served.")
    webhook_secure_port: int | None = option(whole_number(most=65535), "Without effect: no webhook is served.")

    def without_effect(self) -> tuple[str, ...]:
        """Give the flags that were given and do nothing."""
        rows = zip(fields(CompatibilityOptions), options_of(CompatibilityOptions), strict=True)
        return tuple(row.flag for field, row in rows if getattr(self, field.name) is not None)
