"""The listener for first-boot reports: what it takes, what it refuses, and what it never says."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from kaas.bootstrap import phone_home as module
from kaas.bootstrap.phone_home import MAX_BODY_BYTES, Limits, phone_home
from kaas.bootstrap.tails import MAX_TAIL_BYTES
from kaas.bootstrap.tokens import boot_token_hash, new_boot_token
from kaas.domain.errors import StoreUnavailableError
from tests.unit.kaas.bootstrap.fake_boots import FakeBoots
from tests.unit.kaas.bootstrap.waiting import until

TOKEN = new_boot_token()
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
BOOTED = {"phase": "booted", "ssh_host_key": HOST_KEY, "log_tail": "up\n"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self, limits: Limits | None = None) -> None:
        self.boots = FakeBoots(known={TOKEN.hash})
        self.clock = Clock()
        app = phone_home(self.boots, limits=limits, clock=self.clock)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://kaas.test")

    async def post(self, body: object = BOOTED, token: str | None = TOKEN.secret, **more) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post("/boot/v1/report", content=content, headers=headers, **more)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    one = Rig()
    async with one.client:
        yield one


async def test_a_report_is_stored_under_the_hash_of_its_token(rig: Rig):
    answer = await rig.post()
    assert (answer.status_code, answer.content) == (204, b"")
    assert rig.boots.reports == [(boot_token_hash(TOKEN.secret), "booted", HOST_KEY, "up\n")]


async def test_a_failure_needs_no_host_key(rig: Rig):
    assert (await rig.post({"phase": "failed", "log_tail": "no sshd"})).status_code == 204
    assert rig.boots.reports == [(TOKEN.hash, "failed", "", "no sshd")]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer short", f"Bearer {TOKEN.secret}x", f"Bearer {'A' * 43}"],
    ids=["none", "empty", "no token", "empty token", "basic", "short", "longer", "unknown"],
)
async def test_a_bad_token_gets_one_answer_without_detail(rig: Rig, header: str | None):
    headers = {} if header is None else {"Authorization": header}
    answer = await rig.client.post("/boot/v1/report", json=BOOTED, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
    assert rig.boots.reports == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 20_000,
        {},
        {"phase": "booted"},
        {**BOOTED, "phase": "ready"},
        {**BOOTED, "phase": ["booted"]},
        {**BOOTED, "log_tail": 5},
        {**BOOTED, "ssh_host_key": "ssh-rsa AAAAB3NzaC1yc2E"},
        {**BOOTED, "ssh_host_key": f"{HOST_KEY} root@host"},
        {**BOOTED, "ssh_host_key": f"{HOST_KEY}\n{HOST_KEY}"},
        {**BOOTED, "ssh_host_key": f"ssh-ed25519 {'A' * 68}"},
        {**BOOTED, "ssh_host_key": "*"},
    ],
)
async def test_what_is_no_report_is_refused_and_not_stored(rig: Rig, body: object):
    answer = await rig.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert rig.boots.reports == []


async def test_a_body_is_bounded_with_and_without_a_length(rig: Rig):
    large = json.dumps({**BOOTED, "log_tail": "x" * MAX_BODY_BYTES}).encode()
    assert (await rig.post(large)).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1024

    headers = {"Authorization": f"Bearer {TOKEN.secret}"}
    answer = await rig.client.post("/boot/v1/report", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert rig.boots.reports == []


async def test_a_log_is_cut_and_cleaned(rig: Rig):
    text = "\x1b[31m" + "line\x00\n" * 8000 + "token abcdef.0123456789abcdef\nend\n"
    assert (await rig.post({**BOOTED, "log_tail": text[-30_000:]})).status_code == 204
    stored = rig.boots.reports[0][3]
    assert len(stored.encode()) <= MAX_TAIL_BYTES
    assert stored.endswith("token [hidden]\nend\n")
    assert "\x00" not in stored


async def test_other_routes_and_methods_are_not_there(rig: Rig):
    assert (await rig.client.get("/boot/v1/report")).status_code == 405
    for path in ("/", "/docs", "/boot/v1/report/x", "/clusters"):
        assert (await rig.client.post(path)).status_code == 404


async def test_calls_are_bounded_for_each_address_and_come_back_with_time():
    rig = Rig(Limits(burst=3, per_s=1.0))
    async with rig.client:
        assert [(await rig.post(token=None)).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert (await rig.post()).headers["retry-after"]
        assert rig.boots.reports == []
        rig.clock.now += 2.0
        assert [(await rig.post()).status_code for _ in range(3)] == [204, 204, 429]
        rig.clock.now += 1000.0
        assert [(await rig.post()).status_code for _ in range(4)] == [204, 204, 204, 429]


async def test_one_address_does_not_use_up_anothers_calls():
    rates = module._Rates(Limits(burst=1, per_s=1.0), Clock())
    assert [rates.allows("10.0.0.1"), rates.allows("10.0.0.1"), rates.allows("10.0.0.2")] == [True, False, True]
    for number in range(10_000):
        rates.allows(str(number))
    assert len(rates._left) == module._MAX_PEERS


async def test_a_store_that_hangs_is_an_answer_to_try_again(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_STORE_S", 0.05)
    rig.boots.hangs = True
    assert (await rig.post()).status_code == 503


async def test_a_store_that_is_away_is_an_answer_to_try_again(rig: Rig):
    rig.boots.trouble = StoreUnavailableError("no connection")
    answer = await rig.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "connection" not in answer.text


async def test_a_body_that_never_comes_frees_its_place(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_READ_S", 0.05)

    async def silent() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    headers = {"Authorization": f"Bearer {TOKEN.secret}"}
    answer = await rig.client.post("/boot/v1/report", content=silent(), headers=headers)
    assert answer.status_code == 408
    assert (await rig.post()).status_code == 204


async def test_more_reports_at_once_than_places_are_asked_to_come_back():
    rig = Rig(Limits(at_once=2))
    rig.boots.hangs = True
    async with rig.client:
        tasks = [asyncio.create_task(rig.post()) for _ in range(2)]
        await until(lambda: rig.boots.waiting == 2)
        assert (await rig.post()).status_code == 429
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
