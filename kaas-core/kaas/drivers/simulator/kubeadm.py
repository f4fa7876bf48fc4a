"""What kubeadm does to machines and clusters of the simulated world; pure but for the records that it writes."""

import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from kaas.domain.ports import Output
from kaas.drivers.simulator.records import Brain, Machine, NodeObject
from kaas.drivers.simulator.world import World

CONFIG = "/run/kaas/kubeadm.yaml"
DONE = "/etc/kubernetes/kaas-joined"
PKI = "/etc/kubernetes/pki"
CA = f"{PKI}/ca.crt"
_PLANE_FILES = (
    *(CA, f"{PKI}/ca.key", f"{PKI}/etcd/ca.crt", f"{PKI}/etcd/ca.key"),
    *(f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.key", f"{PKI}/sa.key", f"{PKI}/sa.pub"),
)
HALF_PLANE = "join control-plane"
_OK = Output(0, "", "")


def begin_init(world: World, machine: Machine) -> Output | None:
    """Check as `kubeadm init` does, and leave the traces of one that has begun; None when it may go on."""
    if machine.half or machine.brain_id:
        return _refused("[ERROR DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty")
    if missing := [path for path in _PLANE_FILES if path not in machine.files]:
        return _refused(f"the authorities are to be there before: {missing[0]} is missing")
    config = _documents(machine)
    if config.get("ClusterConfiguration") is None:
        return _refused(f"{CONFIG} has no ClusterConfiguration")
    machine.half = "init"
    world.ground.put(machine)
    return None


def end_init(world: World, machine: Machine) -> Output:
    """Make the cluster."""
    config = _documents(machine)
    token = config["InitConfiguration"]["bootstrapTokens"][0]["token"]
    now = world.clock()
    brain = Brain(
        id=f"brain-{machine.id}",
        cluster=machine.cluster,
        ca_pem=machine.files[CA],
        members=[machine.id],
        tokens={token: now + 900},
    )
    machine.is_control_plane = True
    _register(world, machine, brain, config["ClusterConfiguration"]["kubernetesVersion"])
    return _OK


def begin_join(world: World, machine: Machine) -> Output | None:
    """Check as `kubeadm join` does; None when it may go on."""
    if machine.half or machine.brain_id:
        return _refused("[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: it already exists")
    join = _documents(machine).get("JoinConfiguration")
    if join is None:
        return _refused(f"{CONFIG} has no JoinConfiguration")
    found = _discovered(world, join)
    if isinstance(found, Output):
        return found
    is_plane = "controlPlane" in join
    if is_plane and (why := _no_plane_because(world, machine, found)):
        return _refused(why)
    machine.half = HALF_PLANE if is_plane else "join"
    world.ground.put(machine)
    return None


def end_join(world: World, machine: Machine) -> Output:
    """Make it a node, and an etcd member if it is a control plane."""
    join = _documents(machine)["JoinConfiguration"]
    found = _discovered(world, join)
    if isinstance(found, Output):
        return found
    machine.is_control_plane = "controlPlane" in join
    if machine.is_control_plane:
        found.members.append(machine.id)
        world.ground.put(found)
    _register(world, machine, found, next(node.version for node in found.nodes.values()))
    return _OK


def reset(world: World, machine: Machine) -> Output:
    """Undo all of it; a member of etcd leaves, if etcd lets it."""
    brain = world.brain(machine)
    if brain is not None and machine.id in brain.members and len(brain.members) > 1:
        remove_member(world, brain, machine.id)
    elif brain is not None and machine.id in brain.members:
        world.ground.remove(brain)
    machine.half, machine.brain_id, machine.is_control_plane = "", "", False
    machine.files = {path: content for path, content in machine.files.items() if not path.startswith("/etc/kubernetes")}
    machine.files.pop(CONFIG, None)
    world.ground.put(machine)
    return _OK


def look(world: World, machine: Machine) -> Output:
    """Tell what is on the machine, as `kaas.bootstrap.commands.LOOK` does."""
    brain = world.brain(machine)
    plane = machine.is_control_plane or machine.half in {"init", HALF_PLANE}
    facts = {
        "busy": False,
        "done": DONE in machine.files,
        "kubelet": bool(machine.brain_id) or bool(machine.half),
        "manifests": plane,
        "etcd": machine.half == "init" or (brain is not None and machine.id in brain.members),
        "bootstrapping": bool(machine.half),
    }
    return Output(0, "".join(f"{name}={'yes' if fact else 'no'}\n" for name, fact in facts.items()), "")


def remove_member(world: World, brain: Brain, member: str) -> bool:
    """Take a member out of etcd; refused without a quorum, and when those who stay would be none."""
    staying = [one for one in brain.members if one != member]
    living = [one for one in staying if (found := world.machine(one)) is not None and found.lives(world.clock())]
    if not world.serves(brain) or len(living) < len(staying) // 2 + 1:
        return False
    brain.members = staying
    world.ground.put(brain)
    return True


def ca_hash(pem: bytes) -> str:
    """Give what nodes that join pin a cluster by."""
    public = x509.load_pem_x509_certificate(pem).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return f"sha256:{digest.finalize().hex()}"


def _no_plane_because(world: World, machine: Machine, brain: Brain) -> str:
    if missing := [path for path in _PLANE_FILES if path not in machine.files]:
        return f"the authorities are to be there before: {missing[0]} is missing"
    if machine.files[CA].strip() != brain.ca_pem.strip():
        return "the authority on this machine is not the cluster's"
    if any(one.half == HALF_PLANE for one in world.machines(machine.cluster)):
        return "etcdserver: too many learner members in cluster"
    return ""


def _discovered(world: World, join: dict[str, Any]) -> Brain | Output:
    discovery = join["discovery"]["bootstrapToken"]
    found = world.server(discovery["apiServerEndpoint"].rpartition(":")[0])
    if found is None:
        return _refused("couldn't validate the identity of the API Server: connection refused")
    brain = found[1]
    if ca_hash(brain.ca_pem) not in discovery["caCertHashes"]:
        return _refused("couldn't validate the identity of the API Server: none of the public keys were pinned")
    if brain.tokens.get(discovery["token"], 0.0) < world.clock():
        return _refused("could not find a JWS signature in the cluster-info ConfigMap for the token")
    return brain


def _register(world: World, machine: Machine, brain: Brain, version: str) -> None:
    brain.nodes[machine.name] = NodeObject(machine_id=machine.id, version=version, joined_at=world.clock())
    machine.half, machine.brain_id = "", brain.id
    machine.files[DONE] = b""
    brain.member_names[machine.id] = machine.name
    world.ground.put(machine)
    world.ground.put(brain)


def _documents(machine: Machine) -> dict[str, Any]:
    text = machine.files.get(CONFIG, b"").decode()
    documents = [json.loads(part) for part in text.split("\n---\n") if part.strip()]
    return {document["kind"]: document for document in documents}


def _refused(why: str) -> Output:
    return Output(1, "", f"error execution phase preflight: {why}")
