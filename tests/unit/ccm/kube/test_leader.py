"""There is never a second leader, and never for long none."""

import asyncio
import contextlib
import re

import pytest

from ccm.kube.client import NotLeading
from ccm.kube.kinds import NODES
from ccm.kube.leader import LeaderElector, LeadershipLost, steady_clock
from tests.support.fake_api_faults import Trouble
from tests.support.socket_time import jump, now, on_virtual_time
from tests.unit.ccm.kube.rig import by, node, running, server_and_client, until

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


class Work:
    """What a leader does."""

    def __init__(self, *, stop_s=0.0):
        self.starts = []
        self.ends = []
        self._stop_s = stop_s

    @property
    def is_running(self):
        return len(self.starts) > len(self.ends)

    async def __call__(self):
        self.starts.append(now())
        try:
            await asyncio.Event().wait()
        finally:
            until_ = now() + self._stop_s
            while now() < until_:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(until_ - now())
            self.ends.append(now())


class Told:
    def __init__(self):
        self.events = []

    def normal(self, obj, reason, message):
        self.events.append((obj.key, reason, message))


def elector(client, identity="one", **options):
    options.setdefault("clock", now)
    options.setdefault("chance", lambda: 1.0)
    return LeaderElector(client, name="ccm", namespace="kube-system", identity=identity, **options)


def lease(api):
    return api.get("leases", "ccm", "kube-system")


def held(identity, **spec):
    spec = {"holderIdentity": identity, "leaseDurationSeconds": 15, "leaseTransitions": 3} | spec
    return {"kind": "Lease", "metadata": {"name": "ccm", "namespace": "kube-system"}, "spec": spec}


@on_virtual_time
async def test_a_lease_that_nobody_has_is_taken_and_kept():
    async with server_and_client() as (api, client):
        work, one = Work(), elector(client)
        async with running(one.run(work)):
            await until(lambda: work.is_running)
            assert one.is_valid()
            first = lease(api)["spec"]
            await asyncio.sleep(60)
            assert one.is_valid()
            last = lease(api)["spec"]
        assert first["holderIdentity"] == "one"
        assert first["leaseDurationSeconds"] == 15
        assert first["leaseTransitions"] == 0
        assert first["acquireTime"] == last["acquireTime"]
        assert first["renewTime"] < last["renewTime"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", last["renewTime"])
        assert 28 <= api.count("PUT", LEASES) <= 32
        assert api.count("GET", LEASES) == 1


@on_virtual_time
async def test_it_gives_the_lease_back_once_the_work_has_ended():
    async with server_and_client() as (api, client):
        told, work = Told(), Work(stop_s=3)
        one = elector(client, events=told)
        task = asyncio.ensure_future(one.run(work))
        await until(lambda: work.is_running)
        task.cancel()
        await asyncio.sleep(2)
        assert lease(api)["spec"]["holderIdentity"] == "one"
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not work.is_running
        assert not one.is_valid()
        assert lease(api)["spec"]["holderIdentity"] == ""
        assert lease(api)["spec"]["leaseDurationSeconds"] == 1
        reasons = [
            ("kube-system/ccm", "LeaderElection", f"one {what}") for what in ("became leader", "stopped leading")
        ]
        assert told.events == reasons


@on_virtual_time
async def test_a_lease_that_was_given_back_is_taken_within_two_seconds():
    async with server_and_client() as (api, client):
        first, second = Work(), Work()
        task = asyncio.ensure_future(elector(client).run(first))
        await until(lambda: first.is_running)
        async with running(elector(client, "two").run(second)):
            await asyncio.sleep(30)
            assert not second.starts
            task.cancel()
            await asyncio.wait((task,))
            await until(lambda: second.is_running)
        assert second.starts[0] - first.ends[0] <= 2.1
        assert lease(api)["spec"]["leaseTransitions"] == 1


@on_virtual_time
async def test_cancelling_twice_still_waits_for_the_work():
    async with server_and_client() as (_api, client):
        work = Work(stop_s=3)
        task = asyncio.ensure_future(elector(client).run(work))
        await until(lambda: work.is_running)
        task.cancel()
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not work.is_running


@pytest.mark.parametrize(
    "times",
    ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z", ""],
    ids=["a clock far behind", "a clock far ahead", "none"],
)
@on_virtual_time
async def test_a_foreign_lease_is_taken_when_it_was_not_renewed_for_its_duration(times):
    async with server_and_client() as (api, client):
        api.put(held("other", renewTime=times, acquireTime=times))
        began, work = now(), Work()
        async with running(elector(client).run(work)):
            await until(lambda: work.is_running, 60)
        assert 15 < work.starts[0] - began < 18
        assert lease(api)["spec"]["leaseTransitions"] == 4


@on_virtual_time
async def test_a_foreign_lease_that_is_renewed_is_left_alone():
    async with server_and_client() as (api, client):
        work = Work()
        async with running(elector(client).run(work)):
            for number in range(12):
                api.put(held("other", renewTime=f"2026-01-01T00:00:00.{number:06}Z"))
                await asyncio.sleep(10)
            assert not work.starts
            assert api.count("PUT", LEASES) == api.count("POST", LEASES) == 0
            assert 50 < api.count("GET", LEASES) < 70


@on_virtual_time
async def test_a_longer_duration_of_the_holder_counts():
    async with server_and_client() as (api, client):
        api.put(held("other", leaseDurationSeconds=60))
        began, work = now(), Work()
        async with running(elector(client).run(work)):
            await until(lambda: work.is_running, 120)
        assert 60 < work.starts[0] - began < 63


@on_virtual_time
async def test_of_many_that_want_it_one_gets_it():
    async with server_and_client() as (_api, client):
        works = [Work() for _ in range(5)]
        async with running(*(elector(client, f"e{number}").run(work) for number, work in enumerate(works))):
            await asyncio.sleep(40)
            assert sum(work.is_running for work in works) == 1


@on_virtual_time
async def test_what_others_keep_in_the_lease_stays():
    async with server_and_client() as (api, client):
        found = held("", strategy="OldestEmulationVersion")
        found["metadata"]["labels"] = {"theirs": "yes"}
        api.put(found)
        work = Work()
        async with running(elector(client).run(work)):
            await until(lambda: work.is_running)
            await asyncio.sleep(5)
            assert lease(api)["metadata"]["labels"] == {"theirs": "yes"}
            assert lease(api)["spec"]["strategy"] == "OldestEmulationVersion"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 403},
        {"status": 429, "retry_after_s": 30},
        {"trouble": Trouble.HANG},
        {"trouble": Trouble.DROP},
        {"trouble": Trouble.GARBAGE},
    ],
    ids=lambda one: str(next(iter(one.values()))),
)
@on_virtual_time
async def test_the_work_ends_before_another_may_lead(fault):
    async with server_and_client() as (api, client):
        work, one = Work(stop_s=2), elector(client)
        task = asyncio.ensure_future(one.run(work))
        await until(lambda: work.is_running)
        await asyncio.sleep(5)
        # A foreign observer counts from when it sees the lease change for the last time.
        changed_at = api.requests[-1].at
        api.fail("", LEASES, times=None, **fault)
        with pytest.raises(LeadershipLost, match="not renewed for 10 s") as lost:
            await task
        assert lost.value.has_stopped
        assert not one.is_valid()
        assert changed_at + 11.9 < work.ends[0] < changed_at + 15
        assert api.count("", LEASES) < 40


@on_virtual_time
async def test_short_trouble_costs_nothing():
    async with server_and_client() as (api, client):
        work, one = Work(), elector(client)
        async with running(one.run(work)):
            await until(lambda: work.is_running)
            for fault in ({"status": 500}, {"trouble": Trouble.DROP}, {"trouble": Trouble.LOST}, {"status": 503}):
                api.fail("PUT", LEASES, times=2, **fault)
                await asyncio.sleep(20)
                assert one.is_valid()
            api.fail("PUT", LEASES, trouble=Trouble.HANG)
            await asyncio.sleep(20)
            assert one.is_valid()
            assert work.is_running


@on_virtual_time
async def test_a_lease_whose_taking_was_done_but_not_answered_is_known_as_its_own():
    async with server_and_client() as (api, client):
        api.fail("POST", LEASES, trouble=Trouble.LOST)
        began, work = now(), Work()
        async with running(elector(client).run(work)):
            await until(lambda: work.is_running)
        assert work.starts[0] - began < 5


@on_virtual_time
async def test_a_lease_that_another_has_taken_ends_the_work_at_once():
    async with server_and_client() as (api, client):
        work, one = Work(stop_s=1), elector(client)
        task = asyncio.ensure_future(one.run(work))
        await until(lambda: work.is_running)
        api.put(held("other"))
        with pytest.raises(LeadershipLost, match="other has it now"):
            await task
        assert not one.is_valid()
        assert lease(api)["spec"]["holderIdentity"] == "other"


@on_virtual_time
async def test_a_process_that_was_stopped_writes_nothing_when_it_goes_on():
    async with server_and_client() as (api, client):
        api.put(node("a"))
        one = elector(client)
        writer = client.guarded(one.is_valid)
        outcomes = []

        async def patch_for_ever():
            while True:
                await asyncio.sleep(0.5)
                try:
                    await writer.patch(NODES, "a", body={"metadata": {"labels": {"at": str(now())}}}, deadline=by())
                    outcomes.append("written")
                except NotLeading:
                    outcomes.append("refused")
                    raise

        task = asyncio.ensure_future(one.run(patch_for_ever))
        await until(lambda: outcomes.count("written") > 3)
        await asyncio.sleep(0.25)
        before = len(api.writes)
        jump(20)
        with pytest.raises(LeadershipLost):
            await task
        assert len(api.writes) == before
        assert outcomes[-1] in ("written", "refused")
        with pytest.raises(NotLeading, match="PATCH /api/v1/nodes/a: not sent"):
            await writer.patch(NODES, "a", body={}, deadline=by())
        assert await writer.get(NODES, "a", deadline=by()) is not None


@on_virtual_time
async def test_work_that_does_not_stop_is_not_waited_for_beyond_the_lease():
    async with server_and_client() as (api, client):
        work = Work(stop_s=60)
        task = asyncio.ensure_future(elector(client).run(work))
        await until(lambda: work.is_running)
        began = now()
        api.fail("", LEASES, status=500, times=None)
        with pytest.raises(LeadershipLost) as lost:
            await task
        assert not lost.value.has_stopped
        assert 12 < now() - began < 16
        await until(lambda: not work.is_running, 90)


@on_virtual_time
async def test_work_that_ends_or_fails_gives_the_lease_back():
    async with server_and_client() as (api, client):

        async def end():
            await asyncio.sleep(3)

        await elector(client).run(end)
        assert lease(api)["spec"]["holderIdentity"] == ""

        async def fail():
            await asyncio.sleep(3)
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await elector(client).run(fail)
        assert lease(api)["spec"]["holderIdentity"] == ""


@on_virtual_time
async def test_a_lease_that_another_has_by_now_is_not_given_back():
    async with server_and_client() as (api, client):
        work = Work()
        task = asyncio.ensure_future(elector(client).run(work))
        await until(lambda: work.is_running)
        await asyncio.sleep(0.5)
        api.put(held("other"))
        task.cancel()
        await asyncio.wait((task,))
        assert lease(api)["spec"]["holderIdentity"] == "other"


@on_virtual_time
async def test_renewals_do_not_queue_behind_other_requests():
    async with server_and_client(qps=0.1, burst=1) as (_api, client):
        await client.request("GET", "/version", deadline=by())
        work, one = Work(), elector(client)
        async with running(one.run(work)):
            await until(lambda: work.is_running)
            await asyncio.sleep(30)
            assert one.is_valid()


@on_virtual_time
async def test_times_that_make_no_sense_are_refused():
    async with server_and_client() as (_api, client):
        with pytest.raises(ValueError, match="shorter"):
            elector(client, renew_deadline_s=20)


def test_the_clock_never_goes_back():
    assert steady_clock() <= steady_clock()
