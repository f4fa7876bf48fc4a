"""Watching an operation: to its good end, to its bad one, past the caller's patience, and through a silent service."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from rich.console import Console

from kaas.cli.answers import Operation, Step
from kaas.cli.client import Answer
from kaas.cli.waiting import describe, head, tree_of, watch
from kaas.domain.model import Event
from kaas.domain.states import ClusterStatus, OperationState
from tests.unit.kaas.api.rig import Rig
from tests.unit.kaas.cli.rig import Service

NOW = datetime.now(UTC)


async def conduct_next(rig: Rig, name: str, **how: Any) -> None:
    """Wait until somebody asks for something of a cluster, and do that operation."""
    while True:
        cluster_id = await rig.wakeups.woken.get()
        snapshot = await rig.snapshot(cluster_id)
        if snapshot.cluster.name == name and snapshot.operation is not None:
            return await rig.conduct(cluster_id, **how)


def beside(service: Service, name: str, **how: Any) -> Any:
    assert service._loop is not None
    assert service.rig is not None
    return asyncio.run_coroutine_threadsafe(conduct_next(service.rig, name, **how), service._loop)


def test_a_create_that_succeeds(service: Service) -> None:
    work = beside(service, "dev")
    done = service.cloud("k8s", "create", "-n", "dev", "--wait", "-o", "name")
    work.result(10)
    assert (done.exit_code, done.stdout) == (0, "dev\n")
    assert "ready  done" in done.stderr
    assert "\x1b" not in done.stderr
    assert "RUNNING" in service.cloud("k8s", "list").stdout


def test_a_create_that_fails_has_an_exit_code_of_its_own_and_the_reason(service: Service) -> None:
    work = beside(
        service,
        "dev",
        state=OperationState.FAILED,
        status=ClusterStatus.FAILED,
        error="the platform's quota is used up",
    )
    done = service.cloud("k8s", "create", "-n", "dev", "--wait")
    work.result(10)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "the create has failed: the platform's quota is used up" in done.stderr


def test_a_delete_that_is_waited_for(service: Service) -> None:
    service.do(lambda rig: rig.running("dev"))
    work = beside(service, "dev")
    done = service.cloud("k8s", "rm", "dev", "--yes", "--wait")
    work.result(10)
    assert done.exit_code == 0, done.output
    assert service.do(lambda rig: rig.clusters()) == []


def test_patience_that_ends_says_how_to_go_on(service: Service) -> None:
    done = service.cloud("k8s", "create", "-n", "dev", "--wait", "--timeout", "100ms")
    assert done.exit_code == 4
    operation = service.do(lambda rig: rig.snapshot("dev")).operation
    assert operation is not None
    assert f"cloud k8s operations {operation.id} --wait" in done.stderr
    work = beside(service, "dev")
    again = service.cloud("k8s", "operations", operation.id, "--wait")
    work.result(10)
    assert again.exit_code == 0, again.output
    assert service.cloud("k8s", "create", "-n", "two", "--timeout", "soon").exit_code == 2
    assert service.do(lambda rig: rig.clusters()) == ["dev"]


@pytest.mark.parametrize("state", [OperationState.CANCELLED, OperationState.SUPERSEDED])
def test_an_operation_that_did_not_come_to_its_end(service: Service, state: OperationState) -> None:
    work = beside(service, "dev", state=state, status=ClusterStatus.FAILED)
    done = service.cloud("k8s", "create", "-n", "dev", "--wait")
    work.result(10)
    assert done.exit_code == 3
    assert {"cancelled": "been cancelled", "superseded": "replaced"}[state.value] in done.stderr


def test_interrupting_the_watching_says_how_to_go_on(service: Service) -> None:
    made = service.do(lambda rig: rig.create("dev"))

    async def step(rig: Rig) -> None:
        async with rig.lease(made["id"]) as lease:
            await rig.store.conducting.begin_step(lease, made["job_id"], "preflight", "1")

    with program(service, "operations", made["job_id"], "--wait") as watching:
        service.do(step)
        assert watching.stderr is not None
        assert "preflight  running" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, rest = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert f"the operation goes on. Watch it: cloud k8s operations {made['job_id']} --wait" in rest
    assert "Traceback" not in rest
    running = service.do(lambda rig: rig.snapshot("dev")).operation
    assert running is not None
    assert not running.cancel_requested


def test_following_events_shows_what_happens_from_now_on(service: Service) -> None:
    made = service.do(lambda rig: rig.create("dev"))

    async def happen(rig: Rig) -> None:
        async with rig.lease(made["id"]) as lease:
            await rig.store.conducting.add_event(lease, Event(made["id"], "NODE_LOST", "a node is lost", "warning"))

    with program(service, "events", "dev", "--follow") as following:
        assert following.stdout is not None
        assert "CREATE_REQUESTED" in following.stdout.readline()
        service.do(happen)
        assert "warning  NODE_LOST  a node is lost" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, rest = following.communicate(timeout=30)
    assert (following.returncode, "Traceback" in rest) == (130, False)


def program(service: Service, *words: str) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CLOUD_API_URL": service.url}
    environ["CLOUD_API_KEY"] = "key-of-ada"
    return subprocess.Popen(
        [sys.executable, "-c", "from kaas.cli.app import main; main()", "--poll-seconds", "0.01", "k8s", *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


class Answers:
    """`kaas.cli.client.Api` of which only the answers matter."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)

    async def get(self, path: str) -> Answer:
        steps = [{"key": "machine/a", "state": "done"}, {"key": "machine/b", "state": self._states[0]}]
        whole = {"id": "o-1", "cluster_id": "c", "kind": "create", "state": self._states.pop(0), "steps": steps}
        return Answer({**whole, "created_at": NOW.isoformat()}, {})


async def test_on_a_terminal_the_tree_is_drawn_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, api = Terminal(), Answers("running", "running", "succeeded")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    found = await watch(cast("Any", api), "o-1", timeout_s=20, poll_s=0.001)
    assert found.state == "succeeded"
    text = terminal.getvalue()
    assert "machine 1/2" in text
    assert "\x1b[1A" in text
    assert text.rstrip().endswith("\x1b[?25h")


def operation(**fields: Any) -> Operation:
    steps = [
        Step("preflight", "done", 1, NOW, NOW + timedelta(seconds=2)),
        Step("machine/a", "done", 1, NOW, NOW + timedelta(seconds=9)),
        Step("machine/b", "waiting", 3, NOW, None, "QUOTA", "the quota is \x1b[31mused up"),
    ]
    plain: dict[str, Any] = {"progress_percent": 40, "eta_s": 80.0, "steps": steps}
    return Operation("o-1", "c-1", "create", "running", NOW, **{**plain, **fields})


def test_the_tree_puts_steps_of_one_kind_together() -> None:
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=False).print(tree_of(operation()))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert "40 %" in lines[0]
    assert "about 1m20s left" in lines[0]
    assert lines[1].endswith("✔ preflight  done  2s")
    assert lines[2].endswith("machine 1/2")
    assert "✔ machine/a  done  9s" in lines[3]
    assert "machine/b  waiting, try 3: the quota is �[31mused up" in lines[4]


def test_what_is_not_known_is_not_told() -> None:
    text = head(operation(progress_percent=None, eta_s=None))
    assert "%" not in text
    assert "left" not in text
    assert describe(Step("a", "running")) == "a  running"
