import asyncio

import pytest

from ccm.serving.access import MAX_QUESTIONS, MAX_REMEMBERED, Access, Memory, User, Verdict, user_of_certificate
from tests.unit.ccm.pki import make_authority, make_client
from tests.unit.ccm.serving.fake_reviews import FakeReviews


class Rig:
    def __init__(self) -> None:
        self.now = 0.0
        self.reviews = FakeReviews()
        memory = Memory(token_s=10, allowed_s=20, denied_s=5)
        self.access = Access(self.reviews, open_paths=("/healthz", "/livez/*"), memory=memory, clock=lambda: self.now)

    async def ask(
        self, path: str, *, method: str = "GET", token: str = "", certificate: bytes | None = None
    ) -> Verdict:
        deadline = asyncio.get_running_loop().time() + 5
        return await self.access.verdict(
            method=method, path=path, token=token, certificate=certificate, deadline=deadline
        )


@pytest.mark.parametrize(
    ("path", "token", "verdict"),
    [
        ("/healthz", "", Verdict.ALLOWED),
        ("/livez/ping", "", Verdict.ALLOWED),
        ("/livez", "", Verdict.UNKNOWN_USER),
        ("/healthz/ping", "", Verdict.UNKNOWN_USER),
        ("/metrics", "", Verdict.UNKNOWN_USER),
        ("/metrics", "bad", Verdict.UNKNOWN_USER),
        ("/metrics", "good", Verdict.ALLOWED),
        ("/metrics", "weak", Verdict.FORBIDDEN),
        ("/debug", "good", Verdict.FORBIDDEN),
    ],
)
async def test_who_may_read_what(path: str, token: str, verdict: Verdict) -> None:
    assert await Rig().ask(path, token=token) is verdict


async def test_nobody_is_asked_about_open_paths_and_requests_without_a_name() -> None:
    rig = Rig()
    await rig.ask("/healthz", token="good")
    await rig.ask("/metrics")
    assert rig.reviews.asked == []


async def test_another_verb_is_another_right() -> None:
    assert await Rig().ask("/metrics", method="HEAD", token="good") is Verdict.FORBIDDEN


async def test_answers_are_remembered_for_their_time() -> None:
    rig = Rig()
    for moment, questions in ((0.0, 2), (9.9, 2), (10.0, 3), (19.9, 3), (20.0, 5)):
        rig.now = moment
        assert await rig.ask("/metrics", token="good") is Verdict.ALLOWED
        assert len(rig.reviews.asked) == questions, moment


async def test_a_right_that_was_taken_away_ends_with_the_memory() -> None:
    rig = Rig()
    assert await rig.ask("/metrics", token="good") is Verdict.ALLOWED
    rig.reviews.rights.clear()
    rig.now = 20.0
    assert await rig.ask("/metrics", token="good") is Verdict.FORBIDDEN


async def test_an_api_server_that_is_away_lets_nobody_in_and_is_asked_again() -> None:
    rig = Rig()
    rig.reviews.is_away = True
    assert await rig.ask("/metrics", token="good") is Verdict.UNAVAILABLE
    rig.reviews.is_away = False
    assert await rig.ask("/metrics", token="good") is Verdict.ALLOWED


async def test_an_api_server_that_does_not_answer_is_waited_for_until_the_deadline() -> None:
    class Silent(FakeReviews):
        async def user_of(self, token: str, *, deadline: float) -> User | None:
            await asyncio.Event().wait()
            return None

    access = Access(Silent(), open_paths=(), memory=Memory(), clock=lambda: 0.0)
    deadline = asyncio.get_running_loop().time()
    assert await access.verdict(method="GET", path="/x", token="t", deadline=deadline) is Verdict.UNAVAILABLE


async def test_made_up_tokens_do_not_fill_the_memory_or_flood_the_api_server() -> None:
    rig = Rig()
    running, most = 0, 0

    async def slow(token: str, *, deadline: float) -> User | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return None

    rig.reviews.user_of = slow  # type: ignore[method-assign]
    await asyncio.gather(*(rig.ask("/metrics", token=f"t{number}") for number in range(MAX_REMEMBERED + 50)))
    assert most == MAX_QUESTIONS
    assert len(rig.access._users._entries) == MAX_REMEMBERED


async def test_a_client_certificate_names_its_user_and_groups() -> None:
    client = make_client(make_authority("ca"), "reader", "monitoring", "ops")
    assert user_of_certificate(client.der) == User("reader", groups=("monitoring", "ops", "system:authenticated"))
    rig = Rig()
    assert await rig.ask("/metrics", certificate=client.der) is Verdict.ALLOWED
    assert rig.reviews.asked == [("may", "reader", "get", "/metrics")]


async def test_a_certificate_without_a_name_is_nobodys() -> None:
    client = make_client(make_authority("ca"), "", "system:masters")
    assert await Rig().ask("/metrics", certificate=client.der) is Verdict.UNKNOWN_USER
