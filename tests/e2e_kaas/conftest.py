"""One cloud with kaas on it for all tests, made and taken away here."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.e2e.cluster import own_images
from tests.e2e.cluster import site as sites
from tests.e2e.cluster.assets import prepare
from tests.e2e_kaas import place as places
from tests.e2e_kaas.place import Place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def place() -> AsyncIterator[Place]:
    """A platform without clusters, and the service."""
    assets = await prepare()
    archives = await own_images.build_for(sites.default_folder())
    folder = places.new_folder()
    folder.mkdir(mode=0o700)
    try:
        made = await places.make_cloud(folder, assets, archives)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
    finally:
        await places.remove(folder)
