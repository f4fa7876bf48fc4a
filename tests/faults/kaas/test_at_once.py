"""Requests for one name at once, over HTTP: one makes a cluster, the others are told that the name is taken."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kaas.app import Parts
from kaas.service import migrate_tables
from tests.support.databases import postgresql
from tests.unit.kaas.app.rig import Running, furnish, running, settings_of, until

AT_ONCE = 8
API = Parts(api=True, conductor=False)
CONDUCTOR = Parts(api=False, conductor=True)
ENGINE = "--engine=procrastinate"


@pytest.fixture(params=["sqlite", "postgresql"])
async def services(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Running]]:
    """Give what people reach: one service on SQLite, or two before one conductor on PostgreSQL."""
    folder = tmp_path / "state"
    key = furnish(folder)
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            yield [await stack.enter_async_context(running(folder, key=key))]
            return
        secrets = {"TC_DATABASE_URL": stack.enter_context(postgresql())}
        await migrate_tables(settings_of(folder, "--driver=simulator", ENGINE, **secrets))
        await stack.enter_async_context(running(folder, ENGINE, key=key, parts=CONDUCTOR, secrets=secrets))
        yield [
            await stack.enter_async_context(running(folder, ENGINE, key=key, parts=API, secrets=secrets))
            for _ in range(2)
        ]


async def test_of_creates_of_one_name_one_wins(services: list[Running]) -> None:
    asking = [
        services[n % len(services)].ask("POST", "/clusters", {"name": "dev", "workers": 1}) for n in range(AT_ONCE)
    ]
    answers = await asyncio.gather(*asking)
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: AT_ONCE - 1}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {"NAME_TAKEN"}
    service = services[0]
    assert [cluster["name"] for cluster in await service.get("/clusters")] == ["dev"]

    async def runs() -> bool:
        return bool((await service.get("/clusters/dev"))["status"] == "running")

    await until(runs)
    assert len(await service.nodes()) == 2


@pytest.mark.thorough
async def test_of_deletes_at_once_all_mean_the_same(services: list[Running]) -> None:
    service = services[0]
    assert (await service.ask("POST", "/clusters", {"name": "dev", "workers": 1})).status_code == 202
    asking = [services[n % len(services)].ask("DELETE", "/clusters/dev") for n in range(AT_ONCE)]
    # Who comes when it is gone already is told that there is none.
    assert {answer.status_code for answer in await asyncio.gather(*asking)} <= {202, 404}

    async def is_gone() -> bool:
        return (await service.ask("GET", "/clusters/dev")).status_code == 404

    await until(is_gone)
