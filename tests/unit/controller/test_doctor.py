import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.doctor import Doctor, DoctorSettings, Finding, Output, Verdict, examine, is_healthy, report
from devcloud.faults import Fault, Kind
from process.settings import read_settings
from tests.support.devcloud import devcloud_app
from tests.unit.controller.rig import LIMIT_S, OURS, Rig, open_client


async def findings_of(rig: Rig, *nodes: str, **options) -> dict[str, Finding]:
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    found = await Doctor(rig.client, OURS, **options).examine(nodes, deadline=deadline)
    return {finding.check: finding for finding in found}


async def test_a_good_platform_has_nothing_to_do(rig: Rig):
    await rig.create()
    await rig.platform("POST", "/volumes", json={"name": "foreign", "size_gb": 1})
    found = await findings_of(rig, "node-a", rig.cloud.instances["node-b"])
    assert is_healthy(list(found.values()))
    assert "1 of 2 volumes" in found["marks"].seen
    assert rig.cloud.instances["node-a"] in found["node node-a"].seen


async def test_a_strict_platform_is_a_note_that_names_what_is_not_advertised(strict: Rig):
    tier = (await findings_of(strict))["tier"]
    assert tier.verdict is Verdict.NOTE
    assert "EXPAND_VOLUME" in tier.seen


async def test_an_unknown_node_is_bad_even_as_a_uuid(rig: Rig):
    missing = "99999999-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    found = await findings_of(rig, "nobody", missing, "node-a")
    assert found["node nobody"].verdict is found[f"node {missing}"].verdict is Verdict.BAD
    assert found["node node-a"].verdict is Verdict.GOOD
    assert "--node-id" in found["node nobody"].to_do


async def test_a_clock_that_is_off_is_bad(rig: Rig):
    later = datetime.now(UTC) + timedelta(minutes=5)
    found = await findings_of(rig, now=lambda: later)
    assert found["clock"].verdict is Verdict.BAD
    assert "NTP" in found["clock"].to_do


async def test_a_wedged_volume_is_bad_and_named(rig: Rig):
    volume = await rig.create()
    await rig.platform("POST", f"/_devcloud/volumes/{volume.volume_id}/wedge", json={})
    marks = (await findings_of(rig))["marks"]
    assert marks.verdict is Verdict.BAD
    assert volume.volume_id in marks.seen


@pytest.mark.parametrize(
    ("kind", "to_do"),
    [(Kind.UNAUTHORIZED, "valid key"), (Kind.NOT_FOUND_PLAIN, "--platform-url"), (Kind.EMPTY_500, "--platform-url")],
)
async def test_a_platform_that_does_not_let_us_in_ends_the_list_with_what_to_do(rig: Rig, kind: Kind, to_do: str):
    rig.cloud.faults.add(Fault(kind, count=None))
    found = await findings_of(rig, "node-a")
    assert list(found) == ["platform"]
    assert found["platform"].verdict is Verdict.BAD
    assert to_do in found["platform"].to_do


async def test_one_check_that_fails_does_not_hide_the_others(rig: Rig):
    rig.cloud.faults.add(Fault(Kind.NOT_FOUND_PLAIN, "GET", "/volumes", count=None))
    found = await findings_of(rig, "node-a")
    assert found["marks"].verdict is Verdict.BAD
    assert found["node node-a"].verdict is Verdict.GOOD


async def test_a_platform_that_is_away_is_told_with_the_address_setting(tmp_path: Path):
    environ = {"TC_PLATFORM_URL": "http://127.0.0.1:1", "TC_CLUSTER_ID": "c", "TC_API_KEY": "k", "TC_LIMIT_S": "2"}
    found = await examine(read_settings(DoctorSettings, ["--node", "a,b"], environ))
    assert [finding.check for finding in found] == ["platform"]
    assert "--platform-url" in found[0].to_do


@pytest.mark.parametrize(
    ("content", "seen"), [(None, "No such file"), ("", "is empty"), ("a b", "does not hold a key")]
)
async def test_a_key_that_cannot_be_read_is_not_said_to_be_refused(tmp_path: Path, content: str | None, seen: str):
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    environ = {"TC_PLATFORM_URL": "http://127.0.0.1:1", "TC_CLUSTER_ID": "c", "TC_API_KEY_FILE": str(file)}
    (finding,) = await examine(read_settings(DoctorSettings, [], environ))
    assert finding.verdict is Verdict.BAD
    assert "was not asked" in finding.seen
    assert "refuses" not in finding.seen
    assert seen in finding.seen
    assert str(file) in finding.seen
    assert "--api-key-file" in finding.to_do


async def test_a_key_of_another_platform_is_told(tmp_path: Path):
    async with devcloud_app(tmp_path) as cloud, open_client(cloud) as client:
        cloud.faults.add(Fault(Kind.UNAUTHORIZED, count=None))
        deadline = asyncio.get_running_loop().time() + LIMIT_S
        (finding,) = await Doctor(client, OURS).examine((), deadline=deadline)
        assert cloud.api_key not in finding.seen


def test_the_report_is_a_table_or_json():
    rows = [
        Finding("platform", Verdict.GOOD, "reached"),
        Finding("node x", Verdict.BAD, "is no instance", "do that"),
    ]
    table = report(rows, Output.TABLE)
    assert table.splitlines() == [
        "ok    platform  reached",
        "bad   node x    is no instance",
        "                -> do that",
    ]
    parsed = json.loads(report(rows, Output.JSON))
    assert parsed["ok"] is False
    assert parsed["findings"][1] == {
        "check": "node x",
        "verdict": "bad",
        "seen": "is no instance",
        "to_do": "do that",
    }
