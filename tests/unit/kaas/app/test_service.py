"""The whole service on the simulator: from a first cluster to its end, and how it begins and ends itself."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kaas.app import Parts
from kaas.db.conductors import Conductor
from kaas.db.store import open_store
from kaas.domain.states import NodeState
from kaas.drivers.simulator.invariants import duplicates, leaks, repeated_creates, strangers
from kaas.engine.advisory_lock import SecondConductorError
from kaas.service import serve
from kaas.unfit import UnfitError
from process.life import Stop, StoppedError
from tests.support.ports import free_port
from tests.unit.kaas.app.rig import BOTH, SIMULATED, Running, furnish, running, settings_of, until, world_of

PLANE, FIRST, SECOND, THIRD = "dev-control-plane-0", *(f"dev-default-pool-{number}" for number in range(3))
READY = NodeState.READY.value


async def ended(service: Running, kind: str) -> dict[str, str] | None:
    """Give the newest operation of a kind when it has ended."""
    for operation in await service.get("/operations?cluster=dev"):
        if operation["kind"] == kind:
            return operation if operation.get("finished_at") else None
    return None


async def test_a_cluster_from_its_beginning_to_its_end(tmp_path):
    folder = tmp_path / "state"
    async with running(folder) as service:
        made = await service.ask("POST", "/clusters", {"name": "dev", "workers": 2})
        assert made.status_code == 202, made.text
        cluster_id = made.json()["data"]["id"]

        async def runs() -> bool:
            return (await service.get("/clusters/dev"))["status"] == "running"

        await until(runs)
        assert await service.nodes() == dict.fromkeys((PLANE, FIRST, SECOND), READY)

        kubeconfig = (await service.ask("GET", "/clusters/dev/kubeconfig")).json()["data"]
        assert "client-certificate-data" in kubeconfig

        await service.cloud("scale", "dev", "3", "--wait")
        assert await service.nodes() == dict.fromkeys((PLANE, FIRST, SECOND, THIRD), READY)
        await service.cloud("scale", "dev", "1", "--wait")
        assert await service.nodes() == dict.fromkeys((PLANE, FIRST), READY)

        with world_of(folder) as simulator:
            simulator.kill(FIRST)
        repair = await until(lambda: ended(service, "repair"))
        assert (repair["state"], repair["requested_by"]) == ("succeeded", "repair")
        healed = await service.nodes()
        assert len(healed) == 2
        assert FIRST not in healed
        assert set(healed.values()) == {READY}

        with world_of(folder) as simulator:
            assert duplicates(simulator.world, cluster_id) == []
            assert strangers(simulator.world, cluster_id) == []
            assert repeated_creates(simulator.world, cluster_id) == []
        await service.cloud("delete", "dev", "--yes", "--wait")
        assert await service.get("/clusters") in (None, [])
        with world_of(folder) as simulator:
            assert leaks(simulator.world, cluster_id) == []


async def test_the_command_line_makes_a_cluster_and_gets_into_it(tmp_path):
    async with running(tmp_path / "state") as service:
        await service.cloud("create", "--name", "dev", "--workers", "1", "--wait")
        listed = await service.cloud("list")
        assert "dev" in listed.output
        key = await service.cloud("ssh-key", "dev")
        assert "OPENSSH PRIVATE KEY" in key.output


async def test_what_it_serves_besides_the_api(tmp_path):
    async with running(tmp_path / "state") as service:
        assert (await service.ask("GET", "/health/ready")).text == "ok\n"
        figures = (await service.ask("GET", "/metrics")).text
        assert "kaas_running_clusters" in figures
        assert "kaas_api_requests_total" in figures


async def test_a_second_service_on_the_same_folder_is_told_so(tmp_path):
    async with running(tmp_path / "state") as service:
        with pytest.raises(SecondConductorError, match="conducts with"):
            async with running(tmp_path / "state", key=service.key):
                pass


async def test_it_ends_in_the_middle_of_a_creation_and_the_next_one_goes_on(tmp_path):
    folder, port = tmp_path / "state", free_port()
    phone_home = f"--phone-home-listen=127.0.0.1:{port}"
    async with running(folder, phone_home, "--simulated-pace=0.3") as service:
        await service.ask("POST", "/clusters", {"name": "dev", "workers": 1})

        async def has_machine() -> bool:
            return "provisioning" in (await service.nodes()).values()

        await until(has_machine)
    # Its lease was given back, or the next one would wait for the end of it.
    async with running(folder, phone_home, key=service.key) as service:
        created = await until(lambda: ended(service, "create"))
        assert created["state"] == "succeeded", created
        with world_of(folder) as simulator:
            assert repeated_creates(simulator.world, created["cluster_id"]) == []


async def test_an_api_and_a_conductor_that_are_processes_of_their_own(tmp_path):
    folder = tmp_path / "state"
    async with running(folder) as service:
        key = service.key
    api, conductor = Parts(api=True, conductor=False), Parts(api=False, conductor=True)
    status = f"--status-listen=127.0.0.1:{(port := free_port())}"
    async with running(folder, key=key, parts=api) as service, running(folder, status, key=key, parts=conductor):
        await service.ask("POST", "/clusters", {"name": "dev", "workers": 1})
        created = await until(lambda: ended(service, "create"))
        assert created["state"] == "succeeded", created
        ready = await service.http.get(f"http://127.0.0.1:{port}/health/ready")
        assert (ready.status_code, ready.text) == (200, "ok\n")
        assert len(await conductors(folder)) == 1
        figures = await service.http.get(f"http://127.0.0.1:{port}/metrics")
        assert 'kaas_operations_ended_total{kind="create",state="succeeded"} 1.0' in figures.text
    assert await conductors(folder) == []


async def conductors(folder: Path) -> Sequence[Conductor]:
    """Give the conductors that are written down."""
    store = open_store(f"sqlite+aiosqlite:///{folder}/kaas.db")
    try:
        return await store.conductors.list()
    finally:
        await store.close()


async def test_without_tables_the_parts_say_what_to_run(tmp_path):
    with pytest.raises(UnfitError, match="run `kaas migrate`"):
        async with running(tmp_path / "state", parts=Parts(api=True, conductor=False)):
            pass


async def test_asked_to_end_while_it_starts(tmp_path):
    furnish(tmp_path / "state")
    stop = Stop()
    stop()
    with pytest.raises(StoppedError):
        await serve(settings_of(tmp_path / "state", *SIMULATED), BOTH, stop=stop, tell=str, environ={})
