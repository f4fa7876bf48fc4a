import re

from prometheus_client.parser import text_string_to_metric_families

from csi.metrics import TABLE, Metrics
from process.metrics import CONTENT_TYPE


def count_everything(metrics: Metrics) -> None:
    metrics.rpc_started("CreateVolume")
    metrics.rpc_ended("CreateVolume", "OK", 0.2)
    metrics.rpc_started("CreateVolume")
    metrics.platform_called("GET /volumes/{id}", "ok", 0.01)
    metrics.device_waited("found", 0.05)
    metrics.file_system_made("ext4", 0.3)
    metrics.format_refused("foreign")


def test_every_metric_of_the_table_is_exposed_with_its_labels() -> None:
    metrics = Metrics()
    count_everything(metrics)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    for row in TABLE:
        family = families[row.name.removesuffix("_total")]
        assert family.type == row.kind.value
        assert family.documentation == row.doc
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == set(row.labels)


def test_counts_add_up() -> None:
    metrics = Metrics()
    count_everything(metrics)
    value = metrics.registry.get_sample_value
    assert value("thecloud_csi_rpc_in_flight", {"method": "CreateVolume"}) == 1
    assert value("thecloud_csi_rpc_duration_seconds_sum", {"method": "CreateVolume", "code": "OK"}) == 0.2
    assert value("thecloud_csi_format_refusals_total", {"reason": "foreign"}) == 1
    assert value("thecloud_csi_mkfs_seconds_count", {"fs_type": "ext4"}) == 1
    assert value("thecloud_csi_device_wait_seconds_bucket", {"outcome": "found", "le": "0.05"}) == 1
    assert value("thecloud_csi_device_wait_seconds_bucket", {"outcome": "found", "le": "0.025"}) == 0


def test_two_programs_in_one_process_do_not_share_counters() -> None:
    one, two = Metrics(), Metrics()
    one.format_refused("foreign")
    assert two.registry.get_sample_value("thecloud_csi_format_refusals_total", {"reason": "foreign"}) is None


def test_the_memory_of_the_process_is_exposed() -> None:
    assert re.search(rb"^process_resident_memory_bytes [0-9.e+]+$", Metrics().render(), re.MULTILINE)
    assert CONTENT_TYPE.startswith("text/plain")


def test_names_say_their_unit() -> None:
    for row in TABLE:
        assert row.name.startswith("thecloud_csi_")
        assert row.name.endswith(("_seconds", "_total", "_in_flight"))
        assert row.doc.endswith(".")
