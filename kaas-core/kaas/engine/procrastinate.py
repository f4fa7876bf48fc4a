"""The engine of several conductors: wake-ups as jobs of Procrastinate, in the PostgreSQL database of the tables.

A job says "look at this cluster" and nothing else. It is written in the transaction of the request that it is for; a
job that is lost, doubled or late is harmless, because the tables say what is due and the poll finds it.
"""

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from kaas.domain.store import Conducting
from kaas.engine.dispatch import Dispatcher
from kaas.engine.due import DuePoll
from kaas.engine.inprocess import GRACE_S
from kaas.engine.port import EngineObserver, Handler
from process.life import Stop

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_log = logging.getLogger(__name__)

QUEUE = "kaas"
TASK = "kaas:look"
POLL_S = 2.0
HEARTBEAT_S = 10.0
STALLED_S = 30.0
_AGAIN_S = 5.0
"""After a worker ended because the database went away."""
_POOL = 4
"""Connections for jobs; one more listens."""


class ProcrastinateWakeups:
    """Writes jobs into the transactions of requests; has no connection of its own. Implements `Wakeups`."""

    def __init__(self) -> None:
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())

    async def enqueue(self, connection: "AsyncConnection", cluster_id: str) -> None:
        """Write a job with the driver's own connection below `connection`; one that waits already is enough."""
        raw = await connection.get_raw_connection()
        job = self._app.configure_task(
            TASK, queue=QUEUE, lock=cluster_id, queueing_lock=cluster_id, connection=raw.driver_connection
        )
        try:
            # A job that waits already makes the insertion fail, which must not spoil the request's own transaction.
            async with connection.begin_nested():
                await job.defer_async(cluster_id=cluster_id)
        except AlreadyEnqueued:
            _log.debug("cluster %s waits to be looked at already", cluster_id)

    def committed(self, cluster_id: str) -> None:
        """Do nothing: PostgreSQL notifies the workers itself when it commits."""


class ProcrastinateEngine:
    """Runs a worker that listens for jobs, and the poll below it; any number of processes may. Implements `Engine`.

    `conninfo` is libpq's, for the same database as the tables; `stalled_s` is for how long a worker may be silent
    until its jobs are given to others.
    """

    def __init__(
        self,
        conninfo: str,
        store: Conducting,
        *,
        poll_s: float = POLL_S,
        grace_s: float = GRACE_S,
        heartbeat_s: float = HEARTBEAT_S,
        stalled_s: float = STALLED_S,
        observer: EngineObserver | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._store = store
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._heartbeat_s = heartbeat_s
        self._stalled_s = stalled_s
        self._observer = observer
        self._chance = chance

    async def run(self, handler: Handler, *, concurrency: int, stop: Stop) -> None:
        """Work until asked to end, as `Engine.run` says."""
        dispatcher = Dispatcher(handler, concurrency=concurrency, observer=self._observer)
        poll = DuePoll(
            self._store,
            dispatcher,
            interval_s=self._poll_s,
            spread=True,
            observer=self._observer,
            chance=self._chance,
        )
        async with self._app(dispatcher).open_async() as app:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(poll.run(), name="due clusters"),
                        group.create_task(self._serve(app, concurrency), name="jobs"),
                        group.create_task(self._retry_stalled(app.job_manager), name="stalled jobs"),
                    ]
                    await stop.wait()
                    # A cancelled worker takes no more jobs, and ends when those that it has have ended below.
                    for task in tasks:
                        task.cancel()
                    await dispatcher.end(grace_s=self._grace_s)
            finally:
                await dispatcher.end(grace_s=0)

    def _app(self, dispatcher: Dispatcher) -> procrastinate.App:
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=self._conninfo, min_size=1, max_size=_POOL)
        )

        @app.task(name=TASK, queue=QUEUE)
        async def look(cluster_id: str) -> None:
            await asyncio.shield(dispatcher.wake(cluster_id))

        return app

    async def _serve(self, app: procrastinate.App, concurrency: int) -> None:
        while True:
            try:
                await app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    delete_jobs="always",
                    # Only insertions notify; a job that waited for another one of its cluster is found by looking.
                    fetch_job_polling_interval=self._poll_s,
                    update_heartbeat_interval=self._heartbeat_s,
                    stalled_worker_timeout=self._stalled_s,
                )
            except ConnectorException as error:
                _log.warning("the worker of jobs lost its database: %s", error.__cause__ or error)
            # It also ends by itself, without an error, when one of its own tasks cannot go on.
            _log.warning("the worker of jobs ended and begins anew; until then, due clusters are found by looking")
            await asyncio.sleep(_AGAIN_S)

    async def _retry_stalled(self, jobs: JobManager) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                for job in await jobs.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self._stalled_s):
                    await _retry(jobs, job)
                await jobs.prune_stalled_workers(self._stalled_s)
            except ConnectorException as error:
                # Another conductor may have done it in between, too.
                _log.info("stalled jobs could not be given to others: %s", error.__cause__ or error)


async def _retry(jobs: JobManager, job: Job) -> None:
    try:
        await jobs.retry_job(job)
        _log.info("the worker of job %s is silent; another one takes it", job.id)
    except UniqueViolation:
        # A younger job for the same cluster waits; that one is enough.
        await jobs.finish_job(job, Status.ABORTED, delete_job=True)
