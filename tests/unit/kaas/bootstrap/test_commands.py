"""What is run on machines: files, arguments, and the decision what a machine needs, as a real shell sees them."""

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest

from kaas.bootstrap import commands
from kaas.bootstrap.commands import BUSY, CONFIG, Facts, Next, facts_of, init_files, join_files, next_for
from kaas.crypto.pki import new_pki
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Role
from kaas.domain.ports import Output
from tests.unit.kaas.bootstrap.waiting import until

NOTHING = Facts(busy=False, done=False, kubelet=False, manifests=False, etcd=False, bootstrapping=False)


class Machine:
    """The commands' places below a folder, and a kubeadm that does what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("etc/kubernetes/manifests", "run/kaas", "var/lib/etcd", "bin"):
            (root / folder).mkdir(parents=True)
        self.kubeadm("exit 0")

    def kubeadm(self, script: str) -> None:
        path = self.root / "bin" / "kubeadm"
        path.write_text(f'#!/bin/sh\necho "$@" >> {self.root}/calls\n{script}\n')
        path.chmod(0o755)

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def make(self, path: str, content: str = "x") -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    async def start(self, argv: tuple[str, ...]) -> asyncio.subprocess.Process:
        places = ("/etc/kubernetes", "/run/kaas", "/var/lib/etcd")
        text = "\0".join(argv)
        for place in places:
            text = text.replace(place, f"{self.root}{place}")
        return await asyncio.create_subprocess_exec(
            *text.split("\0"),
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def run(self, argv: tuple[str, ...]) -> Output:
        process = await self.start(argv)
        out, err = await process.communicate()
        return Output(process.returncode or 0, out.decode(), err.decode())

    async def facts(self) -> Facts:
        return facts_of(await self.run(commands.LOOK), node="dev-cp-0")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_a_fresh_machine_has_nothing(machine: Machine):
    assert await machine.facts() == NOTHING
    assert NOTHING.untouched


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("etc/kubernetes/kubelet.conf", "kubelet"),
        ("etc/kubernetes/bootstrap-kubelet.conf", "bootstrapping"),
        ("etc/kubernetes/manifests/kube-apiserver.yaml", "manifests"),
        ("var/lib/etcd/member/snap/db", "etcd"),
    ],
)
async def test_what_kubeadm_leaves_is_seen(machine: Machine, path: str, fact: str):
    machine.make(path)
    facts = await machine.facts()
    assert {name for name in Facts.__dataclass_fields__ if getattr(facts, name)} == {fact}
    assert not facts.untouched


@pytest.mark.parametrize(("argv", "verb"), [(commands.INIT, "init"), (commands.JOIN, "join")])
async def test_a_run_that_succeeds_is_marked_and_one_that_fails_is_not(
    machine: Machine, argv: tuple[str, ...], verb: str
):
    machine.kubeadm("echo broken >&2; exit 1")
    output = await machine.run(argv)
    assert (output.exit_code, output.stderr) == (1, "broken\n")
    assert not (await machine.facts()).done
    machine.kubeadm("exit 0")
    assert (await machine.run(argv)).exit_code == 0
    assert (await machine.facts()).done
    words = machine.calls()[-1].split()
    assert words[:3] == [verb, "--config", f"{machine.root}{CONFIG}"]
    assert ("--skip-token-print" in words) == (verb == "init")


async def test_a_second_run_beside_a_first_is_refused_and_seen(machine: Machine):
    machine.kubeadm(f"touch {machine.root}/started; exec sleep 1000")
    first = await machine.start(commands.INIT)
    await until((machine.root / "started").exists)
    assert (await machine.facts()).busy
    for argv in (commands.INIT, commands.JOIN, commands.RESET):
        assert (await machine.run(argv)).exit_code == BUSY
    assert len(machine.calls()) == 1
    os.kill(first.pid, signal.SIGKILL)
    # Not `wait`, which also waits for the output to end, and kubeadm still has it.
    await until(lambda: first.returncode is not None)
    assert (await machine.facts()).busy, "kubeadm itself still runs, and still holds the lock"
    os.killpg(first.pid, signal.SIGKILL)
    await first.communicate()
    assert await machine.facts() == NOTHING


async def test_reset_forgets_the_mark_and_the_token_first(machine: Machine):
    await machine.run(commands.INIT)
    machine.make(CONFIG.lstrip("/"))
    machine.kubeadm("exit 1")
    await machine.run(commands.RESET)
    assert not (await machine.facts()).done
    assert not (machine.root / CONFIG.lstrip("/")).exists()
    assert machine.calls()[-1] == "reset --force --cleanup-tmp-dir"


async def test_seal_takes_credentials_and_tokens_and_leaves_what_runs(machine: Machine):
    gone = (
        *("etc/kubernetes/super-admin.conf", "etc/kubernetes/admin.conf", "etc/kubernetes/tmp/backup/x"),
        *("etc/kubernetes/pki/etcd/ca.key", "etc/kubernetes/pki/front-proxy-ca.key", CONFIG.lstrip("/")),
    )
    kept = (
        *("etc/kubernetes/kubelet.conf", "etc/kubernetes/controller-manager.conf", "etc/kubernetes/pki/ca.key"),
        *("etc/kubernetes/pki/ca.crt", "etc/kubernetes/pki/sa.key", "etc/kubernetes/pki/etcd/ca.crt"),
    )
    for path in (*gone, *kept):
        machine.make(path)
    for _ in range(2):
        assert (await machine.run(commands.SEAL)).exit_code == 0
    assert [path for path in gone if (machine.root / path).exists()] == []
    assert [path for path in kept if not (machine.root / path).exists()] == []


async def test_files_go_where_kubeadm_looks_and_tokens_stay_in_memory():
    pki = await new_pki("4f1c2d3e-5a6b-4c7d-8e9f-000000000001")
    assert CONFIG.startswith("/run/")
    first = init_files(pki, "text")
    assert (first[CONFIG].content, first[CONFIG].mode) == (b"text", 0o600)
    assert len(first) == 9
    assert set(join_files("text")) == {CONFIG}
    assert set(join_files("text", pki=pki)) == set(first)


@pytest.mark.parametrize(
    "output",
    [
        Output(127, "", "sh: not found"),
        Output(0, "", ""),
        Output(0, "busy=yes\ndone=no\n", ""),
        Output(0, "busy=yes\ndone=maybe\nkubelet=no\nmanifests=no\netcd=no\nbootstrapping=no\n", ""),
    ],
)
def test_a_machine_that_does_not_tell_is_an_error_with_its_name(output: Output):
    with pytest.raises(StepError, match="dev-cp-0") as caught:
        facts_of(output, node="dev-cp-0")
    assert caught.value.code is Code.BOOTSTRAP_FAILED


def _facts(*names: str) -> Facts:
    return Facts(**{name: name in names for name in Facts.__dataclass_fields__})


@pytest.mark.parametrize(
    ("facts", "role", "cluster_runs", "node_known", "wanted"),
    [
        (_facts(), Role.CONTROL_PLANE, False, False, Next.RUN),
        (_facts(), Role.WORKER, True, False, Next.RUN),
        (_facts("busy", "kubelet"), Role.WORKER, True, True, Next.WAIT),
        (_facts("done", "kubelet", "manifests", "etcd"), Role.CONTROL_PLANE, True, True, Next.DONE),
        # The answer of a join was lost; a worker has nothing to do after its kubelet is known.
        (_facts("kubelet"), Role.WORKER, True, True, Next.DONE),
        (_facts("kubelet"), Role.WORKER, True, False, Next.RESET_THEN_RUN),
        (_facts("bootstrapping"), Role.WORKER, True, False, Next.RESET_THEN_RUN),
        # A control plane has: known to the cluster is not all that init does.
        (_facts("kubelet", "manifests", "etcd"), Role.CONTROL_PLANE, False, True, Next.RESET_THEN_RUN),
        (_facts("kubelet", "manifests", "etcd"), Role.CONTROL_PLANE, True, True, Next.REPLACE),
        (_facts("etcd"), Role.CONTROL_PLANE, True, False, Next.REPLACE),
        (_facts("kubelet"), Role.CONTROL_PLANE, True, False, Next.RESET_THEN_RUN),
    ],
)
def test_what_a_machine_needs(facts: Facts, role: Role, cluster_runs: bool, node_known: bool, wanted: Next):
    assert next_for(facts, role, cluster_runs=cluster_runs, node_known=node_known) is wanted


def test_data_of_a_cluster_that_runs_is_never_reset():
    names = tuple(Facts.__dataclass_fields__)
    for values in itertools.product((False, True), repeat=len(names)):
        facts = Facts(**dict(zip(names, values, strict=True)))
        if facts.etcd:
            for role, known in itertools.product(Role, (False, True)):
                chosen = next_for(facts, role, cluster_runs=True, node_known=known)
                assert chosen not in (Next.RESET_THEN_RUN, Next.RUN)
