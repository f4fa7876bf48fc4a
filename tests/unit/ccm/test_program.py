import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ccm.kube.client import KubeClient, NotLeading, RequestObserver, open_client
from ccm.kube.kinds import NODES
from ccm.kube.leader import LeadershipLost
from ccm.leadership import Leadership
from ccm.names import MANAGER
from ccm.program import Build, Manager, Surroundings, main, serve
from ccm.settings import ManagerSettings
from process.command_line import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from process.life import Stop, StoppedError
from process.settings import read_settings
from tests.support.fake_api import FakeApi, fake_api
from tests.support.ports import free_port
from tests.unit.ccm.pki import client_context

NEEDED = ("--platform-url=http://127.0.0.1:9", "--cluster-id=c-1")
ENVIRON = {"TC_API_KEY": "hunter2"}
NODE = {"kind": "Node", "metadata": {"name": "n-1"}}


class Rig:
    """A program on the fake API server, and what it was seen to do."""

    def __init__(self, api: FakeApi, *flags: str) -> None:
        self.api = api
        self.port = free_port()
        self.settings = read_settings(ManagerSettings, [*NEEDED, f"--secure-port={self.port}", *flags], ENVIRON)
        self.stop = Stop()
        self.steps: list[str] = []
        self.deaths: list[int] = []
        self.leads = asyncio.Event()
        self.around: Surroundings | None = None
        self.work: Callable[[], Coroutine[Any, Any, None]] = self._work

    async def connect(self, settings: ManagerSettings, observer: RequestObserver) -> KubeClient:
        return await open_client(master=self.api.url, user_agent="test", observer=observer)

    @contextlib.asynccontextmanager
    async def build(self, settings: ManagerSettings, around: Surroundings) -> AsyncIterator[Manager]:
        self.around = around
        self.steps.append("built")
        try:
            yield Manager(
                standing={"cache": self._stand}, leading={"service-lb-controller": self.work}, ready={"synced": str}
            )
        finally:
            self.steps.append("closed")

    async def run(self, build: Build | None = None) -> None:
        await serve(self.settings, build or self.build, stop=self.stop, connect=self.connect, die=self.deaths.append)

    async def page(self, path: str, token: str = "") -> tuple[int, str]:
        context: ssl.SSLContext = client_context(None, Path())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{self.port}{path}", ssl=context, headers=headers) as response,
        ):
            return response.status, await response.text()

    @property
    def holder(self) -> str | None:
        lease = self.api.get("leases", MANAGER, "kube-system")
        return None if lease is None else lease["spec"]["holderIdentity"]

    async def _work(self) -> None:
        self.steps.append("leads")
        self.leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.steps.append(f"work ends, lease {'held' if self.holder else 'free'}")

    async def _stand(self) -> None:
        self.steps.append("stands")
        try:
            await asyncio.Event().wait()
        finally:
            self.steps.append("cache ends")


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(rig.run())
    try:
        async with asyncio.timeout(30):
            yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until_leading(rig: Rig, task: asyncio.Task[None]) -> None:
    leads = asyncio.create_task(rig.leads.wait())
    await asyncio.wait({leads, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        leads.cancel()
        task.result()


async def test_it_leads_until_it_is_stopped_and_gives_the_lease_back_after_its_work() -> None:
    async with fake_api() as api:
        rig = Rig(api)
        async with running(rig) as task:
            await until_leading(rig, task)
            assert rig.holder
            rig.stop()
            await task
        assert rig.steps == ["built", "stands", "leads", "work ends, lease held", "cache ends", "closed"]
        assert rig.holder == ""
        assert rig.deaths == []
        assert [event["reason"] for event in api.events] == ["LeaderElection", "LeaderElection"]


async def test_writes_go_out_only_while_it_leads() -> None:
    async with fake_api() as api:
        api.put(NODE)
        rig = Rig(api)
        async with running(rig) as task:
            await until_leading(rig, task)
            assert rig.around is not None
            client, deadline = rig.around.client, asyncio.get_running_loop().time() + 10
            assert await client.patch(NODES, "n-1", body={"metadata": {"labels": {"a": "b"}}}, deadline=deadline)
            rig.stop()
            await task
            with pytest.raises(NotLeading):
                await client.patch(NODES, "n-1", body={}, deadline=deadline)


async def test_without_election_it_works_at_once_and_needs_no_lease() -> None:
    async with fake_api() as api:
        rig = Rig(api, "--leader-elect=false")
        async with running(rig) as task:
            await until_leading(rig, task)
            assert rig.holder is None
            rig.stop()
            await task
        assert rig.steps[-3:] == ["work ends, lease free", "cache ends", "closed"]


async def test_its_pages_tell_how_it_is() -> None:
    async with fake_api() as api:
        api.answers["POST", "/apis/authentication.k8s.io/v1/tokenreviews"] = lambda body: {
            "status": {"authenticated": body["spec"]["token"] == "good", "user": {"username": "reader"}}
        }
        api.answers["POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"] = lambda body: {
            "status": {"allowed": body["spec"]["user"] == "reader"}
        }
        rig = Rig(api)
        async with running(rig) as task:
            await until_leading(rig, task)
            assert await rig.page("/healthz") == (200, "ok")
            status, text = await rig.page("/readyz?verbose")
            assert status == 200
            assert "[+]phase ok" in text
            assert "[+]synced ok" in text
            assert "[+]leaderElection ok" in text
            assert (await rig.page("/metrics"))[0] == 401
            assert (await rig.page("/metrics", "bad"))[0] == 401
            status, text = await rig.page("/metrics", "good")
            assert status == 200
            assert f'leader_election_master_status{{name="{MANAGER}"}} 1.0' in text
            assert (
                'running_managed_controllers{manager="cloud-controller-manager",name="service-lb-controller"} 1.0'
                in text
            )
            host = api.url.removeprefix("http://")
            assert f'rest_client_requests_total{{code="404",host="{host}",method="GET"}}' in text
            status, text = await rig.page("/configz", "good")
            assert status == 200
            assert '"cluster-id": "c-1"' in text
            assert "hunter2" not in text
            rig.stop()
            await task


async def test_pages_are_served_while_it_starts_and_a_start_can_be_ended() -> None:
    async with fake_api() as api:
        rig = Rig(api)
        is_built = asyncio.Event()

        @contextlib.asynccontextmanager
        async def slow(settings: ManagerSettings, around: Surroundings) -> AsyncIterator[Manager]:
            is_built.set()
            await asyncio.Event().wait()
            yield Manager()

        task = asyncio.create_task(rig.run(slow))
        await is_built.wait()
        assert await rig.page("/healthz") == (200, "ok")
        status, text = await rig.page("/readyz")
        assert (status, "[-]phase failed: starting" in text) == (500, True)
        rig.stop()
        with pytest.raises(StoppedError):
            await task


async def test_a_controller_that_fails_ends_the_program_and_frees_the_lease() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async with fake_api() as api:
        rig = Rig(api)
        rig.work = fail
        with pytest.raises(ExceptionGroup) as caught:
            await rig.run()
        assert caught.group_contains(ValueError, match="broken")
        assert rig.holder == ""
        assert rig.steps[-2:] == ["cache ends", "closed"]


async def test_a_controller_that_ends_by_itself_is_a_defect() -> None:
    async def end() -> None:
        return

    async with fake_api() as api:
        rig = Rig(api)
        rig.work = end
        with pytest.raises(ExceptionGroup) as caught:
            await rig.run()
        assert caught.group_contains(RuntimeError, match="service-lb-controller has ended by itself")


async def test_work_that_does_not_end_is_ended_with_the_process() -> None:
    is_dead = asyncio.Event()

    async def stubborn() -> None:
        rig.leads.set()
        while not is_dead.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await is_dead.wait()

    async with fake_api() as api:
        rig = Rig(api, "--grace-s=0.05")
        rig.work = stubborn

        def die(code: int) -> None:
            rig.deaths.append(code)
            is_dead.set()

        task = asyncio.create_task(serve(rig.settings, rig.build, stop=rig.stop, connect=rig.connect, die=die))
        await until_leading(rig, task)
        rig.stop()
        async with asyncio.timeout(30):
            await asyncio.wait({task})
        # Its work ended only after the process would have been gone; what comes then does not count.
        task.cancelled() or task.exception()
        assert rig.deaths == [EXIT_FAILED]


@pytest.mark.parametrize(("has_stopped", "deaths"), [(True, []), (False, [EXIT_FAILED])])
async def test_a_lost_lease_ends_the_program_by_force_only_when_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, *, has_stopped: bool, deaths: list[int]
) -> None:
    async def lose(self: object, tasks: object) -> None:
        raise LeadershipLost("lease kube-system/x: somebody has it now", has_stopped=has_stopped)

    monkeypatch.setattr(Leadership, "run", lose)
    async with fake_api() as api:
        rig = Rig(api)
        with pytest.raises(ExceptionGroup) as caught:
            await rig.run()
        assert caught.group_contains(LeadershipLost)
        assert rig.deaths == deaths


async def test_options_without_effect_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_api() as api:
        rig = Rig(api, "--cloud-provider=external")
        async with running(rig) as task:
            await until_leading(rig, task)
            rig.stop()
            await task
    assert any("--cloud-provider has no effect" in record.message for record in caplog.records)


def test_the_command_line_ends_with_help_a_version_or_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    def never(settings: ManagerSettings, around: Surroundings) -> contextlib.AbstractAsyncContextManager[Manager]:
        raise AssertionError

    assert main(never, ["--help"]) == EXIT_OK
    assert "--cluster-id" in capsys.readouterr().out
    assert main(never, ["--version"]) == EXIT_OK
    assert capsys.readouterr().out.startswith("tc-ccm ")
    assert main(never, ["-v=3", "-v", "4", "--nonsense=1"]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert "--nonsense" in err
    assert "-v" not in err


def test_a_kubeconfig_that_is_not_there_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(settings: ManagerSettings, around: Surroundings) -> contextlib.AbstractAsyncContextManager[Manager]:
        raise AssertionError

    monkeypatch.setenv("TC_API_KEY", "hunter2")
    assert main(never, [*NEEDED, "--secure-port=0", f"--kubeconfig={tmp_path}/none"]) == EXIT_FAILED
    err = capsys.readouterr().err
    assert "no such file" in err
    assert "Traceback" not in err
    assert "hunter2" not in err
