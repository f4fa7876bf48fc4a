"""The fake API server keeps the rules of a real one; `tests/integration/ccm_kube` asks a real one the same."""

import pytest

from tests.support.socket_time import on_virtual_time
from tests.unit.ccm.kube.api_rules import RULES
from tests.unit.ccm.kube.rig import server_and_client


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@on_virtual_time
async def test_rule(rule):
    async with server_and_client() as (_api, client):
        await rule(client)
