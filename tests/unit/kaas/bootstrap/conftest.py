"""A server to log in to, one for each module, and connections to it, new ones for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kaas.bootstrap.connections import Login
from kaas.bootstrap.ssh import Ssh
from tests.unit.kaas.bootstrap.ssh_rig import Rig
from tests.unit.kaas.bootstrap.sshd import Sshd, running_sshd
from tests.unit.kaas.bootstrap.waiting import until


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
async def rig(sshd: Sshd, tmp_path: Path) -> AsyncIterator[Rig]:
    await until(lambda: sshd.sessions() == [])
    async with Ssh(Login(user=sshd.user, port=sshd.port)) as ssh:
        yield Rig(sshd, ssh, tmp_path)
