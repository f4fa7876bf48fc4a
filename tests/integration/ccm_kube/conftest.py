"""One API server for all tests of this folder; each uses names of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from ccm.kube.client import KubeClient, open_client
from tests.support.real_api import MISSING_API, RealApi, real_api


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    if MISSING_API:
        pytest.skip(MISSING_API)
    with real_api(tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
async def client(real: RealApi) -> AsyncIterator[KubeClient]:
    async with await open_client(real.kubeconfig) as opened:
        yield opened
