"""The command line of the node program, and the hook as a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from node import command, pre_stop
from node.kube import api
from node.pre_stop import open_container_log
from tests.support.fake_kube import ATTACHMENTS, NODES, FakeKube

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cluster(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    """A cluster that this process seems to be a pod of."""
    for name, value in kube.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pre_stop, "in_cluster", partial(api.in_cluster, account_dir=kube.account_dir))
    return kube


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--help"], 0, "--max-volumes"),
        (["serve", "--max-volumes", "0"], 2, "--max-volumes"),
        (["doctor", "--help"], 0, "doctor"),
        (["pre-stop", "--help"], 0, "--drain-wait-s"),
        (["pre-stop"], 2, "--node-name is missing"),
        (["pre-stop", "--node-name", "n", "--endpoint", "x"], 2, "--endpoint is not an option"),
        (["pre-stop", "--node-name", "n", "--drain-wait-s", "soon"], 2, "--drain-wait-s"),
    ],
)
def test_the_command_line(monkeypatch, capsys, argv: list[str], code: int, words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tc-csi-node", *argv])
    monkeypatch.delenv("TC_NODE_NAME", raising=False)
    assert command.main() == code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err


def outcome(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run the hook; gives the one line of its outcome."""
    assert command.main(["pre-stop", "--node-name", "n", *argv]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if " node.pre_stop: " in line]
    assert len(lines) == 1
    return lines[0]


def test_a_rolling_update_is_not_held_up(cluster: FakeKube, capfd) -> None:
    cluster.put_node("n")
    cluster.put_attachment("csi-1", "n")
    assert "node n stays, so nothing is waited for" in outcome(capfd)


def test_a_drain_waits_for_the_volumes_of_this_node_and_driver(cluster: FakeKube, capfd) -> None:
    cluster.put_node("n", unschedulable=True)
    cluster.put_attachment("csi-1", "n")
    cluster.put_attachment("csi-2", "other")
    cluster.put_attachment("csi-3", "n", driver="other.csi")
    cluster.before = lambda method, path: cluster.drop(ATTACHMENTS, "csi-1") if path.endswith("/csi-1") else None
    assert "no volume is attached to it any more; 1 volume is gone after" in outcome(capfd)


def test_a_wait_that_is_too_long_is_given_up_with_the_volumes_named(cluster: FakeKube, capfd) -> None:
    cluster.put_node("n", {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"})
    cluster.put_attachment("csi-1", "n", volume="pv-a")
    assert "after 2 s 1 volume is still attached: pv-a" in outcome(capfd, "--drain-wait-s", "2")


@pytest.mark.parametrize("request_", [f"GET {NODES}", f"GET {ATTACHMENTS}"])
def test_a_role_that_lacks_a_rule_is_told_and_does_not_fail_the_hook(cluster: FakeKube, capfd, request_: str) -> None:
    cluster.put_node("n", unschedulable=True)
    cluster.fail(request_, 403)
    assert "nothing more is waited for: the Kubernetes API refuses" in outcome(capfd)


def test_outside_of_a_cluster_nothing_is_waited_for(monkeypatch, capfd) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "this is no pod of a cluster" in outcome(capfd)


def test_a_defect_is_told_and_does_not_fail_the_hook(monkeypatch, capfd) -> None:
    async def broken(settings: pre_stop.PreStopSettings) -> str:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(pre_stop, "wait", broken)
    assert "unexpected error" in outcome(capfd)


def make_proc(root: Path, *, first: str, me: str) -> Path:
    for process, program in (("1", first), ("self", me)):
        (root / process / "fd").mkdir(parents=True)
        (root / process / "exe").symlink_to(program)
    (root / "1/fd/2").touch()
    return root


def test_the_outcome_goes_to_the_log_of_the_containers_first_process(tmp_path: Path) -> None:
    proc = make_proc(tmp_path, first="/usr/bin/python3", me="/usr/bin/python3")
    (proc / "1/fd/2").write_text("before\n")
    with open_container_log(proc) as stream:
        stream.write("outcome\n")
    assert (proc / "1/fd/2").read_text() == "before\noutcome\n"


def test_the_log_of_a_container_is_a_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as log, os.fdopen(writer, "wb"):
        proc = make_proc(tmp_path, first="/usr/bin/python3", me="/usr/bin/python3")
        (proc / "1/fd/2").unlink()
        (proc / "1/fd/2").symlink_to(f"/proc/self/fd/{writer}")
        with open_container_log(proc) as stream:
            stream.write("outcome\n")
        assert log.readline() == b"outcome\n"


def test_another_first_process_does_not_get_our_lines(tmp_path: Path, capfd) -> None:
    proc = make_proc(tmp_path, first="/usr/lib/systemd/systemd", me="/usr/bin/python3")
    with open_container_log(proc) as stream:
        stream.write("outcome\n")
    assert (proc / "1/fd/2").read_text() == ""
    with open_container_log(tmp_path / "nothing") as stream:
        stream.write("another\n")
    assert capfd.readouterr().err == "outcome\nanother\n"


@pytest.fixture
async def hook() -> AsyncIterator[asyncio.subprocess.Process]:
    code = (
        "import json, sys; from node.command import main; code = main(['pre-stop', '--node-name', 'n']);"
        "print(json.dumps([code, [m for m in ('grpc', 'google.protobuf', 'node.app') if m in sys.modules]]))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT, env={}
    )
    yield process
    await process.wait()


async def test_the_hook_costs_the_container_no_second_grpc(hook: asyncio.subprocess.Process) -> None:
    out, err = await hook.communicate()
    assert json.loads(out) == [0, []], err
