from prometheus_client.parser import text_string_to_metric_families

from ccm.controllers.node_ports import NodeMetrics
from ccm.controllers.service_ports import ServiceMetrics
from ccm.kube.queue import QueueObserver
from ccm.metrics import TABLE, Metrics
from ccm.names import MANAGER
from process.metrics import Kind

EXPECTED = {
    "running_managed_controllers",
    "leader_election_master_status",
    "workqueue_adds_total",
    "workqueue_depth",
    "workqueue_queue_duration_seconds",
    "workqueue_work_duration_seconds",
    "workqueue_retries_total",
    "workqueue_unfinished_work_seconds",
    "workqueue_longest_running_processor_seconds",
    "node_controller_cloud_provider_taint_removal_delay_seconds",
    "node_controller_initial_node_sync_delay_seconds",
    "service_controller_loadbalancer_sync_total",
    "service_controller_nodesync_error_total",
    "service_controller_nodesync_latency_seconds",
    "service_controller_update_loadbalancer_host_latency_seconds",
    "route_controller_route_sync_total",
    "rest_client_requests_total",
    "rest_client_request_duration_seconds",
}
"""What dashboards for other cloud controller managers ask for."""


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def use_all(metrics: Metrics) -> None:
    metrics.controller_runs("service-lb-controller", runs=True)
    metrics.leads(MANAGER, leads=True)
    queue = metrics.queue("service")
    queue.added(4)
    queue.started(3, 0.2)
    queue.finished(0.3)
    queue.retried()
    metrics.node_initialized(2.0)
    metrics.node_written("status")
    metrics.deletions_stopped("breaker")
    metrics.balancer_synced()
    metrics.nodes_synced(1.5)
    metrics.node_sync_failed()
    metrics.targets_written(0.5)
    metrics.routes_synced()
    metrics.kube_called(method="PATCH", host="h:1", status=200, duration_s=0.01)
    metrics.kube_called(method="PATCH", host="h:1", status=0, duration_s=1.0)
    metrics.platform_called(method="GET", route="/lb/{id}", outcome="200", seconds=0.1)


def test_the_names_that_dashboards_know_are_kept() -> None:
    assert {row.name for row in TABLE} >= EXPECTED


def test_every_row_of_the_table_is_written_once_it_is_used() -> None:
    metrics = Metrics()
    use_all(metrics)
    written = {name for name, _ in samples(metrics)}
    for row in TABLE:
        assert (f"{row.name}_bucket" if row.kind is Kind.HISTOGRAM else row.name) in written, row.name


def test_values_stand_under_their_labels() -> None:
    metrics = Metrics()
    use_all(metrics)
    found = samples(metrics)
    assert found["running_managed_controllers", (MANAGER, "service-lb-controller")] == 1
    assert found["leader_election_master_status", (MANAGER,)] == 1
    assert found["workqueue_depth", ("service",)] == 3
    assert found["rest_client_requests_total", ("200", "h:1", "PATCH")] == 1
    assert found["rest_client_requests_total", ("<error>", "h:1", "PATCH")] == 1
    assert found["node_controller_initial_node_sync_delay_seconds_sum", ()] == 2
    metrics.controller_runs("service-lb-controller", runs=False)
    metrics.leads(MANAGER, leads=False)
    found = samples(metrics)
    assert found["running_managed_controllers", (MANAGER, "service-lb-controller")] == 0
    assert found["leader_election_master_status", (MANAGER,)] == 0


def test_the_work_that_is_under_way_is_added_up() -> None:
    now = [100.0]
    metrics = Metrics(clock=lambda: now[0])
    queue = metrics.queue("service")
    queue.started(0, 0.0)
    now[0] = 103.0
    queue.started(0, 0.0)
    now[0] = 105.0
    found = samples(metrics)
    assert found["workqueue_unfinished_work_seconds", ("service",)] == 7
    assert found["workqueue_longest_running_processor_seconds", ("service",)] == 5
    queue.finished(5.0)
    found = samples(metrics)
    assert found["workqueue_unfinished_work_seconds", ("service",)] == 2
    assert found["workqueue_longest_running_processor_seconds", ("service",)] == 2


def test_only_the_current_reason_for_not_deleting_is_set() -> None:
    metrics = Metrics()
    metrics.deletions_stopped("breaker")
    metrics.deletions_stopped("listing")
    found = samples(metrics)
    assert found["thecloud_ccm_node_deletions_stopped", ("breaker",)] == 0
    assert found["thecloud_ccm_node_deletions_stopped", ("listing",)] == 1
    metrics.deletions_stopped("")
    assert samples(metrics)["thecloud_ccm_node_deletions_stopped", ("listing",)] == 0


def test_it_is_what_controllers_and_queues_count_with() -> None:
    metrics = Metrics()
    nodes: NodeMetrics = metrics
    services: ServiceMetrics = metrics
    queue: QueueObserver = metrics.queue("node")
    nodes.node_written("spec")
    services.targets_written(1.0)
    queue.retried()
    found = samples(metrics)
    assert found["thecloud_ccm_node_writes_total", ("spec",)] == 1
    assert found["service_controller_update_loadbalancer_host_latency_seconds_count", ()] == 1
    assert found["workqueue_retries_total", ("node",)] == 1


def test_two_processes_in_one_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.balancer_synced()
    assert samples(second)["service_controller_loadbalancer_sync_total", ()] == 0
