"""A node plugin on a simulated host for each test, and a Kubernetes API with the account that a pod has there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import MISSING_OPENSSL
from tests.support.fake_kube import FakeKube, fake_kube, make_account
from tests.support.node_plugin import Plugin


@pytest.fixture
async def plugin(tmp_path: Path) -> Plugin:
    made = Plugin(tmp_path)
    await made.start()
    return made


@pytest.fixture(scope="session")
def account_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MISSING_OPENSSL:
        pytest.skip(MISSING_OPENSSL)
    return make_account(tmp_path_factory.mktemp("account"))


@pytest.fixture
def kube(account_dir: Path) -> Iterator[FakeKube]:
    """A Kubernetes API over TLS."""
    with fake_kube(account_dir) as served:
        yield served
