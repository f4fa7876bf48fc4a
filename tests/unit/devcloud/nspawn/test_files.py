"""What a machine finds in its files."""

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from devcloud.machines import Machine
from devcloud.nspawn import files
from devcloud.nspawn.files import NETWORK_FILE, File, Surroundings

ID = "0f8f4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"
MACHINE = Machine(ID, "web", "web.example.org", "debian", "10.77.0.21", zone="zone-1")
AROUND = Surroundings(IPv4Network("10.77.0.0/24"), IPv4Network("192.168.0.0/16"), "http://10.77.0.1:8080")


def test_machine_is_who_the_platform_says() -> None:
    made = files.files_of(MACHINE, AROUND)

    assert made["etc/hostname"].content == "web.example.org\n"
    assert made["etc/machine-id"] == File("0f8f4a2e8f3c4f439d5e0c8f5b1f7f11\n", 0o444)
    assert set(made) == {"etc/hostname", "etc/machine-id", NETWORK_FILE}


def test_network_file_comes_before_the_distributions() -> None:
    text = files.files_of(MACHINE, AROUND)[NETWORK_FILE].content

    assert Path(NETWORK_FILE).name < "80-container-host0.network"
    assert "Name=host0\n" in text
    assert "Address=10.77.0.21/24\nGateway=10.77.0.1\n" in text


def test_keys_are_for_root_only(tmp_path: Path) -> None:
    made = files.files_of(replace(MACHINE, authorized_keys=("ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b")), AROUND)
    files.write_files(tmp_path, made)

    keys = tmp_path / "root/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n"
    assert (keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_environment_survives_a_shell(tmp_path: Path) -> None:
    odd = ("A=it's $HOME `id`", "B=", "no equals sign", "1BAD=x", "C D=x")
    made = files.files_of(replace(MACHINE, environment=odd), AROUND)
    files.write_files(tmp_path, made)

    script = f'. {tmp_path}/etc/profile.d/devcloud.sh; printf "%s|%s" "$A" "${{B-unset}}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "it's $HOME `id`|"


def test_commands_run_once_and_one_after_the_other(tmp_path: Path) -> None:
    wanted = (f"echo 'one' >> {tmp_path}/out", "false", f"echo two >> {tmp_path}/out")
    made = files.files_of(replace(MACHINE, commands=wanted), AROUND)
    script = made["var/lib/devcloud/first-boot.sh"]
    unit = made["etc/systemd/system/devcloud-first-boot.service"].content
    files.write_files(tmp_path, made)

    text = script.content.replace("/var/lib/devcloud", str(tmp_path / "var/lib/devcloud"))
    subprocess.run(["sh", "-c", text], check=True)
    assert (tmp_path / "out").read_text() == "one\ntwo\n"
    assert script.mode == 0o700
    assert "ConditionPathExists=!/var/lib/devcloud/first-boot.done" in unit
    assert (tmp_path / "var/lib/devcloud/first-boot.done").exists()
    wanted_by = tmp_path / "etc/systemd/system/multi-user.target.wants/devcloud-first-boot.service"
    assert wanted_by.resolve() == tmp_path / "etc/systemd/system/devcloud-first-boot.service"


def test_files_of_the_image_are_replaced_and_links_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").symlink_to(outside)
    (root / "etc/machine-id").write_text("of the image")

    files.write_files(root, files.files_of(MACHINE, AROUND))

    assert outside.read_text() == "mine"
    assert (root / "etc/hostname").read_text() == "web.example.org\n"
    assert (root / "etc/machine-id").read_text() == ID.replace("-", "") + "\n"


def test_instance_data_is_what_the_node_plugin_reads() -> None:
    data = json.loads(files.instance_data(MACHINE, AROUND))

    assert (data["v1"]["instance_id"], data["v1"]["availability_zone"]) == (ID, "zone-1")
    assert data["devcloud"] == {
        "name": "web",
        "private_ip": "10.77.0.21",
        "gateway": "10.77.0.1",
        "pod_range": "192.168.21.0/24",
        "api_url": "http://10.77.0.1:8080",
    }


def test_every_machine_is_found_by_host_name_and_name() -> None:
    other = Machine("id-2", "ünï cödé", "thecloud-12345678", "debian", "10.77.0.5")
    same = Machine("id-3", "same", "same", "debian", "10.77.0.6")

    lines = files.hosts([MACHINE, other, same]).splitlines()

    assert lines[0] == "127.0.0.1 localhost"
    assert sorted(lines[2:]) == ["10.77.0.21 web.example.org web", "10.77.0.5 thecloud-12345678", "10.77.0.6 same"]


def test_file_that_is_mounted_is_overwritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    files.overwrite(path, "a long content\n")
    before = path.stat().st_ino
    files.overwrite(path, "short\n")

    assert (path.read_text(), path.stat().st_ino) == ("short\n", before)
