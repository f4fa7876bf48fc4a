"""Values that go in and come out alike on all databases."""

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, StatementError

import kaas.db
from kaas.db import clock, codec, tables
from kaas.domain.errors import Code, KaasError
from kaas.domain.model import Access, ClusterSpec, Taint
from tests.support.kaas_tables import Kit, spec

TIME = datetime(2030, 6, 1, 12, 30, 59, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def backup(**more: object) -> dict[str, object]:
    values: dict[str, object] = {
        "uuid": "u",
        "cluster_id": "c",
        "project_id": "p",
        "kind": "full",
        "state": "done",
        "location": "",
        "revision": 2**62,
        "size_bytes": 0,
        "sha256": "",
        "key_id": "",
        "started_at": TIME,
    }
    return values | more


async def test_times_come_back_in_utc_with_microseconds(kit: Kit) -> None:
    await kit.execute(insert(tables.backup).values(backup(finished_at=None)))
    (row,) = await kit.rows(select(tables.backup))
    assert row.started_at == TIME
    assert row.started_at.tzinfo is UTC
    assert row.finished_at is None
    assert row.revision == 2**62


async def test_time_without_a_zone_is_refused(kit: Kit) -> None:
    naive = TIME.replace(tzinfo=None)
    with pytest.raises(StatementError, match="without a zone"):
        await kit.execute(insert(tables.backup).values(backup(started_at=naive)))


async def test_times_are_compared_by_the_database_as_times(kit: Kit) -> None:
    moments = [clock.after(-0.5), clock.now(), clock.after(0.5), clock.after(86_400)]
    for number, moment in enumerate(moments):
        await kit.execute(insert(tables.backup).values(backup(uuid=str(number), started_at=moment)))
    later = datetime.now(UTC) + timedelta(hours=1)
    started = tables.backup.c.started_at
    rows = await kit.rows(select(tables.backup.c.uuid).where(started < later).order_by(started))
    assert [row.uuid for row in rows] == ["0", "1", "2"]
    (first, last) = (await kit.rows(select(clock.now(), clock.after(-90.25))))[0]
    assert abs((first - last).total_seconds() - 90.25) < 1
    assert abs((first - datetime.now(UTC)).total_seconds()) < 600


async def test_words_that_differ_by_case_or_by_spaces_differ(kit: Kit) -> None:
    for tenant in ("a", "A", "a ", "ä", "a\u0308"):
        await kit.execute(insert(tables.tenant).values(project_id=tenant))
    assert await kit.count(tables.tenant) == 5
    with pytest.raises(IntegrityError):
        await kit.execute(insert(tables.tenant).values(project_id="a"))


async def test_state_of_an_operation_and_its_guard_go_together(kit: Kit) -> None:
    accepted = await kit.make()
    this = tables.operation.update().where(tables.operation.c.uuid == accepted.operation.id)
    for values in (
        {"state": "succeeded"},
        {"active_cluster_id": None},
        {"active_cluster_id": "another"},
        {"state": "unheard of"},
    ):
        with pytest.raises(Exception, match="ck_operation_active"):
            await kit.execute(this.values(**values))


async def test_bounds_of_a_group_are_kept_by_the_table(kit: Kit) -> None:
    await kit.make()
    with pytest.raises(Exception, match="ck_nodegroup_bounds"):
        await kit.execute(tables.nodegroup.update().values(node_count=101))


def test_spec_comes_back_as_it_was() -> None:
    rich = replace(
        spec(3),
        access=Access(api=("192.0.2.0/24",), open_node_network=True),
        zones=("a", "b"),
        groups=(*spec().groups, replace(spec().groups[1], name="x", taints=(Taint("k", "v", "NoSchedule"),))),
    )
    assert codec.spec_from_json(codec.spec_to_json(rich)) == rich


def test_spec_of_an_older_or_newer_version_is_read() -> None:
    stored = msgspec.json.decode(codec.spec_to_json(spec()))
    for name in ("network_isolation", "access", "zones"):
        del stored[name]
    del stored["groups"][0]["labels"]
    stored["from_the_future"] = {"x": 1}
    assert codec.spec_from_json(codec.to_json(stored)) == spec()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}', "not json"])
def test_spec_that_is_none_says_so(text: str) -> None:
    with pytest.raises(KaasError, match="ClusterSpec") as caught:
        codec.spec_from_json(text)
    assert caught.value.code is Code.BUG


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no form"):
        codec.to_json({"x": object()})


def test_nothing_goes_by_the_clock_of_the_host() -> None:
    clocks = {"now", "utcnow", "today", "time", "monotonic"}
    for path in Path(kaas.db.__file__).parent.rglob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute) and found.func.attr in clocks:
                owner = found.func.value
                assert isinstance(owner, ast.Name), f"{path}: {ast.unparse(found)}"
                assert owner.id == "clock", f"{path}: {ast.unparse(found)}"


def test_spec_has_only_fields_that_are_stored() -> None:
    assert set(msgspec.json.decode(codec.spec_to_json(spec()))) == set(ClusterSpec.__slots__)
