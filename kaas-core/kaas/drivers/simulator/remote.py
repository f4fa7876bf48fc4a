"""The machines of the simulated world, as far as SSH, kubeadm and etcdctl show them."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from cryptography.hazmat.primitives import serialization

from kaas.domain.errors import Code, OtherHostError, StepError
from kaas.domain.ports import Output, RemoteFile, SshTarget
from kaas.drivers.simulator import kubeadm
from kaas.drivers.simulator.faults import Rule
from kaas.drivers.simulator.records import Brain, KeyPair, Machine
from kaas.drivers.simulator.world import World

_OK = Output(0, "", "")


class SimulatedRemote:
    """A `Remote` that knows the commands that kaas runs; any other ends with exit code 127."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, target: SshTarget, argv: Sequence[str], *, stdin: bytes = b"", deadline: float) -> Output:
        """Run a command; kubeadm takes its time, and is half-done when it is interrupted meanwhile."""
        del stdin
        what = _what(argv)
        if what in {"kubeadm init", "kubeadm join"}:
            return await self._kubeadm(target, what, deadline=deadline)

        def act(_: Rule | None) -> Output:
            return self._answer(self._reach(target), what, argv)

        return await self._world.call("remote.run", f"{what} at {target.address}", act, deadline=deadline)

    async def put(self, target: SshTarget, files: Mapping[str, RemoteFile], *, deadline: float) -> None:
        """Write files."""

        def act(_: Rule | None) -> None:
            machine = self._reach(target)
            machine.files.update({path: file.content for path, file in files.items()})
            self._world.ground.put(machine)

        await self._world.call("remote.put", f"files at {target.address}", act, deadline=deadline)

    async def _kubeadm(self, target: SshTarget, what: str, *, deadline: float) -> Output:
        """Begin, take the time that it takes, and end; two transactions, with a world in between that may change."""
        begin = kubeadm.begin_init if what == "kubeadm init" else kubeadm.begin_join
        end = kubeadm.end_init if what == "kubeadm init" else kubeadm.end_join
        name = f"{what} at {target.address}"

        def first(_: Rule | None) -> Output | None:
            return begin(self._world, self._reach(target))

        refused = await self._world.call("remote.run", name, first, deadline=deadline)
        if refused is not None:
            return refused
        loop = asyncio.get_running_loop()
        timing = self._world.timing
        takes_s = timing.init_s if what == "kubeadm init" else timing.join_s
        await asyncio.sleep(min(takes_s, max(0.0, deadline - loop.time())))
        if loop.time() >= deadline:
            raise StepError(Code.NODE_UNREACHABLE, f"{target.address}: {what} did not end in time, and was stopped")

        def second(_: Rule | None) -> Output:
            return end(self._world, self._reach(target))

        return await self._world.call("remote.ended", name, second, deadline=deadline)

    def _reach(self, target: SshTarget) -> Machine:
        machine = self._world.machine_at(target.address)
        if machine is None or not machine.lives(self._world.clock()) or not machine.reported:
            _unreachable(target, "no answer")
        if machine.host_key != target.host_key:
            raise OtherHostError(f"{target.address}: its host key is not the one that it told at its first boot")
        pair = self._world.ground.get(KeyPair, machine.key_pair_id)
        if pair is None or _public_half(target.private_key) != pair.public_key.split()[:2]:
            _unreachable(target, "it does not take our key")
        return machine

    def _answer(self, machine: Machine, what: str, argv: Sequence[str]) -> Output:
        known: Mapping[str, Callable[[], Output]] = {
            "look": lambda: kubeadm.look(self._world, machine),
            "kubeadm reset": lambda: kubeadm.reset(self._world, machine),
            "etcdctl": lambda: self._etcdctl(machine, argv[4:]),
            "systemctl": lambda: self._restart(machine),
            "rm": lambda: self._remove(machine, argv),
            "journalctl": lambda: Output(0, f"the log of {machine.name}\n", ""),
            "cat": lambda: Output(0, _instance_data(machine), ""),
        }
        run = known.get(what)
        return run() if run is not None else Output(127, "", f"{what}: command not found")

    def _etcdctl(self, machine: Machine, words: Sequence[str]) -> Output:
        brain = self._world.brain(machine)
        if brain is None or machine.id not in brain.members:
            return Output(69, "", "no container of etcd runs here")
        if not self._world.serves(brain):
            return Output(1, "", "Error: context deadline exceeded")
        ids = {_member_id(member): member for member in brain.members}
        if words[:2] == ("member", "remove"):
            return self._remove_member(brain, ids.get(int(words[2], 16), ""))
        listed = [{"ID": number, "name": brain.member_names[member]} for number, member in ids.items()]
        return Output(0, json.dumps({"members": listed}), "")

    def _remove_member(self, brain: Brain, member: str) -> Output:
        if not member:
            return Output(1, "", "Error: etcdserver: member not found")
        if not kubeadm.remove_member(self._world, brain, member):
            return Output(1, "", "Error: etcdserver: re-configuration failed due to not enough started members")
        return _OK

    def _restart(self, machine: Machine) -> Output:
        machine.api_stopped, machine.kubelet_stopped_at = False, None
        self._world.ground.put(machine)
        return _OK

    def _remove(self, machine: Machine, argv: Sequence[str]) -> Output:
        for path in argv[2:]:
            machine.files.pop(path, None)
        self._world.ground.put(machine)
        return _OK


def _what(argv: Sequence[str]) -> str:
    """Give the command's short name for the audit log; texts that a shell runs are known by what is in them."""
    text = " ".join(argv)
    for name in ("kubeadm init", "kubeadm join", "kubeadm reset", "etcdctl"):
        if name in text:
            return name
    return "look" if "manifests=" in text else argv[0]


def _member_id(machine_id: str) -> int:
    return int(machine_id.rpartition("-")[2]) + 0xE7CD0000


def _instance_data(machine: Machine) -> str:
    number = int(machine.id.rpartition("-")[2])
    data: dict[str, Any] = {"devcloud": {"pod_range": f"10.{number // 256 % 256}.{number % 256}.0/24"}}
    return json.dumps(data)


def _public_half(private_key: bytes) -> list[str]:
    try:
        key = serialization.load_ssh_private_key(private_key, password=None)
    except (ValueError, TypeError):
        return []
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode().split()[:2]


def _unreachable(target: SshTarget, why: str) -> NoReturn:
    raise StepError(Code.NODE_UNREACHABLE, f"{target.address}: {why}")
