"""Connections by SSH, against a real OpenSSH server: to whom, how many, and for how long."""

import asyncio
from dataclasses import replace

import pytest

from kaas.bootstrap.connections import Login
from kaas.bootstrap.ssh import Ssh
from kaas.crypto.sshkeys import new_ssh_key_pair
from kaas.domain.errors import Code, KaasError, StepError
from kaas.domain.ports import RemoteFile
from tests.unit.kaas.bootstrap.ssh_rig import Rig, within
from tests.unit.kaas.bootstrap.sshd import free_port
from tests.unit.kaas.bootstrap.waiting import until


async def test_another_host_key_is_refused_before_anything_is_sent(rig: Rig):
    other = await new_ssh_key_pair("other")
    target = replace(rig.target, host_key=" ".join(other.public_key.split()[:2]))
    with pytest.raises(StepError, match="not the one that it reported") as caught:
        await rig.ssh.run(target, ("touch", str(rig.folder / "never")), deadline=within(10))
    assert caught.value.code is Code.NODE_UNREACHABLE
    with pytest.raises(StepError, match="not the one that it reported"):
        await rig.ssh.put(target, {str(rig.folder / "never"): RemoteFile(b"secret")}, deadline=within(10))
    assert not (rig.folder / "never").exists()


async def test_a_machine_that_has_not_told_its_key_is_not_spoken_to(rig: Rig):
    for key in ("", "*", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-ed25519 AAAA", "@cert-authority *"):
        with pytest.raises(StepError, match="has not reported"):
            await rig.ssh.run(replace(rig.target, host_key=key), ("true",), deadline=within(10))


async def test_a_key_that_may_not_log_in_is_said(rig: Rig):
    other = await new_ssh_key_pair("other")
    with pytest.raises(StepError, match="does not let the cluster's SSH key in"):
        await rig.ssh.run(replace(rig.target, private_key=other.private_key), ("true",), deadline=within(10))


async def test_a_stored_key_that_is_none_is_a_bug_and_not_shown(rig: Rig):
    with pytest.raises(KaasError) as caught:
        await rig.ssh.run(replace(rig.target, private_key=b"SECRET KEY"), ("true",), deadline=within(10))
    assert caught.value.code is Code.BUG
    assert "SECRET" not in str(caught.value)


async def test_nobody_there_names_the_address_and_the_reason(rig: Rig):
    async with Ssh(Login(user=rig.sshd.user, port=free_port())) as ssh:
        with pytest.raises(StepError, match=r"127\.0\.0\.1: .*[Rr]efused") as caught:
            await ssh.run(rig.target, ("true",), deadline=within(10))
    assert caught.value.code is Code.NODE_UNREACHABLE


async def test_a_host_that_takes_connections_and_says_nothing_is_given_up(rig: Rig):
    held = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Ssh(Login(user=rig.sshd.user, port=port, connect_s=0.3)) as ssh:
        with pytest.raises(StepError, match="does not answer in time"):
            await ssh.run(rig.target, ("true",), deadline=within(30))
        for writer in held:
            writer.close()


async def test_one_connection_serves_many_commands_and_files(rig: Rig):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.run("echo", str(number))) for number in range(25)]
    assert [task.result().stdout for task in tasks] == [f"{number}\n" for number in range(25)]
    await rig.ssh.put(rig.target, {str(rig.folder / "file"): RemoteFile(b"x")}, deadline=within(10))
    assert len(rig.sshd.sessions()) == 1
    assert rig.ssh.open_connections == 1


async def test_an_idle_connection_is_closed(rig: Rig):
    async with Ssh(Login(user=rig.sshd.user, port=rig.sshd.port, idle_s=0.05)) as ssh:
        await ssh.run(rig.target, ("true",), deadline=within(10))
        await until(lambda: ssh.open_connections == 0)
        await until(lambda: rig.sshd.sessions() == [])
        assert (await ssh.run(rig.target, ("echo", "again"), deadline=within(10))).stdout == "again\n"


async def test_the_longest_unused_connections_are_closed_first(rig: Rig):
    async with Ssh(Login(user=rig.sshd.user, port=rig.sshd.port, max_connections=2)) as ssh:
        # Every address of the loopback is the same server here, and another machine to whoever pools connections.
        with (rig.sshd.folder / "authorized_keys").open("a") as file:
            targets = []
            for _ in range(4):
                pair = await new_ssh_key_pair("more")
                file.write(f"{pair.public_key}\n")
                targets.append(replace(rig.target, private_key=pair.private_key))
        for target in targets:
            await ssh.run(target, ("true",), deadline=within(10))
        assert ssh.open_connections == 2
        await until(lambda: len(rig.sshd.sessions()) == 2)


async def test_closing_leaves_no_connection(rig: Rig):
    async with Ssh(Login(user=rig.sshd.user, port=rig.sshd.port)) as ssh:
        await ssh.run(rig.target, ("true",), deadline=within(10))
    assert ssh.open_connections == 0
    await until(lambda: rig.sshd.sessions() == [])
