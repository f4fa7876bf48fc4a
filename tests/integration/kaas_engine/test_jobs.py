"""Wake-ups as jobs in the transaction of the request; jobs of the dead go to others."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kaas.db.store import open_store
from kaas.domain.model import Scope
from kaas.domain.states import OperationKind, OperationState
from kaas.domain.store import Change
from kaas.engine.procrastinate import ProcrastinateEngine, ProcrastinateWakeups
from kaas.engine.procrastinate_schema import conninfo_of
from kaas.reconcile.conductor import Conductor
from process.life import Stop
from tests.integration.kaas_engine.rig import WITHIN_S, Told, engine, rows, until
from tests.support.kaas_steps import FileWorld, three_steps, tools
from tests.support.kaas_store import SPEC

JOBS = "SELECT lock, status::text FROM procrastinate_jobs ORDER BY id"


@pytest.fixture
async def database(url) -> AsyncIterator[AsyncEngine]:
    engine_ = create_async_engine(url)
    yield engine_
    await engine_.dispose()


@contextlib.asynccontextmanager
async def child(mode: str, url: str, file: object = "-") -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a process that conducts; it is killed at the end of the block, if it is not dead by then."""
    argv = (sys.executable, "-m", "tests.integration.kaas_engine.child", mode, url, str(file))
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), WITHIN_S)
    return line.decode().strip()


class TestEnqueue:
    async def test_a_commit_wakes_and_a_rollback_wakes_nobody(self, url, database):
        handler, wakeups = Told(), ProcrastinateWakeups()
        async with engine(url, handler):
            async with database.connect() as connection:
                await wakeups.enqueue(connection, "rolled-back")
                await connection.rollback()
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "committed")
            assert await handler.next() == "committed"
            await until(url, JOBS, [])
        assert handler.ended == ["committed"]

    async def test_it_does_not_end_the_transaction_that_it_is_part_of(self, url, database):
        async with database.connect() as connection:
            await ProcrastinateWakeups().enqueue(connection, "c1")
            assert await rows(url, JOBS) == []
            await connection.commit()
        assert await rows(url, JOBS) == [("c1", "todo")]

    async def test_jobs_of_one_cluster_do_not_pile_up_and_their_transactions_go_on(self, url, database):
        wakeups = ProcrastinateWakeups()
        for number in range(3):
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
                await wakeups.enqueue(connection, "c1")
                await connection.execute(text(f"CREATE TABLE after_{number} ()"))
        assert await rows(url, JOBS) == [("c1", "todo")]
        assert len(await rows(url, "SELECT 1 FROM pg_tables WHERE tablename LIKE 'after_%'")) == 3

    async def test_a_request_of_the_store_wakes_somebody(self, url):
        store, handler = open_store(url), Told()
        async with engine(url, handler):
            requests = store.requests(ProcrastinateWakeups())
            accepted = await requests.create(
                Scope("t", "u", "member"), "dev", Change(OperationKind.CREATE, SPEC, deadline_s=60)
            )
            assert await handler.next() == accepted.cluster.id
        await store.close()


class TestWork:
    async def test_woken_while_it_is_worked_on_it_comes_again_and_never_twice_at_once(self, url, database):
        handler, wakeups = Told(holds=True), ProcrastinateWakeups()
        async with engine(url, handler):
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
            assert await handler.next() == "c1"
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
            await until(url, JOBS, [("c1", "doing"), ("c1", "todo")])
            handler.go.set()
            assert await handler.next() == "c1"
            await until(url, JOBS, [])
        assert handler.ended == ["c1", "c1"]

    async def test_what_is_due_is_found_without_a_job(self, url):
        store, handler = open_store(url), Told()
        accepted = await store.requests().create(
            Scope("t", "u", "member"), "dev", Change(OperationKind.CREATE, SPEC, deadline_s=60)
        )
        async with engine(url, handler, store.conducting):
            assert await handler.next() == accepted.cluster.id
        await store.close()

    async def test_an_error_of_the_handler_loses_no_other_job(self, url, database, caplog):
        wakeups, good = ProcrastinateWakeups(), Told()

        class Fails(Told):
            async def __call__(self, cluster_id):
                if cluster_id == "bad":
                    raise ValueError(cluster_id)
                await good(cluster_id)

        async with engine(url, Fails()):
            for cluster_id in ("bad", "good"):
                async with database.begin() as connection:
                    await wakeups.enqueue(connection, cluster_id)
            assert await good.next() == "good"
            await until(url, JOBS, [])
        assert "the work on cluster bad ended on an error" in caplog.text

    async def test_asked_to_end_it_waits_for_its_handlers_and_takes_no_more(self, url, database):
        handler, wakeups = Told(holds=True), ProcrastinateWakeups()
        async with engine(url, handler, grace_s=WITHIN_S):
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
            assert await handler.next() == "c1"
            asyncio.get_running_loop().call_later(0.5, handler.go.set)
        assert handler.ended == ["c1"]
        assert await rows(url, JOBS) == []
        assert await rows(url, "SELECT * FROM procrastinate_workers") == []

    async def test_after_the_grace_handlers_are_cancelled(self, url, database):
        handler, wakeups = Told(holds=True), ProcrastinateWakeups()
        async with engine(url, handler, grace_s=0.1):
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
            assert await handler.next() == "c1"
        assert handler.cancelled == ["c1"]

    async def test_a_database_that_drops_its_connections_is_connected_to_again(self, url, database):
        handler, wakeups = Told(), ProcrastinateWakeups()
        async with engine(url, handler):
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c1")
            assert await handler.next() == "c1"
            # A job whose end is not written yet would rightly come again.
            await until(url, JOBS, [])
            await database.dispose()
            # The connections that wait in the pool and that one which listens.
            await rows(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            async with database.begin() as connection:
                await wakeups.enqueue(connection, "c2")
            assert await handler.next() == "c2"


class TestTakeover:
    async def test_the_job_of_a_killed_worker_goes_to_another(self, url, database):
        handler = Told()
        async with child("hold", url) as dying:
            async with database.begin() as connection:
                await ProcrastinateWakeups().enqueue(connection, "c1")
            assert await told(dying) == "c1"
            dying.send_signal(signal.SIGKILL)
            await dying.wait()
            async with engine(url, handler):
                assert await handler.next() == "c1"
                await until(url, JOBS, [])

    async def test_a_younger_job_for_the_same_cluster_is_enough(self, url, database):
        handler = Told()
        async with child("hold", url) as dying:
            async with database.begin() as connection:
                await ProcrastinateWakeups().enqueue(connection, "c1")
            assert await told(dying) == "c1"
            dying.send_signal(signal.SIGKILL)
            await dying.wait()
            async with database.begin() as connection:
                await ProcrastinateWakeups().enqueue(connection, "c1")
            assert await rows(url, JOBS) == [("c1", "doing"), ("c1", "todo")]
            async with engine(url, handler):
                assert await handler.next() == "c1"
                await until(url, JOBS, [])
        assert handler.ended == ["c1"]

    async def test_the_operation_of_a_killed_conductor_is_brought_to_its_end(self, url, tmp_path):
        made, scope, store = tmp_path / "made", Scope("t", "u", "member"), open_store(url)
        requests = store.requests(ProcrastinateWakeups())
        accepted = await requests.create(scope, "dev", Change(OperationKind.CREATE, SPEC, deadline_s=600))
        async with child("conduct", url, made) as dying:
            assert await told(dying) == "reached"
            dying.send_signal(signal.SIGKILL)
            await dying.wait()
        # Its lease would run out after a minute.
        await rows(url, "UPDATE cluster SET lease_until = now() - interval '1 second'")
        engine_ = ProcrastinateEngine(conninfo_of(url), store.conducting, poll_s=0.2)
        subject = Conductor(
            store.conducting, engine_, three_steps(FileWorld(made)), tools(store.conducting), owner="second"
        )
        stop = Stop()
        async with asyncio.TaskGroup() as group:
            group.create_task(subject.run(stop))
            await until(url, "SELECT status FROM cluster", [("running",)])
            stop()
        operation, steps = await requests.operation(scope, accepted.operation.id)
        assert operation.state is OperationState.SUCCEEDED
        assert {step.key: step.state.value for step in steps} == dict.fromkeys("abc", "done")
        assert sorted(made.read_text().split()) == ["a", "b", "c"]
        await store.close()


async def test_a_password_is_in_no_text_of_the_engine(url):
    with pytest.raises(psycopg.OperationalError) as caught:
        await psycopg.AsyncConnection.connect("postgresql://kaas:s3cret@127.0.0.1:1/kaas")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(ProcrastinateEngine("postgresql://kaas:s3cret@127.0.0.1:1/kaas", None))
