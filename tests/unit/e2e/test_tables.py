"""The tables of programs, images and machine files agree with each other and with the pinned modules."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.cluster import rootfs
from tests.e2e.cluster.binaries import (
    KUBERNETES_VERSION,
    MODULES,
    STAGING_VERSION,
    TOOLS,
    Tool,
    default_name,
    tool_of,
)
from tests.e2e.cluster.cache import Artefact
from tests.e2e.cluster.images import IMAGES, KUBEADM_IMAGES, PAUSE, TOOLS_IMAGE, images_artefact
from tests.e2e.cluster.machine_image import machine_image_artefact

SYSTEM = Artefact("cluster/debian", "some", "0123")
PINNED = [tool for tool in TOOLS if tool.own_module]
NAMES = {name for image in IMAGES for name in image.names}


def _go_mod(tool: Tool) -> str:
    return (MODULES / tool.name / "go.mod").read_text()


def test_every_program_comes_from_one_tool() -> None:
    programs = [program for tool in TOOLS for program in tool.programs]
    assert len(programs) == len(set(programs))
    with pytest.raises(KeyError):
        tool_of("no-such-program")


@pytest.mark.parametrize("tool", PINNED, ids=lambda tool: tool.name)
def test_the_pinned_modules_are_those_of_the_table(tool: Tool) -> None:
    text = _go_mod(tool)
    wanted = {tool.module: tool.version, **tool.also}
    if f"module {tool.module}\n" in text:
        return
    for module, version in wanted.items():
        assert re.search(rf"^\t{re.escape(module)} {re.escape(version)}( // indirect)?$", text, re.MULTILINE), module
    sums = (MODULES / tool.name / "go.sum").read_text()
    assert f"{tool.module} {tool.version} h1:" in sums


@pytest.mark.parametrize("tool", PINNED, ids=lambda tool: tool.name)
def test_the_pinned_modules_name_every_package_that_is_built(tool: Tool) -> None:
    text = _go_mod(tool)
    for package in (*tool.packages.values(), *tool.tests.values()):
        assert f"module {package}\n" in text or re.search(rf"^(tool |\t){re.escape(package)}$", text, re.MULTILINE)


def test_every_folder_of_pinned_modules_belongs_to_a_tool_that_uses_it() -> None:
    assert {path.name for path in MODULES.iterdir()} == {tool.name for tool in PINNED}


def test_kubernetes_takes_its_own_modules_in_its_own_version() -> None:
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", _go_mod(tool_of("kubelet")), re.MULTILINE)
    assert len(replaced) == 33
    assert all(name == other and version == STAGING_VERSION for name, other, version in replaced)
    assert KUBERNETES_VERSION.replace("v1.", "v0.") == STAGING_VERSION


def test_no_pinned_module_reaches_outside_of_its_folder() -> None:
    for tool in PINNED:
        assert "=> ." not in _go_mod(tool)
        assert "=> /" not in _go_mod(tool)


def test_the_stamp_of_kubernetes_is_its_version() -> None:
    stamps = {name.rpartition(".")[2]: value for name, value in tool_of("kubelet").variables.items()}
    assert stamps["gitVersion"] == KUBERNETES_VERSION
    assert KUBERNETES_VERSION.startswith(f"v{stamps['gitMajor']}.{stamps['gitMinor']}.")


def test_the_name_that_go_gives_is_known() -> None:
    assert default_name("go.etcd.io/etcd/server/v3") == "server"
    assert default_name("k8s.io/kubernetes/cmd/kubelet") == "kubelet"
    assert default_name("thecloud.example/pause") == "pause"


def test_a_changed_version_or_pin_is_another_artefact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tool_of("etcd")
    keys = {tool.artefact.key}
    keys.add(replace(tool, version="v9.9.9").artefact.key)
    keys.add(replace(tool, variables={"a": "b"}).artefact.key)
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "go.mod").write_text("module other\n")
    monkeypatch.setattr("tests.e2e.cluster.binaries.MODULES", tmp_path)
    keys.add(tool.artefact.key)
    assert len(keys) == 4


def test_every_program_of_an_image_is_built() -> None:
    for image in IMAGES:
        for program in image.programs.values():
            assert tool_of(program)


def test_no_two_images_have_the_same_name_or_archive() -> None:
    assert len(NAMES) == sum(len(image.names) for image in IMAGES)
    assert len({image.file_name for image in IMAGES}) == len(IMAGES)


def test_what_an_image_starts_is_in_it() -> None:
    for image in IMAGES:
        started = (image.entrypoint or image.command)[0]
        there = {*image.programs, *image.debian, *image.links}
        assert started in there or started in {Path(path).name for path in there} or image.busybox, image.names


def test_the_images_that_kubeadm_asks_for_are_there() -> None:
    assert {
        "registry.k8s.io/kube-apiserver:v1.36.3",
        "registry.k8s.io/kube-controller-manager:v1.36.3",
        "registry.k8s.io/kube-scheduler:v1.36.3",
        "registry.k8s.io/kube-proxy:v1.36.3",
        "registry.k8s.io/coredns/coredns:v1.14.2",
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/etcd:3.6.8-0",
    } == KUBEADM_IMAGES
    assert KUBEADM_IMAGES <= NAMES


def test_the_images_of_the_sidecars_and_of_the_upstream_suite_are_there() -> None:
    assert {
        "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0",
        "registry.k8s.io/sig-storage/csi-attacher:v4.13.0",
        "registry.k8s.io/sig-storage/csi-resizer:v2.3.0",
        "registry.k8s.io/sig-storage/csi-snapshotter:v8.7.0",
        "registry.k8s.io/sig-storage/snapshot-controller:v8.7.0",
        "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
        "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
        "registry.k8s.io/e2e-test-images/nginx:1.15-4",
        "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
    } <= NAMES
    assert TOOLS_IMAGE in NAMES


def test_no_image_is_named_latest_so_that_none_is_pulled() -> None:
    for name in NAMES:
        assert re.fullmatch(r"registry\.k8s\.io/[a-z0-9/-]+:v?\d[\w.-]*", name)


def test_every_program_of_a_machine_is_built() -> None:
    for names in rootfs.PROGRAMS.values():
        for name in names:
            assert tool_of(name)


def test_the_runtime_of_a_machine_starts_pods_from_the_image_that_is_there() -> None:
    config = tomllib.loads((rootfs.FILES / "etc/containerd/config.toml").read_text())
    plugins = config["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == PAUSE
    runtime = plugins["io.containerd.cri.v1.runtime"]
    assert runtime["cni"]["bin_dirs"] == [next(path for path, names in rootfs.PROGRAMS.items() if "bridge" in names)]
    assert runtime["cni"]["conf_dir"].lstrip("/") in rootfs.FOLDERS
    assert runtime["restrict_oom_score_adj"]


def test_the_units_of_a_machine_start_programs_that_are_installed() -> None:
    installed = {f"{folder}/{name}" for folder, names in rootfs.PROGRAMS.items() for name in names}
    for unit in ("containerd.service", "kubelet.service"):
        text = (rootfs.FILES / "etc/systemd/system" / unit).read_text()
        assert unit in rootfs.ENABLED
        assert set(re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)) <= installed


def test_names_are_not_resolved_on_loopback() -> None:
    servers = re.findall(r"^nameserver (\S+)$", (rootfs.FILES / "etc/resolv.conf").read_text(), re.MULTILINE)
    assert servers
    assert not any(server.startswith("127.") or server == "::1" for server in servers)


def test_a_machine_has_the_nodes_of_its_loop_devices() -> None:
    lines = rootfs.loop_nodes().splitlines()
    assert lines[0] == "c /dev/loop-control 0660 root disk - 10:237"
    assert lines[1] == "b /dev/loop0 0660 root disk - 7:0"
    assert lines[-1] == "b /dev/loop63 0660 root disk - 7:63"


def test_a_changed_file_of_the_machine_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = machine_image_artefact(SYSTEM)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "file").touch()
    monkeypatch.setattr(rootfs, "FILES", tmp_path)
    assert machine_image_artefact(SYSTEM).key != before.key
    assert machine_image_artefact(Artefact("cluster/debian", "some", "4567")).key != before.key


def test_another_system_makes_other_images() -> None:
    assert images_artefact(SYSTEM).key != images_artefact(Artefact("cluster/debian", "some", "4567")).key
