"""The commands of the document "Kubernetes as a Service", as they are written there."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from kaas.domain.states import OperationState
from tests.unit.kaas.api.rig import KUBECONFIG, VPC
from tests.unit.kaas.cli.rig import Service


def test_from_create_to_kubeconfig(service: Service, tmp_path: Path) -> None:
    made = service.cloud(
        "k8s", "create", "--name", "dev-cluster", "--vpc", VPC, "--workers", "2", "--version", "v1.29.0"
    )
    assert made.exit_code == 0, made.output
    assert "PENDING" in made.stdout
    snapshot = service.do(lambda rig: rig.snapshot("dev-cluster"))
    assert (snapshot.cluster.spec.version, snapshot.cluster.spec.vpc_id) == ("v1.29.0", VPC)
    service.do(lambda rig: rig.conduct(snapshot.cluster.id))
    listed = service.cloud("k8s", "list")
    assert "RUNNING" in listed.stdout
    assert snapshot.cluster.id in listed.stdout
    kubeconfig = service.cloud("k8s", "kubeconfig", snapshot.cluster.id)
    assert kubeconfig.stdout.startswith(KUBECONFIG)
    assert msgspec.yaml.decode(kubeconfig.stdout)["kind"] == "Config"


def test_the_program_as_a_process_of_its_own(service: Service, tmp_path: Path) -> None:
    """With the redirection of the document: nothing but the kubeconfig is in the file."""
    made = service.do(lambda rig: rig.running("dev-cluster"))
    file = tmp_path / "kubeconfig.yaml"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CLOUD_API_URL": service.url,
        "CLOUD_API_KEY": "key-of-ada",
    }
    program = "from kaas.cli.app import main; main()"
    with file.open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", program, "k8s", "kubeconfig", made["id"]],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environ,
            check=False,
            timeout=50,
        )
    assert done.returncode == 0, done.stderr
    assert msgspec.yaml.decode(file.read_bytes())["current-context"] == "dev-cluster-admin"
    assert b"good until" in done.stderr


def test_all_options_of_create(service: Service) -> None:
    words = ["-n", "dev", "-v", VPC, "-V", "v1.30.2", "-w", "3", "--ha", "--isolate", "--pod-cidr", "172.16.0.0/16"]
    made = service.cloud("kubernetes", "create", *words, "--cni", "flannel", "-o", "name")
    assert (made.exit_code, made.stdout) == (0, "dev\n")
    spec = service.do(lambda rig: rig.snapshot("dev")).cluster.spec
    assert (spec.version, spec.is_ha, spec.network_isolation) == ("v1.30.2", True, True)
    assert (spec.pod_cidr, spec.cni, spec.worker_groups[0].size) == ("172.16.0.0/16", "flannel", 3)


def test_the_defaults_are_the_services(service: Service) -> None:
    assert service.cloud("k8s", "create", "--name", "dev").exit_code == 0
    spec = service.do(lambda rig: rig.snapshot("dev")).cluster.spec
    assert (spec.version, spec.vpc_id, spec.worker_groups[0].size, spec.is_ha) == ("v1.29.0", VPC, 2, False)


def test_rm_and_its_alias(service: Service) -> None:
    made = service.do(lambda rig: rig.running("dev"))
    for command in ("rm", "delete"):
        done = service.cloud("cluster", command, "dev", "--yes")
        assert done.exit_code == 0, done.output
    running = service.do(lambda rig: rig.snapshot("dev")).operation
    assert running is not None
    assert running.state is OperationState.PENDING
    assert made["id"] == running.cluster_id
