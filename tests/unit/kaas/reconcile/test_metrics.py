"""What is counted, under which names."""

from prometheus_client import generate_latest

from kaas.domain.errors import Code, StepError
from kaas.reconcile.metrics import TABLE, ConductorMetrics
from tests.support.kaas_steps import FakeStep, World, creating
from tests.support.kaas_store import MemoryStore
from tests.unit.kaas.reconcile.rig import conductor, created, settle
from tests.unit.thecloud.virtual_time import virtual


@virtual
async def test_steps_are_counted_by_the_first_part_of_their_key():
    store, world, metrics = MemoryStore(), World(), ConductorMetrics()
    created(store)
    steps = [
        FakeStep("machine/dev-1", world, apply_s=3, errors=[StepError(Code.PLATFORM_THROTTLED, "429")]),
        FakeStep("machine/dev-2", world, apply_s=3),
    ]
    await settle(conductor(store, creating(*steps), steps=metrics, observer=metrics), store)

    def value(name, **labels):
        return metrics.registry.get_sample_value(name, labels)

    assert value("kaas_step_duration_seconds_count", step="machine", outcome="done") == 2
    assert value("kaas_step_duration_seconds_count", step="machine", outcome="waiting") == 1
    assert value("kaas_step_duration_seconds_sum", step="machine", outcome="waiting") == 3
    assert value("kaas_step_retries_total", code="PLATFORM_THROTTLED") == 1
    assert value("kaas_operations_ended_total", kind="create", state="succeeded") == 1


def test_every_metric_of_the_table_is_there():
    text = generate_latest(ConductorMetrics().registry).decode()
    for row in TABLE:
        assert f"# HELP {row.name.removesuffix('_total')}" in text
