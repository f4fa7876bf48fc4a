"""What is run on machines to make nodes of them, as argument lists and files. Pure; `ports.Remote` carries it out.

kubeadm is no transaction: killed half-way it leaves a machine on which it will not start again. So a run that succeeded
leaves a mark, every run holds a lock that outlives the connection it was started by, and `LOOK` tells what is there;
`next_for` says from that what to do. All texts that a shell runs are fixed; what varies is passed as arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from kaas.crypto.pki import PKI_FOLDER, Pki, control_plane_files
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Role
from kaas.domain.ports import Output, RemoteFile

CONFIG: Final = "/run/kaas/kubeadm.yaml"
"""In memory only: it holds a token."""
_DONE = "/etc/kubernetes/kaas-joined"
_LOCK = "/run/kaas-kubeadm.lock"
BUSY: Final = 75
"""Exit code of a command below when another one is still at work on the machine."""
_LOCKED = ("flock", "--nonblock", "--conflict-exit-code", str(BUSY), _LOCK)

_LOOK_SCRIPT = f"""
yes_or_no() {{ if "$@" > /dev/null 2>&1; then echo yes; else echo no; fi; }}
flock --nonblock --conflict-exit-code {BUSY} "$2" true
echo "busy=$(yes_or_no test $? -eq {BUSY})"
echo "done=$(yes_or_no test -e "$1")"
echo "kubelet=$(yes_or_no test -s /etc/kubernetes/kubelet.conf)"
echo "manifests=$(yes_or_no test -e /etc/kubernetes/manifests/kube-apiserver.yaml)"
echo "etcd=$(yes_or_no test -d /var/lib/etcd/member)"
echo "bootstrapping=$(yes_or_no test -e /etc/kubernetes/bootstrap-kubelet.conf)"
"""

INIT: Final = (
    *_LOCKED,
    *("sh", "-c", 'kubeadm init --config "$1" --skip-token-print && touch "$2"', "sh", CONFIG, _DONE),
)
"""Makes the first control plane, after `init_files` were put."""
JOIN: Final = (*_LOCKED, *("sh", "-c", 'kubeadm join --config "$1" && touch "$2"', "sh", CONFIG, _DONE))
"""Makes a node, after `join_files` were put."""
RESET: Final = (
    *_LOCKED,
    *("sh", "-c", 'rm -f "$1" "$2" && kubeadm reset --force --cleanup-tmp-dir', "sh", CONFIG, _DONE),
)
"""Undoes a half-done init or join, PKI files included. Only where `next_for` says so."""
SEAL: Final = (
    "rm",
    "-rf",
    *("/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf", "/etc/kubernetes/tmp", CONFIG),
    # Nothing that runs reads these two; who renews certificates later puts them there again.
    *(f"{PKI_FOLDER}/etcd/ca.key", f"{PKI_FOLDER}/front-proxy-ca.key"),
)
"""Takes away what a node does not need to run: credentials above all others, tokens, keys of authorities."""
DROP_CONFIG: Final = ("rm", "-f", CONFIG)
"""Takes kubeadm's configuration away, as soon as a run of it has ended either way."""
KUBELET_LOG: Final = ("journalctl", "--unit=kubelet", "--boot", "--no-pager", "--quiet", "--lines=200")
"""What says why a node does not come up, when kubeadm only says that it waited."""

LOOK: Final = ("sh", "-c", _LOOK_SCRIPT, "sh", _DONE, _LOCK)
"""Tells in what state a machine is; `facts_of` reads its output."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is on a machine."""

    busy: bool
    """kubeadm still runs, maybe for a conductor that is gone."""
    done: bool
    """An init or join has succeeded."""
    kubelet: bool
    """The kubelet has its own credential."""
    manifests: bool
    """There is an API server."""
    etcd: bool
    """There is a member's data."""
    bootstrapping: bool
    """The kubelet was about to get its credential."""

    @property
    def untouched(self) -> bool:
        """Whether kubeadm has never got far here."""
        return not (self.kubelet or self.manifests or self.etcd or self.bootstrapping)


class Next(Enum):
    """What to do with a machine that is to become a node."""

    DONE = "done"
    RUN = "run"
    RESET_THEN_RUN = "reset, then run"
    WAIT = "wait"
    REPLACE = "replace"
    """Neither can it go on nor may it be reset: its data may be the cluster's."""


def init_files(pki: Pki, config: str) -> Mapping[str, RemoteFile]:
    """Give what the first control plane needs before `INIT`."""
    return {**control_plane_files(pki), CONFIG: RemoteFile(config.encode())}


def join_files(config: str, *, pki: Pki | None = None) -> Mapping[str, RemoteFile]:
    """Give what a node needs before `JOIN`; `pki` for a control plane, so that no keys go through the cluster."""
    authorities = control_plane_files(pki) if pki is not None else {}
    return {**authorities, CONFIG: RemoteFile(config.encode())}


def facts_of(output: Output, *, node: str) -> Facts:
    """Read what `LOOK` said. Raises StepError (BOOTSTRAP_FAILED) when it is something else."""
    said = dict(line.partition("=")[::2] for line in output.stdout.splitlines())
    if output.exit_code != 0 or any(said.get(name) not in ("yes", "no") for name in Facts.__dataclass_fields__):
        raise StepError(
            Code.BOOTSTRAP_FAILED,
            f"{node}: the machine does not tell what state it is in (exit code {output.exit_code}); "
            "its image lacks a shell, coreutils or util-linux",
        )
    return Facts(**{name: said[name] == "yes" for name in Facts.__dataclass_fields__})


def next_for(facts: Facts, role: Role, *, cluster_runs: bool, node_known: bool) -> Next:
    """Decide what becomes of a machine.

    `cluster_runs`: the cluster is known to have come up once, so that etcd data may be its data; on the first control
    plane that is so from the end of `init` on. `node_known`: the cluster has a Node of that name.
    """
    if facts.busy:
        return Next.WAIT
    if facts.done or (role is Role.WORKER and facts.kubelet and node_known):
        return Next.DONE
    if facts.untouched:
        return Next.RUN
    if facts.etcd and cluster_runs:
        return Next.REPLACE
    return Next.RESET_THEN_RUN
