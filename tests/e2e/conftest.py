"""The running cluster, and a namespace for each test; `make e2e` brings up what is missing."""

import re
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.cluster import site as sites
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.site import Site
from tests.e2e.world import World, opened


@pytest.fixture(scope="session")
def site() -> Site:
    """The cluster that runs on this machine."""
    try:
        return sites.load(sites.default_folder())
    except ClusterError as error:
        pytest.fail(f"{error}; `make e2e` does both", pytrace=False)


@pytest_asyncio.fixture
async def world(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A namespace of this test's own, of which nothing may be left."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:40].strip("-")
    async with opened(site, f"{slug}-{uuid.uuid4().hex[:5]}") as made:
        yield made
