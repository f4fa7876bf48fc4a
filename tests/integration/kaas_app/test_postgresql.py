"""Several conductors on PostgreSQL: the tables of the engine, and a cluster that either of them makes."""

import pytest

from kaas.app import Parts
from kaas.service import migrate_tables, serve
from kaas.unfit import UnfitError
from process.life import Stop
from tests.support.databases import postgresql
from tests.unit.kaas.app.rig import furnish, running, settings_of, until

API, CONDUCTOR = Parts(api=True, conductor=False), Parts(api=False, conductor=True)
ENGINE = "--engine=procrastinate"


@pytest.fixture
def database():
    with postgresql() as url:
        yield url


async def test_two_conductors_and_an_api(tmp_path, database, monkeypatch):
    folder = tmp_path / "state"
    key = furnish(folder)
    secrets = {"TC_DATABASE_URL": database}
    with pytest.raises(UnfitError, match="there are no tables"):
        await start(folder, secrets)
    await migrate_tables(settings_of(folder, "--driver=simulator", **secrets))
    with pytest.raises(UnfitError, match="the tables of the engine are not in the database"):
        await start(folder, secrets)
    await migrate_tables(settings_of(folder, "--driver=simulator", ENGINE, **secrets))
    async with (
        running(folder, ENGINE, key=key, parts=CONDUCTOR, secrets=secrets),
        running(folder, ENGINE, key=key, parts=CONDUCTOR, secrets=secrets),
        running(folder, ENGINE, key=key, parts=API, secrets=secrets) as service,
    ):
        for name in ("one", "two"):
            assert (await service.ask("POST", "/clusters", {"name": name, "workers": 1})).status_code == 202

        async def run() -> bool:
            return {cluster["status"] for cluster in await service.get("/clusters")} == {"running"}

        await until(run)


async def start(folder, secrets):
    settings = settings_of(folder, "--driver=simulator", "--listen=127.0.0.1:0", ENGINE, **secrets)
    await serve(settings, API, stop=Stop(), tell=str, environ={})
