import json
import stat
from pathlib import Path

import msgspec
import pytest

from kaas.domain.model import Event
from kaas.domain.states import StepState
from tests.unit.kaas.api.rig import GREEN, SSH_KEY, Rig
from tests.unit.kaas.cli.rig import Service


@pytest.fixture
def running(service: Service) -> str:
    return str(service.do(lambda rig: rig.running("dev"))["id"])


@pytest.mark.parametrize("ref", ["name", "id"])
def test_ids_or_names_everywhere(service: Service, running: str, ref: str) -> None:
    cluster = "dev" if ref == "name" else running
    for words in (
        ["show", cluster],
        ["health", cluster],
        ["kubeconfig", cluster],
        ["ssh-key", cluster],
        ["events", cluster],
        ["operations", cluster],
        ["nodegroup", "list", cluster],
        ["scale", cluster, "3", "--dry-run"],
        ["repair", cluster, "--dry-run"],
        ["rm", cluster, "--dry-run"],
    ):
        done = service.cloud("k8s", *words)
        assert done.exit_code == 0, done.output
        assert done.stdout


def test_forms_of_output(service: Service, running: str) -> None:
    assert json.loads(service.cloud("k8s", "list", "-o", "json").stdout)[0]["id"] == running
    assert msgspec.yaml.decode(service.cloud("k8s", "list", "-o", "yaml").stdout)[0]["name"] == "dev"
    assert service.cloud("k8s", "list", "-o", "name").stdout == "dev\n"
    assert json.loads(service.cloud("k8s", "show", "dev", "-o", "json").stdout)["id"] == running
    assert json.loads(service.cloud("k8s", "list", "-o", "json", tenant=GREEN).stdout) == []
    assert service.cloud("k8s", "list", tenant=GREEN).stdout.split() == [
        *("ID", "NAME", "STATUS", "VERSION", "WORKERS", "HA", "ENDPOINT", "AGE")
    ]
    assert service.cloud("k8s", "list", "-o", "xml").exit_code == 2


def test_show_has_nodes_and_groups(service: Service, running: str) -> None:
    text = service.cloud("k8s", "show", "dev").stdout
    for words in (running, "RUNNING", "10.77.0.10:6443", "default-pool 2", "dev-default-pool-1", "ready"):
        assert words in text


def test_scale_takes_the_number_in_both_ways(service: Service, running: str) -> None:
    assert service.cloud("k8s", "scale", "dev", "3").exit_code == 0
    assert service.cloud("k8s", "scale", "dev", "--workers", "4").exit_code == 0
    assert service.do(lambda rig: rig.snapshot("dev")).cluster.spec.worker_groups[0].size == 4
    for words in (["dev"], ["dev", "3", "-w", "4"], ["dev", "many"]):
        assert service.cloud("k8s", "scale", *words).exit_code == 2


def test_a_plan_changes_nothing(service: Service, running: str) -> None:
    done = service.cloud("k8s", "scale", "dev", "4", "--dry-run")
    assert "dev-default-pool-*" in done.stdout
    assert "nodes 3 -> 5" in done.stderr
    assert service.cloud("k8s", "create", "-n", "other", "--dry-run").exit_code == 0
    assert "volumes of claims are kept" in service.cloud("k8s", "rm", "dev", "--dry-run").stderr
    assert service.do(lambda rig: rig.clusters()) == ["dev"]
    assert service.do(lambda rig: rig.snapshot("dev")).cluster.generation == 1


def test_a_delete_asks_first(service: Service, running: str) -> None:
    done = service.cloud("k8s", "rm", "dev")
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    assert service.do(lambda rig: rig.snapshot("dev")).cluster.status == "running"
    assert service.cloud("k8s", "rm", "dev", "--yes", "--volumes").exit_code == 0
    operation = service.do(lambda rig: rig.snapshot("dev")).operation
    assert operation is not None
    assert operation.arguments == {"delete_volumes": True}


def test_kubeconfig_with_a_role_and_an_end(service: Service, running: str) -> None:
    done = service.cloud("k8s", "kubeconfig", "dev", "--role", "reader", "--expires-in", "1h30m")
    assert done.exit_code == 0
    asked = service.do(_asked)
    assert asked == [("ada", "reader", 5400.0)]
    done = service.cloud("k8s", "kubeconfig", "dev", "--role", "admin", role="reader")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "permission denied" in done.stderr
    assert service.cloud("k8s", "kubeconfig", "dev", "--expires-in", "soon").exit_code == 2


async def _asked(rig: Rig) -> list[tuple[str, str, float]]:
    return rig.access.asked


def test_ssh_key_to_standard_output_or_a_new_private_file(service: Service, running: str, tmp_path: Path) -> None:
    done = service.cloud("k8s", "ssh-key", "dev")
    assert done.stdout == SSH_KEY
    assert "root@10.77.0.10" in done.stderr
    file = tmp_path / "key"
    done = service.cloud("k8s", "ssh-key", "dev", "--file", str(file))
    assert (done.exit_code, done.stdout, file.read_text()) == (0, "", SSH_KEY)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    done = service.cloud("k8s", "ssh-key", "dev", "--file", str(file))
    assert (done.exit_code, "cannot be written" in done.stderr) == (1, True)
    assert service.cloud("k8s", "ssh-key", "dev", role="member").exit_code == 1


def test_who_may_reach_a_cluster_can_be_said(service: Service) -> None:
    words = ["--api-from", "10.0.0.0/8", "--api-from", "192.0.2.0/24", "--node-ports-from", "10.0.0.0/8"]
    assert service.cloud("k8s", "create", "-n", "narrow", *words).exit_code == 0
    access = service.do(lambda rig: rig.snapshot("narrow")).cluster.spec.access
    assert (access.api, access.node_ports) == (("10.0.0.0/8", "192.0.2.0/24"), ("10.0.0.0/8",))
    assert not access.open_node_network
    assert service.cloud("k8s", "create", "-n", "open", "--open-node-network").exit_code == 0
    assert service.do(lambda rig: rig.snapshot("open")).cluster.spec.access.open_node_network


def test_node_groups(service: Service, running: str) -> None:
    words = ["gpu", "--type", "standard-4", "--size", "1", "--min-size", "0", "--label", "gpu=yes"]
    done = service.cloud("k8s", "nodegroup", "create", "dev", *words, "--taint", "gpu=yes:NoSchedule")
    assert done.exit_code == 0, done.output
    group = service.do(lambda rig: rig.snapshot("dev")).cluster.spec.worker_groups[1]
    assert (group.name, group.size, group.min_size, group.labels) == ("gpu", 1, 0, {"gpu": "yes"})
    assert (group.taints[0].key, group.taints[0].effect) == ("gpu", "NoSchedule")
    assert "gpu" in service.cloud("k8s", "nodegroup", "list", "dev").stdout
    assert service.cloud("k8s", "nodegroup", "update", "dev", "gpu", "--size", "2").exit_code == 0
    asked = service.cloud("k8s", "nodegroup", "rm", "dev", "gpu")
    assert (asked.exit_code, "--yes" in asked.stderr) == (2, True)
    assert service.cloud("k8s", "nodegroup", "rm", "dev", "gpu", "--dry-run").exit_code == 0
    assert len(service.do(lambda rig: rig.snapshot("dev")).cluster.spec.worker_groups) == 2
    assert service.cloud("k8s", "nodegroup", "delete", "dev", "gpu", "--yes").exit_code == 0
    assert len(service.do(lambda rig: rig.snapshot("dev")).cluster.spec.worker_groups) == 1
    for bad in (["--label", "gpu"], ["--taint", "gpu"]):
        assert service.cloud("k8s", "nodegroup", "create", "dev", "x", *bad).exit_code == 2


def test_operations_and_cancel(service: Service, running: str) -> None:
    service.cloud("k8s", "scale", "dev", "3")
    listed = service.cloud("k8s", "operations", "-o", "name").stdout.split()
    assert len(listed) == 2
    assert service.cloud("k8s", "cancel", listed[0]).exit_code == 0
    operation = service.do(lambda rig: rig.snapshot("dev")).operation
    assert operation is not None
    assert operation.cancel_requested
    seen = service.cloud("k8s", "operations", listed[1])
    assert "preflight" in seen.stdout
    assert "create  succeeded" in seen.stderr
    for words in (["operations", "nope"], ["operations", "nope", "--wait"], ["cancel", "nope"]):
        assert service.cloud("k8s", *words).exit_code == 1


def test_events_of_a_terminal_drawing_kind_stay_text(service: Service, running: str) -> None:
    async def add(rig: Rig) -> None:
        async with rig.lease(running) as lease:
            event = Event(running, "ODD", "\x1b[31mred\x1b[0m [bold]not markup[/bold]\x07\x9b2J")
            await rig.store.conducting.add_event(lease, event)

    service.do(add)
    for form in ("json", "yaml"):
        assert not {"\x1b", "\x07", "\x9b"} & set(service.cloud("k8s", "events", "dev", "-o", form).stdout)
    said = json.loads(service.cloud("k8s", "events", "dev", "-o", "json").stdout)
    assert said[-1]["message"].endswith("\x9b2J")
    text = service.cloud("k8s", "events", "dev").stdout
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "[bold]not markup[/bold]" in text


@pytest.mark.parametrize(
    "words",
    [
        ["upgrade", "dev", "--version", "v1.30.2"],
        ["backup", "dev"],
        ["restore", "dev", "--path", "k8s-backups/x"],
        ["rotate-secrets", "dev"],
    ],
)
def test_what_comes_next_has_an_exit_code_of_its_own(service: Service, running: str, words: list[str]) -> None:
    done = service.cloud("k8s", *words)
    assert (done.exit_code, done.stdout) == (5, "")
    assert "come next" in done.stderr


def test_everything_that_is_wrong_is_told(service: Service) -> None:
    done = service.cloud("k8s", "create", "-n", "X", "-w", "0", "--pod-cidr", "fd00::/48")
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("cloud: the cluster cannot be created: name:")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["name", "workers", "pod_cidr"]
    assert service.do(lambda rig: rig.clusters()) == []


def test_what_is_not_there(service: Service) -> None:
    for words in (["show", "nope"], ["kubeconfig", "nope"], ["scale", "nope", "2"], ["events", "nope"]):
        done = service.cloud("k8s", *words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "cloud k8s list" in done.stderr
    assert service.cloud("k8s", "show", "..").exit_code == 2
    assert service.cloud("k8s", "show", "a/../../metrics").exit_code == 1


def test_a_program_that_reads_along_is_told_what_a_change_became(service: Service, running: str) -> None:
    done = service.cloud("k8s", "scale", "dev", "3", "-o", "json")
    told = json.loads(done.stdout)
    assert (told["kind"], told["cluster_id"]) == ("scale", running)
    assert told["id"] in done.stderr
    assert service.cloud("k8s", "operations", "dev", "-o", "name").stdout.split()[0] == told["id"]


def test_a_second_delete_does_not_pretend_to_take_the_volumes_too(service: Service, running: str) -> None:
    assert service.cloud("k8s", "rm", "dev", "--yes").exit_code == 0
    assert service.cloud("k8s", "rm", "dev", "--yes").exit_code == 0
    done = service.cloud("k8s", "rm", "dev", "--yes", "--delete-volumes")
    assert done.exit_code == 1
    assert "volumes are kept" in done.stderr


def test_the_end_of_a_delete_names_the_volumes_that_are_kept(service: Service, running: str) -> None:
    asked = service.cloud("k8s", "rm", "dev", "--yes", "-o", "name").stdout.strip()

    async def end(rig: Rig) -> None:
        async with rig.lease(running) as lease:
            step = await rig.store.conducting.begin_step(lease, asked, "kept-volumes", "1")
            kept = {"volumes": [{"id": "vol-7", "name": "pvc-data"}]}
            await rig.store.conducting.end_step(lease, step, StepState.DONE, result=kept)
        await rig.conduct(running)

    service.do(end)
    done = service.cloud("k8s", "operations", asked, "--wait", "-o", "json")
    assert json.loads(done.stdout)["kept_volumes"] == [{"id": "vol-7", "name": "pvc-data"}]
    assert "volume pvc-data (vol-7)" in done.stderr
