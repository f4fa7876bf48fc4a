import pytest

from kaas.db import migrate
from kaas.db.store import open_store
from kaas.domain.errors import Code, RequestError
from kaas.people import limit
from kaas.program import main
from kaas.unfit import UnfitError
from tests.support.kaas_tables import creation, scope


async def test_a_limit_that_was_set_is_kept_to_until_it_is_taken_away(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'kaas.db'}"
    await migrate.upgrade(url)
    tenant = scope().tenant_id
    said = await limit(url, tenant, (("clusters", "0"), ("nodes", "9")))
    assert "clusters   0 of 0" in said
    assert "vcpus      0 of any number" in said
    store = open_store(url)
    try:
        with pytest.raises(RequestError) as refused:
            await store.requests().create(scope(), "dev", creation(1))
        assert refused.value.code is Code.QUOTA
        await limit(url, tenant, (("clusters", "none"),))
        await store.requests().create(scope(), "dev", creation(1))
    finally:
        await store.close()
    assert "clusters   1 of any number" in await limit(url, tenant, ())


@pytest.mark.parametrize("text", ["-1", "many", "1e3", "", "9" * 30])
async def test_what_is_no_limit(tmp_path, text):
    with pytest.raises(UnfitError, match="neither a number"):
        await limit(f"sqlite+aiosqlite:///{tmp_path / 'kaas.db'}", "blue", (("nodes", text),))


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    state = ["--state-dir", str(tmp_path / "state")]
    assert main(["migrate", *state]) == 0
    assert main(["quota", *state, "--tenant", "blue", "--limits", "nodes=5"]) == 0
    assert "nodes      0 of 5" in capsys.readouterr().out
    assert main(["quota", *state, "--tenant", "blue", "--limits", "disks=5"]) == 1
    assert "clusters, nodes, vcpus, memory_mb" in capsys.readouterr().err
