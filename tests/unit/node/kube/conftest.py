"""The way to the Kubernetes API of each test."""

import pytest

from node.kube.api import KubeApi
from tests.support.fake_kube import FakeKube


@pytest.fixture
def api(kube: FakeKube) -> KubeApi:
    return KubeApi(host="127.0.0.1", port=kube.port, account_dir=kube.account_dir)
