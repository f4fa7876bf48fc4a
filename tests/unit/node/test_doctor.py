"""The doctor sees what would keep volumes from working, says what to do, and changes nothing."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from node import app, doctor
from node.app import Host
from node.doctor import Doctor, Row, Verdict, render_json, render_table
from node.kube.api import in_cluster
from node.model import DeviceNumber
from tests.support.fake_kube import FakeKube
from tests.support.node_plugin import Plugin

CAPABILITIES = "Name:\ttest\nCapEff:\t000001ffffffffff\n"


@pytest.fixture
def patient(plugin: Plugin) -> Plugin:
    proc = plugin.host.proc_root
    (proc / "filesystems").write_text("nodev\tsysfs\n\text3\n\text4\n\txfs\n\tbtrfs\n")
    (proc / "self/status").write_text(CAPABILITIES)
    plugin.settings.kubelet_dir.mkdir(exist_ok=True)
    return plugin


async def examine(plugin: Plugin) -> dict[str, Row]:
    host = Host(
        kernel=plugin.host.kernel,
        runner=plugin.host.runner,
        events=plugin.host.events,
        hears_events=lambda: plugin.hears_events,
        find_program=lambda name: None if name in plugin.host.missing else name,
        root=plugin.host.root,
        sys_root=plugin.host.sys_root,
        dev_root=plugin.host.dev_root,
        proc_root=plugin.host.proc_root,
    )
    plugin.host.runner.answer_versions()
    return {row.check: row for row in await Doctor(plugin.settings, host).examine()}


async def test_a_host_in_order_fails_nothing(patient: Plugin) -> None:
    patient.plug("serial-1")
    rows = await examine(patient)
    assert {row.verdict for row in rows.values()} == {Verdict.OK}, rows
    assert "serial-1" in rows["disk vda"].seen
    assert "node-1 (from setting)" in rows["node identity"].seen
    assert all(not row.advice or row.check == "zone" for row in rows.values())


@pytest.fixture
def cluster(kube: FakeKube, patient: Plugin, monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    for name, value in kube.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(app, "in_cluster", partial(in_cluster, account_dir=kube.account_dir))
    patient.settings = replace(patient.settings, node_name="n")
    return kube


async def test_a_node_in_order_fails_nothing_in_its_cluster(patient: Plugin, cluster: FakeKube) -> None:
    cluster.put_node("n", labels={"topology.kubernetes.io/zone": "z1"})
    cluster.put_csi_node("n", count=7)
    cluster.put_attachment("csi-1", "n")
    rows = await examine(patient)
    assert {row.verdict for row in rows.values()} == {Verdict.OK}, rows
    assert rows["CSINode"].seen == "csi.thecloud.io with 7 volumes"
    assert rows["VolumeAttachments"].seen == "1 of this node"


async def test_what_the_cluster_still_lacks_of_a_node_is_told(patient: Plugin, cluster: FakeKube) -> None:
    cluster.put_node("n", {"key": "csi.thecloud.io/agent-not-ready", "effect": "NoSchedule"})
    cluster.fail("GET /apis/storage.k8s.io/v1/volumeattachments", 403)
    rows = await examine(patient)
    for check, words in (
        ("CSINode", "not in it with a count"),
        ("startup taint", "still has"),
        ("VolumeAttachments", "its role needs `list` on volumeattachments"),
    ):
        assert rows[check].verdict is Verdict.WARNING
        assert words in rows[check].seen
        assert rows[check].advice


async def test_nothing_is_changed(patient: Plugin) -> None:
    before = sorted(str(path) for path in patient.folder.rglob("*"))
    await examine(patient)
    assert sorted(str(path) for path in patient.folder.rglob("*")) == before
    assert not [point for point in patient.host.points if point.startswith(("write", "record", "forget"))]


async def test_missing_programs_fail_or_warn_by_what_they_serve(patient: Plugin) -> None:
    patient.host.missing |= {"mkfs.ext4", "mkfs.btrfs", "umount"}
    rows = await examine(patient)
    assert rows["ext4 programs"].verdict is Verdict.FAILED
    assert "e2fsprogs" in rows["ext4 programs"].advice
    assert rows["btrfs programs"].verdict is Verdict.WARNING
    assert rows["programs"].verdict is Verdict.FAILED


async def test_a_kernel_without_a_file_system_is_a_warning(patient: Plugin) -> None:
    (patient.host.proc_root / "filesystems").write_text("\text3\n\text4\n")
    row = (await examine(patient))["kernel file systems"]
    assert row.verdict is Verdict.WARNING
    assert "xfs, btrfs" in row.seen


@pytest.mark.parametrize(
    ("bits", "admin", "resource"),
    [
        (0, Verdict.FAILED, Verdict.WARNING),
        (1 << 21, Verdict.OK, Verdict.WARNING),
        (1 << 24, Verdict.FAILED, Verdict.OK),
    ],
)
async def test_missing_privileges(patient: Plugin, bits: int, admin: Verdict, resource: Verdict) -> None:
    (patient.host.proc_root / "self/status").write_text(f"CapEff:\t{bits:016x}\n")
    rows = await examine(patient)
    assert (rows["CAP_SYS_ADMIN"].verdict, rows["CAP_SYS_RESOURCE"].verdict) == (admin, resource)


async def test_two_disks_with_one_serial_fail(patient: Plugin) -> None:
    patient.plug("twin")
    patient.plug("twin", transport="scsi")
    assert (await examine(patient))["disks"].verdict is Verdict.FAILED


async def test_a_device_folder_that_is_not_the_hosts_fails(patient: Plugin) -> None:
    patient.plug("stale")
    patient.plug("absent", node=False)
    patient.host.make_node("vda", DeviceNumber(1, 1))
    rows = await examine(patient)
    assert rows["disk vda"].verdict is Verdict.FAILED
    assert "no block device" in rows["disk vdb"].seen


async def test_mounts_that_would_not_reach_pods_are_told(patient: Plugin) -> None:
    table = patient.host.proc_root / "self/mountinfo"
    table.write_text(table.read_text().replace("shared:", "master:"))
    row = (await examine(patient))["kubelet folder"]
    assert row.verdict is Verdict.WARNING
    assert "Bidirectional" in row.advice


async def test_an_absent_kubelet_folder_fails(patient: Plugin) -> None:
    patient.settings.kubelet_dir.rename(patient.folder / "away")
    assert (await examine(patient))["kubelet folder"].verdict is Verdict.FAILED


async def test_a_mount_point_whose_name_is_no_text_stops_no_check(patient: Plugin) -> None:
    table = patient.host.proc_root / "self/mountinfo"
    table.write_bytes(b"90 1 0:77 / /srv/\xff\x85 rw shared:7 - tmpfs tmpfs rw\n" + table.read_bytes())
    rows = await examine(patient)
    assert rows["state folder"].verdict is Verdict.OK
    assert "could not be looked at" not in rows["kubelet folder"].seen


async def test_records_in_memory_are_a_warning(patient: Plugin) -> None:
    root = patient.host.top_mount(Path("/"))
    patient.host.replace_mount(root, fs_type="tmpfs")
    assert (await examine(patient))["state folder"].verdict is Verdict.WARNING


async def test_silent_kernel_events_are_a_warning(patient: Plugin) -> None:
    patient.hears_events = False
    assert (await examine(patient))["kernel events"].verdict is Verdict.WARNING


async def test_a_check_that_breaks_is_a_failed_row_and_the_others_go_on(patient: Plugin) -> None:
    (patient.host.sys_root / "block").rename(patient.host.sys_root / "away")
    rows = await examine(patient)
    assert rows["disks"].verdict is Verdict.FAILED
    assert rows["node identity"].verdict is Verdict.OK


def test_the_table_and_json_hold_everything() -> None:
    rows = [Row("a", Verdict.OK, "fine"), Row("longer name", Verdict.FAILED, "bad", "do this")]
    table = render_table(rows)
    assert "FAILED" in table
    assert "-> do this" in table
    assert "1 ok, 0 warning, 1 failed" in table
    assert json.loads(render_json(rows))[1] == {
        "check": "longer name", "verdict": "failed", "seen": "bad", "advice": "do this"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--help"], 0, "--max-volumes"),
        (["--output", "xml"], 2, "table or json"),
        (["--output"], 2, "table or json"),
        (["--max-volumes", "0"], 2, "--max-volumes"),
    ],
)
def test_arguments(capsys, argv: list[str], code: int, words: str) -> None:
    assert doctor.main("tc-csi-node doctor", argv) == code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err


def test_this_host_is_examined_for_real(capsys, tmp_path: Path) -> None:
    argv = ["--output=json", "--node-id", "me", "--kubelet-dir", str(tmp_path), "--state-dir", str(tmp_path / "state")]
    code = doctor.main("tc-csi-node doctor", argv)
    rows = json.loads(capsys.readouterr().out)
    assert code == int(any(row["verdict"] == "failed" for row in rows))
    assert {"programs", "node identity", "state folder"} <= {row["check"] for row in rows}
    assert not (tmp_path / "state").exists()
