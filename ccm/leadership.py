"""The leader's work: run while this process holds the Lease, or always where there is no election."""

import asyncio
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ccm.kube.client import KubeClient
from ccm.kube.events import EventRecorder
from ccm.kube.leader import LeaderElector, steady_clock
from ccm.metrics import Metrics
from ccm.serving.health import LEADER_TOLERANCE_S, LeadershipCheck
from ccm.settings import ElectionOptions

Task = Callable[[], Coroutine[Any, Any, None]]
"""Begins a piece of work that does not end by itself."""


class Leadership:
    """Runs the controllers of the leader."""

    def __init__(self, settings: ElectionOptions, client: KubeClient, events: EventRecorder, metrics: Metrics) -> None:
        self._lease = settings.leader_elect_resource_name
        self._metrics = metrics
        self._works = False
        self._elector = _elector(settings, client, events) if settings.leader_elect else None
        self.check = LeadershipCheck(
            lambda: self._works,
            self.is_valid,
            tolerance_s=settings.lease_duration_s - settings.renew_deadline_s + LEADER_TOLERANCE_S,
            clock=steady_clock,
        )
        """For /healthz."""
        metrics.leads(self._lease, leads=False)

    def is_valid(self) -> bool:
        """Say whether this process may write now."""
        return self._elector is None or self._elector.is_valid()

    def guarded(self, client: KubeClient) -> KubeClient:
        """Give a client on the same connections that writes only while this process leads."""
        return client.guarded(self.is_valid)

    async def run(self, tasks: Mapping[str, Task]) -> None:
        """Run the tasks, by the names of their controllers, while leading. None of them may end by itself.

        When cancelled, the tasks have ended when the Lease is given back. Raises LeadershipLost, and an exception group
        with what a task raises.
        """
        for name in tasks:
            self._metrics.controller_runs(name, runs=False)
        if self._elector is None:
            await self._lead(tasks)
        else:
            await self._elector.run(lambda: self._lead(tasks))

    async def _lead(self, tasks: Mapping[str, Task]) -> None:
        self._works = True
        self._metrics.leads(self._lease, leads=True)
        try:
            async with asyncio.TaskGroup() as group:
                for name, task in tasks.items():
                    group.create_task(self._controller(name, task), name=name)
                # Without controllers, to lead is to hold the Lease.
                await asyncio.Event().wait()
        finally:
            self._works = False
            self._metrics.leads(self._lease, leads=False)

    async def _controller(self, name: str, task: Task) -> None:
        self._metrics.controller_runs(name, runs=True)
        try:
            await task()
            raise RuntimeError(f"{name} has ended by itself")
        finally:
            self._metrics.controller_runs(name, runs=False)


def _elector(settings: ElectionOptions, client: KubeClient, events: EventRecorder) -> LeaderElector:
    return LeaderElector(
        client,
        name=settings.leader_elect_resource_name,
        namespace=settings.leader_elect_resource_namespace,
        identity=f"{socket.gethostname()}_{uuid.uuid4()}",
        lease_duration_s=settings.lease_duration_s,
        renew_deadline_s=settings.renew_deadline_s,
        retry_period_s=settings.retry_period_s,
        events=events,
    )
