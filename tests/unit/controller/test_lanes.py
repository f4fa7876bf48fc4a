"""Who goes first when the rate budget is short: what gives back or starts a pod, before what makes or only looks."""

import pytest

from tests.unit.controller.rig import Rig
from thecloud.budget import BudgetedExchange
from thecloud.call import Answer, Call, Lane

Sent = list[tuple[str, Lane]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Note the lane of every call."""
    seen: Sent = []
    original = BudgetedExchange.send

    async def send(self: BudgetedExchange, call: Call) -> Answer:
        seen.append((f"{call.method} {call.route}", call.lane))
        return await original(self, call)

    monkeypatch.setattr(BudgetedExchange, "send", send)
    return seen


async def test_every_look_of_a_step_goes_in_the_steps_own_lane(strict: Rig, sent: Sent):
    volume = await strict.create()
    sent.clear()
    await strict.publish(volume.volume_id)
    await strict.unpublish(volume.volume_id)
    assert {lane for _, lane in sent} == {Lane.ATTACH}
    assert ("GET /instances", Lane.ATTACH) in sent
    sent.clear()
    await strict.delete(volume.volume_id)
    assert {lane for _, lane in sent} == {Lane.DELETE}
    assert {"GET /volumes/{id}", "GET /snapshots"} < {route for route, _ in sent}


async def test_a_volume_told_by_its_name_is_read_in_the_lane_of_its_deletion(extended: Rig, sent: Sent):
    made = await extended.platform("POST", "/volumes", json={"name": "legacy-1", "size_gb": 1})
    await extended.delete(made["id"])
    assert {lane for _, lane in sent} == {Lane.DELETE}


async def test_a_queue_of_creations_is_no_reason_to_be_unready(extended: Rig, sent: Sent):
    await extended.client.check(10**9)
    assert sent == [("GET /instance-types", Lane.ATTACH)]
