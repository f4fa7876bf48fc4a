"""A Kubernetes API over TLS for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.kube.api import KubeApi
from tests.support.fake_kube import FakeKube, fake_kube


@pytest.fixture
def kube(account_dir: Path) -> Iterator[FakeKube]:
    with fake_kube(account_dir) as served:
        yield served


@pytest.fixture
def api(kube: FakeKube) -> KubeApi:
    return KubeApi(host="127.0.0.1", port=kube.port, account_dir=kube.account_dir)
