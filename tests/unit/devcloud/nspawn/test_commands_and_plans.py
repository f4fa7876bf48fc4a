"""What is run on the host: the container, the network, commands inside; as text, without running it."""

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from devcloud.errors import BackendError, MissingError
from devcloud.machines import Machine
from devcloud.nspawn import enter, mounting
from devcloud.nspawn.backend import site_name
from devcloud.nspawn.cgroups import Cgroups, Hierarchy
from devcloud.nspawn.image import MachineImage
from devcloud.nspawn.launcher import Site, nspawn_command
from devcloud.nspawn.network import Network
from devcloud.nspawn.processes import Process, boot_id, identify
from devcloud.nspawn.records import MachineFolder, Run

CPU = Hierarchy(Path("/sys/fs/cgroup/cpu"), frozenset({"cpu"}), 1)
RANGE = IPv4Network("10.77.0.0/24")


def machine(instance_id: str, name: str, hostname: str) -> Machine:
    return Machine(instance_id, name, hostname, "debian", "10.77.0.5")


def test_container_is_the_machine_that_the_platform_wants() -> None:
    site = Site(Path("/d/nspawn"), Network("devcloud-1", RANGE), Cgroups("devcloud-1", [CPU]), {})
    image = MachineImage("debian", Path("/i/root"), "/sbin/init", {"/var/lib/containerd": Path("/i/containerd")})

    words = nspawn_command(machine("id-1", "web", "web.example.org"), site.folder("id-1"), image, site)

    assert words[:2] == ["nsenter", "--net=/run/netns/devcloud-1"]
    assert {"--directory=/d/nspawn/machines/id-1/root", "--machine=i-id-1", "--uuid=id-1"} <= set(words)
    assert {"--hostname=web.example.org", "--network-bridge=br0", "--keep-unit", "--register=no"} <= set(words)
    assert "--bind=/d/nspawn/machines/id-1/data/var-lib-containerd:/var/lib/containerd" in words
    assert "--bind-ro=/d/nspawn/hosts:/etc/hosts" in words
    assert words[-3:] == ["boot", "/sbin/init", "/sys/fs/cgroup/cpu"]


def test_names_on_this_host_follow_from_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "one")

    assert site_name(tmp_path / "one") == site_name(tmp_path / "link")
    assert site_name(tmp_path / "one") != site_name(tmp_path / "two")
    assert len(site_name(tmp_path / "one")) == len("devcloud-") + 8


def test_network_leads_nowhere_but_to_instances_and_their_pods() -> None:
    plan = Network("devcloud-1", IPv4Network("10.77.0.0/29"), IPv4Network("192.168.0.0/21")).plan().splitlines()

    assert "addr replace 10.77.0.1/29 dev br0" in plan
    assert "route replace unreachable default" in plan
    assert [line for line in plan if "via" in line] == [
        f"route replace 192.168.{index}.0/24 via 10.77.0.{index}" for index in range(2, 7)
    ]
    assert "via" not in Network("devcloud-1", RANGE).plan()


def test_command_inside_has_a_clean_environment() -> None:
    words = enter.enter_command(77, ["ls", "-l"], term="xterm")

    assert words[:3] == ["nsenter", "--target", "77"]
    assert words[words.index("env") :][:2] == ["env", "-i"]
    assert words[-3:] == ["TERM=xterm", "ls", "-l"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for made in (machine("id-1", "web", "web.a"), machine("id-2", "web", "web.b"), machine("id-3", "db", "web")):
        folder = MachineFolder(tmp_path / "nspawn/machines" / made.instance_id)
        folder.path.mkdir(parents=True)
        folder.write_machine(made)
    # One whose making was cut short.
    (tmp_path / "nspawn/machines/id-4").mkdir()
    return tmp_path


@pytest.mark.parametrize("wanted", ["id-3", "db", "web", "web.a"])
def test_machine_is_found_by_id_then_host_name_then_name(data_dir: Path, wanted: str) -> None:
    with pytest.raises(BackendError, match=f"machine of instance {wanted} does not run"):
        enter.find_running(data_dir, wanted)


def test_machine_that_is_not_there_or_not_one_is_named(data_dir: Path) -> None:
    with pytest.raises(MissingError, match="db, web, web"):
        enter.find_running(data_dir, "id-4")
    MachineFolder(data_dir / "nspawn/machines/id-3").write_machine(machine("id-3", "db", "db"))
    with pytest.raises(MissingError, match="several have this name"):
        enter.find_running(data_dir, "web")


def test_only_a_proved_process_is_entered(data_dir: Path) -> None:
    own = identify(os.getpid())
    assert own is not None
    folder = MachineFolder(data_dir / "nspawn/machines/id-3")
    folder.write_run(Run(boot_id(), own, own))
    assert enter.find_running(data_dir, "db") == own.pid

    folder.write_run(Run(boot_id(), own, Process(own.pid, own.started + 1)))
    with pytest.raises(BackendError, match="does not run"):
        enter.find_running(data_dir, "db")


def test_mounts_below_a_folder_are_found_oldest_first(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    below, odd = tmp_path / "a", tmp_path / "a/b c"
    lines = [below, tmp_path / "ab", odd, Path("/")]
    table.write_text("".join(f"1 2 0:3 / {str(path).replace(' ', chr(92) + '040')} rw - x x rw\n" for path in lines))

    assert mounting.points_below(below, table) == [below, odd]
