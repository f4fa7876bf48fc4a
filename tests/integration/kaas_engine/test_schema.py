"""Procrastinate's tables: made once, by whoever comes first, and never over tables of others."""

import asyncio

import pytest

from kaas.domain.errors import StoreUnavailableError
from kaas.engine import procrastinate_schema
from kaas.engine.procrastinate_schema import EngineSchemaError, check, conninfo_of, migrate
from tests.integration.kaas_engine.rig import rows

COMMENT = "SELECT obj_description('procrastinate_jobs'::regclass, 'pg_class')"


async def test_it_is_made_once_by_several_at_one_time(empty):
    await asyncio.gather(*(migrate(conninfo_of(empty)) for _ in range(3)))
    await migrate(conninfo_of(empty))
    ((comment,),) = await rows(empty, COMMENT)
    assert comment.startswith("kaas: procrastinate 3.")


async def test_tables_of_others_are_left_alone(empty):
    await rows(empty, "CREATE TABLE procrastinate_jobs ()")
    with pytest.raises(EngineSchemaError, match="that kaas did not make"):
        await migrate(conninfo_of(empty))


async def test_tables_of_a_newer_release_are_left_alone(empty):
    await migrate(conninfo_of(empty))
    await rows(empty, "COMMENT ON TABLE procrastinate_jobs IS 'kaas: procrastinate 99.0.0'")
    with pytest.raises(EngineSchemaError, match=r"99\.0\.0"):
        await migrate(conninfo_of(empty))


async def test_tables_of_an_older_release_get_what_came_since(empty, monkeypatch, tmp_path):
    await migrate(conninfo_of(empty))
    for name, table in (("98.00.00_01_pre_old", "old"), ("99.01.00_01_pre_new", "new")):
        (tmp_path / f"{name}.sql").write_text(f"CREATE TABLE {table} ();")
    (tmp_path / "99.01.00_50_post_new.sql").write_text("ALTER TABLE new RENAME TO newer; SELECT 'a % sign';")
    monkeypatch.setattr(procrastinate_schema.SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    monkeypatch.setattr(procrastinate_schema, "version", lambda _name: "99.1.0")
    await rows(empty, "COMMENT ON TABLE procrastinate_jobs IS 'kaas: procrastinate 98.0.0'")
    await migrate(conninfo_of(empty))
    made = await rows(empty, "SELECT tablename FROM pg_tables WHERE tablename IN ('old', 'new', 'newer')")
    assert made == [("newer",)]
    assert await rows(empty, COMMENT) == [("kaas: procrastinate 99.1.0",)]


async def test_a_look_tells_whether_they_are_there_and_new_enough(empty, monkeypatch, tmp_path):
    assert not await check(conninfo_of(empty))
    assert await rows(empty, "SELECT to_regclass('procrastinate_jobs')") == [(None,)]
    await migrate(conninfo_of(empty))
    assert await check(conninfo_of(empty))
    (tmp_path / "99.01.00_01_pre_new.sql").write_text("CREATE TABLE new ();")
    monkeypatch.setattr(procrastinate_schema.SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    monkeypatch.setattr(procrastinate_schema, "version", lambda _name: "99.1.0")
    assert not await check(conninfo_of(empty))
    await rows(empty, "COMMENT ON TABLE procrastinate_jobs IS 'kaas: procrastinate 99.2.0'")
    with pytest.raises(EngineSchemaError, match=r"99\.2\.0"):
        await check(conninfo_of(empty))


async def test_a_database_that_is_not_there_is_told_without_its_password():
    with pytest.raises(StoreUnavailableError, match="does not answer as it should") as caught:
        await check(conninfo_of("postgresql+psycopg://kaas:s3cret@127.0.0.1:1/kaas"))
    assert "s3cret" not in str(caught.value)
