"""What machines tell while they boot."""

from dataclasses import replace

import pytest

from kaas.domain.errors import StepError
from kaas.domain.model import Lease, Node
from tests.support.kaas_tables import Kit, scope, unknown_id


async def prepared(kit: Kit) -> tuple[Lease, Node]:
    _, lease = await kit.held()
    node = (await kit.seen(lease)).nodes[0]
    await kit.boots.issue_boot_token(lease, node.id, "hash", ttl_s=60)
    kit.woken.asked.clear()
    kit.woken.done.clear()
    return lease, node


async def report(kit: Kit, token_hash: str = "hash", key: str = "ssh-ed25519 AAAA", tail: str = "log") -> bool:
    return await kit.boots.report_boot(token_hash, phase="booted", ssh_host_key=key, log_tail=tail)


async def test_report_is_written_and_makes_the_cluster_due(kit: Kit) -> None:
    lease, node = await prepared(kit)
    assert await report(kit)
    expected = replace(node, boot_phase="booted", ssh_host_key="ssh-ed25519 AAAA", log_tail="log")
    assert (await kit.seen(lease)).nodes[0] == expected
    assert kit.woken.asked == kit.woken.done == [lease.cluster_id]
    await kit.conducting.release(lease, due_in_s=3600)
    assert await kit.conducting.due(limit=1) == [lease.cluster_id]


async def test_report_may_come_again_because_its_answer_was_lost(kit: Kit) -> None:
    await prepared(kit)
    assert await report(kit)
    assert await report(kit)
    assert await kit.requests.events(scope(), "dev") == ()


async def test_other_host_key_is_refused_is_an_event_and_ends_the_token(kit: Kit) -> None:
    lease, node = await prepared(kit)
    assert await report(kit)
    assert not await report(kit, key="ssh-ed25519 BBBB", tail="other")
    assert not await report(kit, key="ssh-ed25519 CCCC")
    assert not await report(kit)
    seen = (await kit.seen(lease)).nodes[0]
    assert (seen.ssh_host_key, seen.log_tail) == ("ssh-ed25519 AAAA", "log")
    (event,) = await kit.requests.events(scope(), "dev")
    assert (event.code, event.severity, event.node_id) == ("HOST_KEY_CHANGED", "error", node.id)
    assert "BBBB" not in event.message


async def test_used_token_cannot_take_back_what_was_reported(kit: Kit) -> None:
    lease, _ = await prepared(kit)
    assert await report(kit)
    assert not await kit.boots.report_boot("hash", phase="failed", ssh_host_key="", log_tail="no disk")
    seen = (await kit.seen(lease)).nodes[0]
    assert (seen.boot_phase, seen.ssh_host_key, seen.log_tail) == ("booted", "ssh-ed25519 AAAA", "log")


async def test_machine_that_failed_may_still_come_up(kit: Kit) -> None:
    lease, _ = await prepared(kit)
    assert await kit.boots.report_boot("hash", phase="failed", ssh_host_key="", log_tail="no disk")
    assert await report(kit)
    assert (await kit.seen(lease)).nodes[0].boot_phase == "booted"


@pytest.mark.parametrize("token_hash", ["", "other", "HASH", "hash ", "hash\x00", "%"])
async def test_unknown_token_is_refused(kit: Kit, token_hash: str) -> None:
    lease, node = await prepared(kit)
    assert not await report(kit, token_hash)
    assert (await kit.seen(lease)).nodes[0] == node
    assert kit.woken.asked == []


async def test_token_that_has_run_out_is_refused(kit: Kit) -> None:
    lease, node = await prepared(kit)
    await kit.boots.issue_boot_token(lease, node.id, "short", ttl_s=0)
    assert not await report(kit, "short")
    assert (await kit.seen(lease)).nodes[0] == node


async def test_newer_token_ends_earlier_ones_of_its_node_alone(kit: Kit) -> None:
    lease, node = await prepared(kit)
    second = (await kit.seen(lease)).nodes[1]
    await kit.boots.issue_boot_token(lease, second.id, "neighbour", ttl_s=60)
    await kit.boots.issue_boot_token(lease, node.id, "newer", ttl_s=60)
    assert not await report(kit)
    assert (await kit.seen(lease)).nodes[0] == node
    assert await report(kit, "newer")
    assert await report(kit, "neighbour")


async def test_what_came_with_an_earlier_token_does_not_count_for_the_new_machine(kit: Kit) -> None:
    lease, node = await prepared(kit)
    assert await report(kit, key="ssh-ed25519 BBBB")
    await kit.boots.issue_boot_token(lease, node.id, "newer", ttl_s=60)
    assert (await kit.seen(lease)).nodes[0].ssh_host_key == ""
    assert await report(kit, "newer")
    assert (await kit.seen(lease)).nodes[0].ssh_host_key == "ssh-ed25519 AAAA"


async def test_token_goes_with_its_cluster(kit: Kit) -> None:
    lease, _ = await prepared(kit)
    await kit.conducting.delete_cluster(lease)
    assert not await report(kit)


async def test_token_for_a_node_of_another_cluster_is_a_mistake(kit: Kit) -> None:
    lease, _ = await prepared(kit)
    _, foreign = await kit.held("prod")
    node = (await kit.seen(foreign)).nodes[0]
    for node_id in (node.id, unknown_id()):
        with pytest.raises(StepError, match="has no node"):
            await kit.boots.issue_boot_token(lease, node_id, "third", ttl_s=60)


async def test_words_of_machines_are_stored_whatever_they_are(kit: Kit) -> None:
    lease, _ = await prepared(kit)
    assert await kit.boots.report_boot("hash", phase="p" * 5000 + "\x00", ssh_host_key="\ud800", log_tail="\x00" * 99)
    seen = (await kit.seen(lease)).nodes[0]
    assert seen.boot_phase == "p" * 255
    assert seen.log_tail == "\ufffd" * 99
