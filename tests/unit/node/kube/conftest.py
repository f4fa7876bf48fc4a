"""A Kubernetes API over TLS for each test, with one certificate for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.kube.api import KubeApi
from tests.support.fake_kube import MISSING_OPENSSL, FakeKube, fake_kube, make_account


@pytest.fixture(scope="session")
def account_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MISSING_OPENSSL:
        pytest.skip(MISSING_OPENSSL)
    return make_account(tmp_path_factory.mktemp("account"))


@pytest.fixture
def kube(account_dir: Path) -> Iterator[FakeKube]:
    with fake_kube(account_dir) as served:
        yield served


@pytest.fixture
def api(kube: FakeKube) -> KubeApi:
    return KubeApi(host="127.0.0.1", port=kube.port, account_dir=kube.account_dir)
