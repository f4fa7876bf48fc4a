"""Machines of the platform: who they are, whom they reach, and how they start, stop, reboot and die."""

import os
import signal
from pathlib import Path

import pytest

from devcloud import commands
from devcloud.errors import BackendError
from devcloud.nspawn import enter
from devcloud.nspawn.processes import identify
from tests.integration.nspawn.conftest import Machines

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFtYWxnYW1hdGVkLXRlc3Qta2V5LTAwMDAwMDAw someone@example.org"


async def test_machine_is_who_the_platform_says(pair: Machines) -> None:
    row = await pair.row("w1")

    assert await pair.shell("w1", "hostname") == "w1"
    assert await pair.shell("w1", "cat /etc/machine-id") == row["id"].replace("-", "")
    assert f"inet {row['private_ip']}/24" in await pair.shell("w1", "ip -4 addr show host0")
    data = await pair.shell("w1", "cat /run/cloud-init/instance-data.json")
    assert f'"instance_id": "{row["id"]}"' in data
    assert f'"pod_range": "192.168.{row["private_ip"].rpartition(".")[2]}.0/24"' in data


async def test_machines_reach_each_other_and_the_platform_and_nothing_else(pair: Machines) -> None:
    await pair.shell("w1", "ping -c1 -W5 w2")
    await pair.shell("w2", "ping -c1 -W5 w1")
    await pair.shell("w1", "ping -c1 -W5 10.77.0.1")
    refused = await pair.run("w1", "ping", "-c1", "-W5", "203.0.113.1")
    assert refused.exit_code != 0
    assert "Unreachable" in refused.output


async def test_platform_answers_in_the_network_of_the_machines(pair: Machines) -> None:
    port = pair.served.base_url.rpartition(":")[2]
    ask = f"exec 3<>/dev/tcp/10.77.0.1/{port}; printf 'GET /health/live HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"

    done = await pair.run("w1", "bash", "-c", ask)

    assert done.output.startswith("HTTP/1.1 200")


async def test_network_is_entered_by_the_data_folder(pair: Machines) -> None:
    namespace = f"{pair.served.data_dir}/nspawn/namespace"

    text = await commands.check(["nsenter", f"--net={namespace}", "ip", "-4", "addr"], timeout_s=10)

    assert "inet 10.77.0.1/24" in text
    assert "scope global br0" in text


async def test_machine_has_its_own_processes_groups_and_devices(pair: Machines) -> None:
    one, two = [await pair.shell(name, "cut -d' ' -f4 /proc/1/stat; ls /dev") for name in ("w1", "w2")]

    assert "vda" not in one.split() + two.split()
    assert "loop0" in one.split()
    # Its own groups look like a whole host's, and a kubelet can write there.
    assert "devcloud" not in await pair.shell("w1", "cat /proc/1/cgroup")
    await pair.shell("w1", "for g in memory cpu; do ! [ -d /sys/fs/cgroup/$g ] || mkdir /sys/fs/cgroup/$g/try; done")
    assert "try" not in await pair.shell("w2", "ls /sys/fs/cgroup/* ")


async def test_image_is_shared_and_never_written(pair: Machines, image: Path) -> None:
    await pair.shell("w1", "echo mine > /etc/new; echo mine > /var/lib/extra/marker")

    assert await pair.shell("w2", "ls /etc/new 2>/dev/null || cat /var/lib/extra/marker") == "of the image"
    assert not (image / "root/etc/new").exists()


async def test_commands_inside_keep_input_output_and_exit_code(pair: Machines) -> None:
    script = ["sh", "-c", "cat; echo no >&2; exit 7"]
    done = await enter.run(pair.served.data_dir, "w1", script, timeout_s=10, stdin=b"in")

    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in", b"no\n")


async def test_launch_carries_key_environment_and_commands(pair: Machines) -> None:
    key = await pair.data("POST", "/ssh-keys", json={"name": "mine", "public_key": PUBLIC_KEY})
    instance_id = await pair.launch(
        "w3", ssh_key_id=key["id"], env=["GREETING=hello there"], cmd=["echo $$ > /root/pid", "touch /root/done"]
    )
    await pair.settle("w3", "RUNNING")

    assert await pair.shell("w3", "cat /root/.ssh/authorized_keys") == PUBLIC_KEY
    assert await pair.shell("w3", ". /etc/profile; echo $GREETING") == "hello there"
    await pair.shell("w3", "until [ -e /root/done ]; do sleep 0.1; done")
    assert (await pair.client.get("/instances/w3/logs")).status_code == 200
    await pair.data("DELETE", f"/instances/{instance_id}")
    assert (await pair.run("w1", "grep", "w3", "/etc/hosts")).exit_code == 1


async def test_reboot_inside_comes_back(pair: Machines) -> None:
    before = await pair.shell("w2", "echo kept > /root/kept; cat /proc/sys/kernel/random/boot_id")
    old = identify(pair.leader("w2"))
    assert old is not None
    await pair.run("w2", "systemctl", "reboot")

    await pair.settle_run("w2", after=old)

    assert (await pair.row("w2"))["status"] == "RUNNING"
    assert await pair.shell("w2", "cat /proc/sys/kernel/random/boot_id") != before
    assert await pair.shell("w2", "cat /root/kept") == "kept"


async def test_stop_and_start(pair: Machines) -> None:
    await pair.data("POST", "/instances/w2/stop")
    assert (await pair.row("w2"))["status"] == "STOPPED"
    with pytest.raises(BackendError, match="does not run"):
        pair.leader("w2")
    await pair.data("POST", "/instances/w2/start")
    await pair.settle("w2", "RUNNING")
    await pair.shell("w2", "ping -c1 -W5 w1")


async def test_power_off_inside_is_stopped(pair: Machines) -> None:
    await pair.run("w2", "systemctl", "poweroff")
    await pair.settle("w2", "STOPPED")
    await pair.data("POST", "/instances/w2/start")
    await pair.settle("w2", "RUNNING")


async def test_machine_that_is_killed_is_an_error_and_starts_again(pair: Machines) -> None:
    os.kill(pair.leader("w2"), signal.SIGKILL)
    await pair.settle("w2", "ERROR")
    event = (await pair.data("GET", "/events?limit=1"))[0]
    assert (event["action"], event["metadata"]["name"]) == ("INSTANCE_ERROR", "w2")
    assert "KILL" in event["metadata"]["reason"]

    await pair.data("POST", "/instances/w2/start")
    await pair.settle("w2", "RUNNING")


async def test_paused_machine_stands_still(pair: Machines) -> None:
    # A unit is in the machine's groups; a command from outside is not.
    await pair.shell("w2", "systemd-run -q --unit=ticks sh -c 'while echo x; do sleep 0.02; done >> /root/ticks'")
    await pair.data("POST", "/instances/w2/pause")
    try:
        assert (await pair.row("w2"))["status"] == "PAUSED"
        await pair.shell("w2", "before=$(wc -l < /root/ticks); sleep 0.2; [ $before = $(wc -l < /root/ticks) ]")
    finally:
        await pair.data("POST", "/instances/w2/resume")
    await pair.shell("w2", "before=$(wc -l < /root/ticks); until [ $before != $(wc -l < /root/ticks) ]; do :; done")
    await pair.shell("w2", "systemctl stop ticks")


async def test_paused_machine_can_be_terminated(pair: Machines) -> None:
    await pair.launch("w4")
    await pair.settle("w4", "RUNNING")
    await pair.data("POST", "/instances/w4/pause")
    await pair.data("DELETE", "/instances/w4")

    assert {row["name"] for row in await pair.data("GET", "/instances")} == {"w1", "w2"}
